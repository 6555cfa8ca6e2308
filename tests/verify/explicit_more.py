"""More of the catalogue by plain definitions, over the markings of ``explicit``."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from provenet.nets.expr.ast import Expr, Var, substitute
from provenet.nets.expr.evaluate import evaluate
from provenet.nets.net import Auto, Explain, OnFailure, Perform, Requirement, Role, Transition
from provenet.nets.schema import RecordType
from tests.verify.explicit import Explicit, Step


def sdb_3(seen: Explicit, contract: str) -> bool | None:
    """Whether only policies give the verdict, and no marking lets a proposal be accepted and rejected."""
    told = [t.name for t in seen.net.by_role(Role.ACCEPT, Role.REJECT, contract=contract)]
    policies = [n for n in told if isinstance(seen.net.transition(n).trigger, Auto | Explain)]
    if any(s.transition in told and s.transition not in policies for steps in seen.steps for s in steps):
        return False
    accepts = list(seen.net.by_role(Role.ACCEPT, contract=contract))
    rejects = list(seen.net.by_role(Role.REJECT, contract=contract))

    def tokens(t: Transition, binding: Any) -> Any:
        arcs = [("take", a) for a in t.takes] + [("read", a) for a in t.reads]
        return sorted((kind, a.place, repr(binding.get(a.var))) for kind, a in arcs)

    for marking in seen.markings:
        for a in accepts:
            for r in rejects:
                ways = [tokens(a, b) for b in seen.rule.bindings(marking, a.name)]
                if any(tokens(r, b) in ways for b in seen.rule.bindings(marking, r.name)):
                    return False
    return seen.holds_unless(False)


def sdb_6(seen: Explicit, contract: str) -> bool | None:
    """Whether at each commit the places that its accept read hold what it read; one proposal at a time."""
    net = seen.net
    waiting = [f"{contract}.verified", f"{contract}.committing"]

    def step(read: Any, at: int, t: Transition, s: Step) -> Any:
        if t.contract == contract and t.role is Role.COMMIT and read:
            here = seen.markings[at]
            if any(value not in here[place] for place, value in read[0]):
                return "bad"
        if t.contract == contract and t.role is Role.ACCEPT:
            if read:
                return None
            read = (tuple((a.place, s.binding[a.var]) for a in t.reads if a.var is not None),)
        there = any(seen.markings[s.target].count(p) for p in waiting if net.has_place(p))
        return read if there else ()

    return observed(seen, (), step, lambda state: state == "bad")


def saga_4(seen: Explicit, saga: str) -> bool | None:
    """Whether compensations are tried again and then told, and failures leave a way to the abort."""
    net = seen.net
    info = next(s for s in net.sagas if s.id == saga)
    mine = {c.id for c in net.contracts if c.saga == saga}
    told = {t.trigger.of for t in net.transitions if isinstance(t.trigger, OnFailure)}
    for s in (s for steps in seen.steps for s in steps):
        t = net.transition(s.transition)
        if t.contract in mine and t.role is Role.COMPENSATE and isinstance(t.trigger, Perform):
            if t.name in told:
                return None
            if t.trigger.tries is None or t.trigger.tries < 2:
                return False
    if not seen.complete:
        return None
    aborting = {at for at, m in enumerate(seen.markings) if m.count(info.aborting)}
    fine = seen.leading_to(aborting, lambda t: t.role is not Role.KILL)
    for steps in seen.steps:
        for s in steps:
            t = net.transition(s.transition)
            failed = t.contract in mine and t.role in (Role.FAIL, Role.GIVE_UP)
            if failed and seen.markings[s.target].count(info.open) and s.target not in fine:
                return False
    return True


def ctl_2(seen: Explicit) -> bool | None:
    """Whether after the kill switch nothing begins, and only what was in flight still commits."""
    net = seen.net
    begun = {t.contract for t in net.by_role(Role.INTENT)}

    def step(state: Any, at: int, t: Transition, s: Step) -> Any:
        killed, flying = state[0], dict(state[1])
        mine = flying.get(t.contract, 0)
        if killed:
            effect = isinstance(t.trigger, Perform) and t.role not in (Role.COMPENSATE, Role.COMMIT)
            commits = t.role is Role.COMMIT and (t.contract not in begun or not mine)
            if effect or commits or t.role is Role.INTENT:
                return "bad"
        if t.role is Role.INTENT:
            flying[t.contract] = mine + 1
        elif t.role in (Role.COMMIT, Role.FAIL) and t.contract in begun:
            flying[t.contract] = max(0, mine - 1)
        if max(flying.values(), default=0) > 6:
            return None
        return (killed or t.role is Role.KILL, tuple(sorted(flying.items())))

    return observed(seen, (False, ()), step, lambda state: state == "bad")


def ctl_4(seen: Explicit, r: Requirement) -> bool | None:
    """Whether what a cap counts stays within it; ``payload`` is the first token taken."""
    names, most, amount, per = r.arg("what"), r.arg("most"), r.arg("amount"), r.arg("per")

    def step(spent: int, at: int, t: Transition, s: Step) -> int:
        if t.name in names:
            spent += 1 if amount is None else _amount(seen, amount, t, s)
        return 0 if t.name == per and spent <= most else spent

    return observed(seen, 0, step, lambda spent: spent > most)


def state_4(seen: Explicit, r: Requirement) -> bool | None:
    """Whether the machine is in one state in every marking, and every firing is an allowed move."""
    said = r.arg("states")
    state_of = dict(zip(said[1::2], said[0::2], strict=True))
    moves = set(zip(*[iter(r.arg("moves"))] * 2, strict=True))
    field = r.arg("field")

    def states(at: int) -> list[str]:
        out = []
        for place, state in state_of.items():
            for token in seen.markings[at][place]:
                of = seen.net.place(place).type
                out.append(token[of.index(field)] if field and isinstance(of, RecordType) else state)
        return out

    if any(len(states(at)) != 1 for at in range(len(seen.markings))):
        return False
    for at, steps in enumerate(seen.steps):
        for s in steps:
            (before,), (after,) = states(at), states(s.target)
            if before != after and (before, after) not in moves:
                return False
    return seen.holds_unless(False)


def observed(
    seen: Explicit,
    start: Hashable,
    step: Callable[[Any, int, Transition, Step], Any],
    bad: Callable[[Any], bool],
) -> bool | None:
    """As ``Explicit.observed``, for observers that look at markings too."""
    reached = {(r, start) for r in seen.roots}
    work = list(reached)
    lost = not seen.complete
    while work:
        at, state = work.pop()
        for s in seen.steps[at]:
            after = step(state, at, seen.net.transition(s.transition), s)
            if after is None or len(reached) > 20_000:
                lost = True
                continue
            if bad(after):
                return False
            if (s.target, after) not in reached:
                reached.add((s.target, after))
                work.append((s.target, after))
    return None if lost else True


def _amount(seen: Explicit, amount: Expr, t: Transition, s: Step) -> int:
    var = next(a.var for a in t.takes if a.var is not None)
    found = evaluate(substitute(amount, {"payload": Var(var)}), s.binding, seen.net.scope(t))
    assert isinstance(found, int)
    return found

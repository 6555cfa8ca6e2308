"""Mends of what is decided: policies, guards, and what an effect is given."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from provenet.nets.expr.ast import And, Expr, Get, direct, free_variables, substitute
from provenet.nets.expr.show import show
from provenet.nets.firing import NetRule
from provenet.nets.net import Auto, Explain, Net, Perform, Role, Transition
from provenet.nets.schema import RecordType
from provenet.verify.mending.surgery import (
    Candidate,
    Case,
    any_of,
    as_rule,
    both,
    by_policy,
    negated,
    renamed,
    tightened,
    with_rules,
    with_transition,
)
from provenet.verify.properties.common import carried, info_of, roles
from provenet.verify.properties.control import committed
from provenet.verify.properties.naming import approvers

_LONG = 80
_SANE = ("DATA-2",)
"""A policy that is tightened must still let something pass."""


def forbidden(case: Case) -> Iterator[Candidate]:
    """``never``: the policy refuses what must never happen."""
    bad = case.requirement.arg("where")
    for t in case.fired()[:1]:
        found = committed(case.net, t)
        unless = approvers(case.requirement)
        if bad is not None and found is not None and not _approved(case.net, t.contract, unless):
            good = negated(bad)
            yield from _tightened(case.net, t, direct(substitute(good, {"payload": found[0]})), unless)


def precondition(case: Case) -> Iterator[Candidate]:
    """DATA-3: the policy verifies what the commit relies on."""
    if case.net.has_transition(case.verdict.subject):
        t = case.net.transition(case.verdict.subject)
        if t.requires is not None:
            yield from _tightened(case.net, t, t.requires)


def everywhere(case: Case) -> Iterator[Candidate]:
    """``always``: the policy verifies what the place promises."""
    place, good = case.requirement.arg("place"), case.requirement.arg("where")
    for t in case.fired():
        for put in t.puts:
            if put.place == place and put.expr is not None:
                condition = direct(substitute(good, {"it": put.expr}))
                yield from _tightened(case.net, t, condition)
                break


def older_rules(case: Case) -> Iterator[Candidate]:
    """DATA-4: the rules of the older policy that the newer one has lost."""
    than, name = case.requirement.arg("than"), case.requirement.arg("contract", "")
    info = info_of(case.net, name)
    if than is None or info is None:
        return
    parts = than.parts if isinstance(than, And) else (than,)
    for part in (*parts, than):
        mended = tightened(case.net, name, part, show(part))
        if mended is not None:
            text = f"tighten {info.policy or name!r} by the rule {show(part)}"
            yield Candidate(text, mended, also=_SANE)


def _tightened(net: Net, t: Transition, condition: Expr, unless: Collection[str] = ()) -> Iterator[Candidate]:
    info = info_of(net, t.contract)
    parts = condition.parts if isinstance(condition, And) else (condition,)
    rules = [(part, as_rule(net, t, part)) for part in parts]
    if info is None:
        return
    wanted = [rule for _, rule in rules if rule is not None]
    if len(wanted) != len(parts):
        return
    # One part alone reads better, where it is enough.
    for some in [*([w] for w in wanted if len(wanted) > 1), wanted]:
        mended: Net | None = net
        for rule in some:
            if rule not in [r.expr for r in info.rules]:
                mended = None if mended is None else tightened(mended, t.contract, rule, show(rule))
        if mended is not None and mended != net:
            shown = " and ".join(map(show, some))
            said = f"the rule {shown}" if len(shown) <= _LONG else "a rule that says what is required"
            refused = _refused(net, t.contract, unless)
            yield Candidate(f"tighten {info.policy or t.contract!r} by {said}{refused}", mended, also=_SANE)


def _approved(net: Net, contract: str, unless: Collection[str]) -> bool:
    """Whether a contract is there to commit what a person approved: its policy must not overrule him."""
    yes = [t for t in net.by_role(Role.APPROVE) if not {t.name, t.contract}.isdisjoint(unless)]
    behind = {p.place for t in yes for p in t.puts}
    return any(a.place in behind for t in net.transitions if t.contract == contract for a in t.takes)


def _refused(net: Net, contract: str, unless: Collection[str]) -> str:
    """Where what the policy refuses goes in the end, where that is the very person who may allow it."""
    left = [p.place for t in roles(net, contract, Role.GIVE_UP, Role.REJECT) for p in t.puts]
    able = [t for t in net.by_role(Role.APPROVE) if any(a.place in left for a in t.takes)]
    named = [task for task in unless if any(task in {t.name, t.contract} for t in able)]
    return f": what it refuses goes to {' or '.join(map(repr, named))}" if named else ""


# guards that are not what the policy says


def own_rules(case: Case) -> Iterator[Candidate]:
    """The accepting guard of a contract is not its policy."""
    for name in dict.fromkeys(t.contract for t in case.fired() if t.role is Role.ACCEPT):
        mended = by_policy(case.net, name)
        if mended is not None and mended != case.net:
            yield Candidate(f"let the verifier of {name!r} accept only what its policy lets pass", mended)


def own_verifier(case: Case) -> Iterator[Candidate]:
    """SDB-3: a policy is at hand, but somebody else decides."""
    name = case.verdict.subject
    net = by_policy(case.net, name)
    if net is None:
        return
    for t in roles(net, name, Role.ACCEPT):
        net = with_transition(net, t.name, trigger=Auto(), fresh=(), ensures=None)
    for t in roles(net, name, Role.REJECT):
        net = with_transition(net, t.name, trigger=Explain(name))
    yield Candidate(f"let the policy of {name!r} decide, and nothing else", net)


def as_approved(case: Case) -> Iterator[Candidate]:
    """An effect is given something made up in place of what was verified and approved."""
    for t in case.fired()[:1]:
        found = committed(case.net, t)
        proposal = carried(case.net, t, "proposal")
        if found is None or proposal is None or not isinstance(t.trigger, Perform):
            continue
        value, of = proposal
        ways: list[Expr] = [value] if of == found[1] else []
        if isinstance(of, RecordType):
            ways += [Get(value, f.name) for f in of.fields if f.type == found[1]]
        for way in ways:
            if way != t.trigger.payload:
                net = with_transition(case.net, t.name, trigger=replace(t.trigger, payload=way))
                yield Candidate(f"let {t.name!r} commit {show(way)}, which is what was verified", net)


def guarded(case: Case) -> Iterator[Candidate]:
    """``never``: a transition of no contract does it, and can be kept from it by a guard."""
    bad = case.requirement.arg("where")
    for t in case.fired()[:1]:
        found = committed(case.net, t)
        if bad is None or found is None or info_of(case.net, t.contract) is not None:
            continue
        good = direct(negated(substitute(bad, {"payload": found[0]})))
        if not free_variables(good) & {f.var for f in t.fresh}:
            net = with_transition(case.net, t.name, guard=both(t.guard, good))
            yield Candidate(f"guard {t.name!r} by {show(good)}", net)


# choices


def gap(case: Case) -> Iterator[Candidate]:
    """DATA-1: no guard holds; the last one becomes the ``else``."""
    for cluster in _clusters(case):
        for last in reversed(cluster):
            others = [
                (o, renamed(o.guard, o, last)) for o in cluster if o is not last and o.guard is not None
            ]
            guards = [g for _, g in others if g is not None]
            if case.verdict.reason.startswith("no guard") and guards and len(guards) == len(cluster) - 1:
                rest = negated(any_of(guards))
                net = with_transition(case.net, last.name, guard=rest)
                yield Candidate(f"let {last.name!r} take what the other guards leave{_shown(rest)}", net)


def overlap(case: Case) -> Iterator[Candidate]:
    """DATA-1: two guards hold at once; the later one gives way."""
    trace = case.verdict.trace
    if trace is None or case.verdict.reason.startswith("no guard"):
        return
    ready = {f.transition for f in NetRule(case.net).enabled(trace.replay(case.net)[-1])}
    for cluster in _clusters(case):
        possible = [t for t in cluster if t.name in ready]
        for one, other in [(a, b) for a in possible for b in possible if a is not b]:
            if one.guard is not None and (away := renamed(one.guard, one, other)) is not None:
                guard = both(other.guard, negated(away))
                text = f"let {other.name!r} give way to {one.name!r}, whose guard it negates{_shown(guard)}"
                yield Candidate(text, with_transition(case.net, other.name, guard=guard))


def _shown(guard: Expr) -> str:
    text = show(guard)
    return f": {text}" if len(text) <= _LONG else ""


def _clusters(case: Case) -> Iterator[list[Transition]]:
    """The choices that a verdict of DATA-1 may be about: siblings by their input arcs."""
    groups: dict[object, list[Transition]] = {}
    for t in case.net.transitions:
        if isinstance(t.trigger, Auto | Explain):
            takes = tuple(sorted((a.place, a.weight) for a in t.takes))
            reads = tuple(sorted((a.place, a.weight) for a in t.reads))
            groups.setdefault((takes, reads), []).append(t)
    return (g for g in groups.values() if ", ".join(t.name for t in g) == case.verdict.subject)


# policies that say nothing, or too much


def fewer_rules(case: Case) -> Iterator[Candidate]:
    """DATA-2: a rule refuses nothing, or refuses everything: without it the policy says something."""
    name = case.verdict.subject.split(":", maxsplit=1)[0]
    info = info_of(case.net, name)
    if info is None:
        return
    vacuous = [r for r in info.rules if repr(r.name) in case.verdict.reason]
    for rule in vacuous or reversed(info.rules):
        kept = tuple(r for r in info.rules if r is not rule)
        mended = with_rules(case.net, replace(info, rules=kept)) if kept else None
        if mended is not None:
            why = "which refuses nothing" if vacuous else "which no proposal meets together with the others"
            yield Candidate(f"drop the rule {rule.name!r} ({show(rule.expr)}), {why}", mended)

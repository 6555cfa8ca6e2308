"""An independent checker for tests.

Every reachable marking of a net over finite types, and properties by their plain definitions.

Nothing here is shared with ``provenet.verify``. A set of markings that was cut short still shows what can
happen; what cannot happen, and what can always be reached, it shows only when ``complete``. Answers are
``True`` (holds), ``False`` (broken) or ``None`` (not known).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any

from provenet.nets.errors import Breach
from provenet.nets.expr.ast import Expr
from provenet.nets.expr.evaluate import evaluate
from provenet.nets.firing import NetRule
from provenet.nets.marking import Marking, initial_marking
from provenet.nets.net import Auto, Choice, Explain, Net, Perform, Read, Role, Signal, Take, Transition
from provenet.nets.schema import (
    BoolType,
    EnumType,
    IntType,
    OptionalType,
    RecordType,
    StrType,
    Type,
    UnitType,
    Value,
    check,
)

Binding = Mapping[str, Value]


def all_values(of: Type) -> list[Value]:
    """Every value of a finite type.

    Of strings and unbounded integers only the plainest, which the nets under test do not look at.
    """
    match of:
        case UnitType():
            return [()]
        case BoolType():
            return [False, True]
        case EnumType(_, values):
            return list(values)
        case IntType(lo, hi):
            return [0] if lo is None or hi is None else list(range(lo, hi + 1))
        case StrType():
            return [""]
        case OptionalType(StrType()):
            return [None]
        case OptionalType(item):
            return [None, *all_values(item)]
        case RecordType(_, fields):
            return list(product(*(all_values(f.type) for f in fields)))
        case _:
            raise AssertionError(f"not a finite type: {of}")


@dataclass(frozen=True)
class Step:
    """A concrete firing."""

    transition: str
    binding: Binding
    target: int


@dataclass
class Explicit:
    """The reachable markings of a net."""

    net: Net
    most: int = 3_000
    largest: int = 9
    markings: list[Marking] = field(default_factory=list)
    steps: list[list[Step]] = field(default_factory=list)
    roots: list[int] = field(default_factory=list)
    complete: bool = True

    def __post_init__(self) -> None:
        self.rule = NetRule(self.net)
        index: dict[Marking, int] = {}
        work: deque[int] = deque()

        def add(marking: Marking) -> int:
            if marking not in index:
                index[marking] = len(self.markings)
                self.markings.append(marking)
                self.steps.append([])
                work.append(index[marking])
            return index[marking]

        for inputs in product(*(self._inputs(e.place, e.where) for e in self.net.entries)):
            given = {e.place: v for e, v in zip(self.net.entries, inputs, strict=True)}
            self.roots.append(add(initial_marking(self.net, given)))
        while work:
            at = work.popleft()
            marking = self.markings[at]
            if len(self.markings) > self.most or any(len(t) > self.largest for _, t in marking.items()):
                self.complete = False
                continue
            for transition, binding, after in self._firings(marking):
                self.steps[at].append(Step(transition.name, binding, add(after)))

    def _inputs(self, place: str, where: Expr | None) -> list[Value]:
        of = self.net.place(place).type
        return [v for v in all_values(of) if where is None or evaluate(where, {"it": v}, {"it": of})]

    def _firings(self, marking: Marking) -> Iterator[tuple[Transition, Binding, Marking]]:
        for t in self.net.transitions:
            for taken in self.rule.bindings(marking, t.name):
                for brought in product(*(all_values(f.type) for f in t.fresh)):
                    binding = {**taken, **{f.var: v for f, v in zip(t.fresh, brought, strict=True)}}
                    try:
                        yield t, binding, self.rule.fire(marking, t.name, binding)
                    except Breach:
                        continue

    # what all definitions use

    def counts(self, at: int) -> dict[str, int]:
        """How many tokens lie in each place, resting ones aside."""
        return {p: len(t) for p, t in self.markings[at].items() if p not in self.net.resting}

    def finals(self) -> list[dict[str, int]]:
        return [{p: n for p, n in f if p not in self.net.resting} for f in self.net.finals]

    def is_final(self, at: int) -> bool:
        return self.counts(at) in self.finals()

    def leading_to(self, good: set[int], allowed: Callable[[Transition], bool] = lambda t: True) -> set[int]:
        """The markings from which some run reaches a good one."""
        back: dict[int, list[int]] = {}
        for at, steps in enumerate(self.steps):
            for s in steps:
                if allowed(self.net.transition(s.transition)):
                    back.setdefault(s.target, []).append(at)
        seen, work = set(good), list(good)
        while work:
            for before in back.get(work.pop(), ()):
                if before not in seen:
                    seen.add(before)
                    work.append(before)
        return seen

    def holds_unless(self, broken: bool) -> bool | None:
        """The answer about something that must not happen."""
        return False if broken else True if self.complete else None

    def observed(
        self, start: Hashable, step: Callable[[Any, Transition, Binding], Any], bad: Callable[[Any], bool]
    ) -> bool | None:
        """Whether an observer of runs stays content; it may answer ``None`` where it loses count."""
        seen = {(r, start) for r in self.roots}
        work = list(seen)
        lost = not self.complete
        while work:
            at, state = work.pop()
            for s in self.steps[at]:
                after = step(state, self.net.transition(s.transition), s.binding)
                if after is None or len(seen) > 20_000:
                    lost = True
                    continue
                if bad(after):
                    return False
                if (s.target, after) not in seen:
                    seen.add((s.target, after))
                    work.append((s.target, after))
        return None if lost else True

    # the catalogue

    def state_1(self) -> bool | None:
        for at in range(len(self.markings)):
            here = self.counts(at)
            if here not in self.finals() and any(
                all(here.get(p, 0) >= n for p, n in f.items()) for f in self.finals()
            ):
                return False
        if not self.complete:
            return None
        finals = {at for at in range(len(self.markings)) if self.is_final(at)}
        if len(self.leading_to(finals, lambda t: t.role is not Role.KILL)) < len(self.markings):
            return False
        defensive = {Role.REJECT, Role.FAULT, Role.RETRY, Role.GIVE_UP, Role.FAIL}
        fired = {s.transition for steps in self.steps for s in steps}
        scopes = {s.id for s in self.net.sagas}
        # Of a scope itself: passing over steps that need no undoing
        bookkeeping = {Role.UNWIND, Role.DISCHARGE}
        return all(
            t.name in fired or t.role in defensive or (t.role in bookkeeping and t.contract in scopes)
            for t in self.net.transitions
        )

    def state_2(self, k: int | None = None) -> bool | None:
        if k is not None:
            return self.holds_unless(any(len(t) > k for m in self.markings for _, t in m.items()))
        return True if self.complete else None

    def state_3(self) -> bool | None:
        explored = self.complete or len(self.markings) <= self.most
        stuck = explored and any(
            not self.is_final(at) and not self.steps[at] and all(len(t) <= self.largest for _, t in m.items())
            for at, m in enumerate(self.markings)
        )
        return self.holds_unless(stuck)

    def ctl_3(self) -> bool | None:
        def outside(t: Transition) -> bool:
            return isinstance(t.trigger, Choice | Signal)

        waits = {
            a.place for t in self.net.transitions if outside(t) and t.role is not Role.KILL for a in t.takes
        }
        if not self.complete:
            return None
        for place in waits:
            # A case that has ended waits for nobody.
            good = {at for at, m in enumerate(self.markings) if not m.count(place) or self.is_final(at)}
            if len(self.leading_to(good, lambda t: not outside(t))) < len(self.markings):
                return False
        return True

    def data_1(self) -> bool | None:
        groups: dict[Any, list[Transition]] = {}
        for t in self.net.transitions:
            if isinstance(t.trigger, Auto | Explain) and t.takes:
                shape = [tuple(sorted((a.place, a.weight) for a in arcs)) for arcs in (t.takes, t.reads)]
                groups.setdefault(tuple(shape), []).append(t)
        broken = False
        for group in groups.values():
            if len(group) > 1 and any(t.guard is not None for t in group):
                broken = broken or any(self._choice_fails(m, group) for m in self.markings)
        return self.holds_unless(broken)

    def _choice_fails(self, marking: Marking, group: list[Transition]) -> bool:
        """Whether for some tokens more than one guard holds, or none where nobody else takes the token."""
        place = group[0].takes[0].place
        others = any(t not in group and any(a.place == place for a in t.takes) for t in self.net.transitions)
        for chosen in self._tokens(marking, group[0]):
            true = [self._guard(t, chosen) for t in group]
            if sum(true) > 1 or (not any(true) and not others):
                return True
        return False

    def _tokens(self, marking: Marking, t: Transition) -> Iterator[dict[tuple[str, str, int], Value]]:
        """The ways to choose tokens for the arcs of a transition, by (kind, place, how manieth)."""
        slots = _slots(t)

        def extend(
            at: int, left: dict[str, list[Value]], out: dict[Any, Value]
        ) -> Iterator[dict[Any, Value]]:
            if at == len(slots):
                yield dict(out)
                return
            (kind, place, number), _ = slots[at]
            for value in dict.fromkeys(left[place]):
                rest = list(left[place])
                rest.remove(value)
                yield from extend(at + 1, {**left, place: rest}, {**out, (kind, place, number): value})

        yield from extend(0, {place: list(marking[place]) for (_, place, _), _ in slots}, {})

    def _guard(self, t: Transition, chosen: Mapping[tuple[str, str, int], Value]) -> bool:
        env = {var: chosen[key] for key, var in _slots(t) if var is not None}
        if t.guard is None:
            return True
        return bool(evaluate(t.guard, env, {v: o for v, o in self.net.scope(t).items() if v in env}))

    def data_3(self, name: str) -> bool | None:
        """Whether a transition never gets ready with its ``requires`` broken."""
        t = self.net.transition(name)
        assert t.requires is not None
        scope = self.net.scope(t)
        for marking in self.markings:
            for taken in self.rule.bindings(marking, name):
                for brought in product(*(all_values(f.type) for f in t.fresh)):
                    env = {**taken, **{f.var: v for f, v in zip(t.fresh, brought, strict=True)}}
                    if t.ensures is not None and not evaluate(t.ensures, env, scope):
                        continue
                    if not evaluate(t.requires, env, scope):
                        return False
        return True if self.complete else None

    # what users ask

    def never_fires(self, name: str) -> bool | None:
        return self.holds_unless(any(s.transition == name for steps in self.steps for s in steps))

    def never(self, name: str, where: Expr) -> bool | None:
        """Whether it never fires with a condition over ``payload``, the first token that it takes."""
        t = self.net.transition(name)
        var = next(a.var for a in t.takes if a.var is not None)
        of = self.net.place(next(a.place for a in t.takes if a.var is not None)).type
        if isinstance(t.trigger, Perform) and t.trigger.payload is not None:
            raise AssertionError("not for effects with a payload of their own")
        happens = any(
            s.transition == name and evaluate(where, {"payload": s.binding[var]}, {"payload": of})
            for steps in self.steps
            for s in steps
        )
        return self.holds_unless(happens)

    def always(self, place: str, where: Expr) -> bool | None:
        of = self.net.place(place).type
        return self.holds_unless(
            any(not evaluate(where, {"it": v}, {"it": of}) for m in self.markings for v in m[place])
        )

    def precedes(self, first: str, then: str) -> bool | None:
        def step(seen: str, t: Transition, _: Binding) -> str:
            if t.name == then and seen != "first":
                return "bad"
            return "first" if t.name == first else seen

        return self.observed("", step, lambda s: s == "bad")

    def bound(self, places: tuple[str, ...], k: int) -> bool | None:
        return self.holds_unless(any(sum(m.count(p) for p in set(places)) > k for m in self.markings))

    def mutex(self, places: tuple[str, ...]) -> bool | None:
        return self.holds_unless(any(sum(m.count(p) > 0 for p in set(places)) > 1 for m in self.markings))

    # contracts

    def sdb_1(self, contract: str) -> bool | None:
        """Whether each commit has a proposal that the contract accepted before and that meets its policy."""
        info = next((c for c in self.net.contracts if c.id == contract), None)
        rules = () if info is None else info.rules

        def step(accepted: frozenset[Any], t: Transition, b: Binding) -> Any:
            if t.contract != contract or t.role not in (Role.ACCEPT, Role.COMMIT):
                return accepted
            found = proposal_of(self.net, t, b)
            if t.role is Role.ACCEPT:
                return accepted if found is None else accepted | {found}
            if found is None:
                return None
            of, value = found
            met = info is None or of != info.proposal
            met = met or all(evaluate(r.expr, {"proposal": value}, {"proposal": of}) for r in rules)
            return accepted if found in accepted and met else "bad"

        return self.observed(frozenset(), step, lambda s: s == "bad")

    def sdb_4(self, contract: str) -> bool | None:
        """Whether the proposer is asked at most ``attempts`` times after a begin.

        Not known from a second begin on.
        """
        most = next((c.attempts for c in self.net.contracts if c.id == contract), None)
        if most is None:
            return None

        def step(seen: tuple[bool, int], t: Transition, _: Binding) -> tuple[bool, int] | None:
            if t.contract != contract:
                return seen
            if t.role is Role.BEGIN:
                return None if seen[0] else (True, 0)
            return (seen[0], seen[1] + 1) if t.role in (Role.PROPOSE, Role.FAULT) else seen

        return self.observed((False, 0), step, lambda seen: seen[1] > most)

    def sdb_5(self, contract: str) -> bool | None:
        def step(left: int, t: Transition, _: Binding) -> int | None:
            if t.contract != contract or t.role not in (Role.ACCEPT, Role.COMMIT):
                return left
            left += 1 if t.role is Role.ACCEPT else -1
            return None if left > 30 else left

        return self.observed(0, step, lambda left: left < 0)

    def saga(self, saga: str) -> dict[str, bool | None]:
        """SAGA-1, 2, 3 by the history of the scope's steps, in the order in which their commits began."""
        owing = {c.id for c in self.net.contracts if c.saga == saga and c.undo}
        info = next(s for s in self.net.sagas if s.id == saga)

        def step(seen: Any, t: Transition, _: Binding) -> Any:
            steps: list[tuple[str, bool]] = list(seen[0])
            dropped: bool = seen[2]
            mine, begun = (t.contract, True), (t.contract, False)
            broken = ""
            if t.contract == saga and t.role in (Role.ABORTED, Role.COMPLETE):
                # A step still under way when its scope ends is never undone, should it commit.
                if any(done for _, done in steps) or (dropped and t.role is Role.ABORTED):
                    broken = "SAGA-1" if t.role is Role.ABORTED else "SAGA-3"
                steps, dropped = [], False
            elif t.contract not in owing:
                return (seen[0], "", dropped)
            elif t.role is Role.INTENT:
                steps.append(begun)
            elif t.role is Role.COMMIT:
                if begun in steps:
                    steps[steps.index(begun)] = mine
                else:
                    steps.append(mine)
            elif t.role is Role.FAIL and begun in steps:
                steps.remove(begun)
            elif t.role in (Role.COMPENSATE, Role.DISCHARGE):
                if t.role is Role.COMPENSATE and steps.count(mine) > 1:
                    return None  # which of them it undoes, the tokens know
                if mine in steps:
                    dropped = dropped or t.role is Role.DISCHARGE
                    last = len(steps) - 1 - steps[::-1].index(mine)
                    if t.role is Role.COMPENSATE and last != len(steps) - 1:
                        broken = "SAGA-2"
                    del steps[last]
                elif t.role is Role.COMPENSATE:
                    broken = "SAGA-3"
            return (tuple(steps), broken, dropped) if len(steps) < 8 else None

        found = {
            kind: self.observed(((), "", False), step, partial(_broke, kind))
            for kind in ("SAGA-1", "SAGA-2", "SAGA-3")
        }
        if self.complete:
            ending = {
                at
                for at, steps in enumerate(self.steps)
                for s in steps
                if (t := self.net.transition(s.transition)).contract == saga and t.role is Role.ABORTED
            }
            aborting = {at for at, m in enumerate(self.markings) if m.count(info.aborting)}
            if aborting - self.leading_to(ending):
                found["SAGA-1"] = False
        return found


def proposal_of(net: Net, t: Transition, binding: Binding) -> tuple[Type, Value] | None:
    """The field ``proposal`` of the token that a transition takes, or that token, with its type."""
    for arc in t.takes:
        of = net.place(arc.place).type
        if arc.var is not None and isinstance(of, RecordType) and (at := of.index("proposal")) is not None:
            return of.fields[at].type, binding[arc.var][at]
    named = [(net.place(a.place).type, binding[a.var]) for a in t.takes if a.var is not None]
    return named[0] if named and (len(t.takes) == 1 or t.role is Role.COMMIT) else None


def well_typed(net: Net, marking: Marking) -> bool:
    """Whether every token belongs to its place's type."""
    for place, tokens in marking.items():
        for token in tokens:
            check(token, net.place(place).type)
    return True


def _broke(kind: str, state: Any) -> bool:
    return bool(state[1] == kind)


def _slots(t: Transition) -> list[tuple[tuple[str, str, int], str | None]]:
    """Arcs, one slot a token, as (kind, place, how manieth of them) with their variables."""
    out = []
    met: Counter[tuple[str, str]] = Counter()
    both: tuple[tuple[str, tuple[Take | Read, ...]], ...] = (("take", t.takes), ("read", t.reads))
    for kind, arcs in both:
        for a in sorted(arcs, key=lambda a: (a.place, a.weight)):
            for _ in range(a.weight):
                out.append(((kind, a.place, met[kind, a.place]), a.var))
                met[kind, a.place] += 1
    return out

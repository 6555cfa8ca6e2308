"""CTL from the initial marking on, looking only at markings that matter: on nets too large for their graph.

Vergauwen & Lewi, "A linear local model checking algorithm for CTL", CONCUR 1993, and the certain zeros of
Dalsgaard et al., "Extended dependency graphs and efficient distributed fixed-point computation", PETRI NETS
2017: each operator is a search from the marking at hand, which goes on only through markings that do not end
it, and stops at the first one that decides. What a search finds is kept for each marking. Searches for ``EF``
and ``EU`` go to the markings first that are nearest to the goal; searches for runs without end go down one
run after another.

A search within another one gets only so many markings; where that is too few, its value is not known, and
neither is what rests on it. All is repeated with larger limits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Literal, TypeAlias

from provenet.verify.plain import temporal as tl
from provenet.verify.plain.answer import Budget
from provenet.verify.plain.logic import FALSE, TRUE, And, Formula, Le, Or, atoms_of
from provenet.verify.plain.net import PTNet
from provenet.verify.plain.packed import Fields, Overflow
from provenet.verify.plain.rules import Rules
from provenet.verify.plain.settled import Settled

FEW = 40
"""Atoms of a goal that markings are ordered by."""

FIRST = 100
"""Markings that a formula gets in the first round."""

LONGER = 3
"""How much more in each further round."""

EFFORT = 10
"""Markings looked at, over and over, for each that the outermost search may get."""

INNER = 0.7
"""A search within a search gets the limit to this power, and at least ``LEAST`` markings."""

LEAST = 30

BYTES = 400
"""What a marking takes, with what is known of it."""

Test: TypeAlias = Callable[[int], bool]


@dataclass(frozen=True, slots=True)
class Local:
    """Search from the initial marking, formula by formula, in rounds that grow.

    Attributes:
        seed: The same seed searches in the same order.
        name: Appears in verdicts.
    """

    seed: int = 1
    name: str = "local search"

    def run(
        self, net: PTNet, formulas: Sequence[tl.Temporal], budget: Budget
    ) -> Iterator[tuple[int, Settled]]:
        """Answer CTL formulas."""
        rules = Rules(net)
        open_ = {i: rules.smaller(f) for i, f in enumerate(formulas) if tl.is_ctl(f)}
        if not open_:
            return
        most = max((*net.initial, 3))
        search = Search(net, most, budget, Random(self.seed))  # noqa: S311
        limit = FIRST
        while open_ and budget.left():
            for i, formula in list(open_.items()):
                if budget.answered(i):
                    del open_[i]
                    continue
                if not budget.left():
                    return
                if search.markings * BYTES > budget.memory:
                    search = Search(net, most, budget, Random(self.seed + limit))  # noqa: S311
                try:
                    value = search.value(formula, limit)
                except Overflow:
                    most = 16 * most + 15
                    search = Search(net, most, budget, Random(self.seed))  # noqa: S311
                    continue
                if value is not None:
                    del open_[i]
                    yield i, Settled(value, self.name, search.markings)
            limit *= LONGER


class _OutOfTime(Exception):
    pass


class Search:
    """What is known of markings and formulas.

    Args:
        net: The net.
        most: What a place may hold.
        budget: Time and memory.
        random: For the order of successors.
    """

    def __init__(self, net: PTNet, most: int, budget: Budget, random: Random) -> None:
        self._net, self._budget = net, budget
        fields = self._fields = Fields.of(len(net.places), most)
        transitions = range(len(net.transitions))
        self._need = [fields.arcs(net.pre[t]) for t in transitions]
        self._effect = [fields.arcs(net.effect[t]) for t in transitions]
        self._rank = [random.random() for _ in transitions]
        self._near: dict[int, frozenset[int]] = {}
        self._initial = fields.pack(net.initial)
        self._rules = Rules(net, deadlocks="none", largest=FEW)
        self._able: dict[int, tuple[int, ...]] = {}
        self._after: dict[int, tuple[int, ...]] = {}
        self._parts: dict[tl.Temporal, _Part] = {}
        self._tests: dict[Formula, Test] = {}
        self._steps = self._last = 0

    @property
    def markings(self) -> int:
        """How many markings are kept, with each formula that is known of one counted as one more."""
        return len(self._after) + sum(len(part.known) for part in self._parts.values())

    def value(self, formula: tl.Temporal, limit: int) -> bool | None:
        """Whether a formula holds in the initial marking.

        Raises:
            Overflow: A place holds too much.
        """
        self._last = self._steps + EFFORT * limit
        try:
            return self._value(self._part(formula), self._initial, limit)
        except _OutOfTime:
            return None

    def _part(self, formula: tl.Temporal) -> _Part:
        part = self._parts.get(formula)
        if part is None:
            part = self._parts[formula] = self._made(formula)
        return part

    def _made(self, formula: tl.Temporal) -> _Part:
        match formula:
            case tl.Now(condition):
                test = self._test(condition)
                return _Part("now", (), test, test, _nowhere)
            case tl.Both(parts) | tl.Either(parts):
                below = tuple(map(self._part, parts))
                return _Part(
                    "all" if isinstance(formula, tl.Both) else "any", below, _never, _always, _nowhere
                )
            case tl.A():
                below = (self._part(tl.simplified(formula, negated=True)),)
                return _Part("not", below, _never, _always, _nowhere)
            case tl.E(path):
                least = self._test(self._rules.at_least(formula))
                most = self._test(self._rules.at_most(formula))
                match path:
                    case tl.X(of):
                        return _Part("next", (self._part(of),), least, most, _nowhere)
                    case tl.F(goal):
                        return _Part(
                            "until", (self._part(tl.TRULY), self._part(goal)), least, most, self._far(goal)
                        )
                    case tl.U(before, goal):
                        return _Part(
                            "until", (self._part(before), self._part(goal)), least, most, self._far(goal)
                        )
                    case tl.G(of):
                        return _Part("stays", (self._part(tl.FALSELY), self._part(of)), least, most, _nowhere)
                    case tl.R(release, hold):
                        return _Part("stays", (self._part(release), self._part(hold)), least, most, _nowhere)
        raise ValueError("no CTL formula")

    def _value(self, part: _Part, at: int, limit: int) -> bool | None:
        match part.kind:
            case "now":
                return part.least(at)
            case "not":
                value = self._value(part.below[0], at, limit)
                return None if value is None else not value
            case "all" | "any":
                deciding = part.kind == "any"
                found: bool | None = not deciding
                for below in part.below:
                    value = self._value(below, at, limit)
                    if value is deciding:
                        return value
                    if value is None:
                        found = None
                return found
        value = part.known.get(at)
        if value is not None:
            return value
        if part.least(at):
            value = True
        elif not part.most(at):
            value = False
        elif limit <= 0:
            return None
        elif part.kind == "next":
            value = self._next(part.below[0], at, limit)
        elif part.kind == "until":
            value = self._until(part, at, limit)
        else:
            value = self._stays(part, at, limit)
        if value is not None:
            part.known[at] = value
        return value

    def _next(self, of: _Part, at: int, limit: int) -> bool | None:
        found: bool | None = False
        for after in self._following(at):
            value = self._value(of, after, limit)
            if value:
                return True
            if value is None:
                found = None
        return found

    def _until(self, part: _Part, start: int, limit: int) -> bool | None:
        before, goal = part.below
        known, far = part.known, part.far
        inner = max(LEAST, int(limit**INNER)) if limit > LEAST else 0
        parent = {start: -1}
        number = count()
        queue: list[tuple[int, int, int]] = [(0, 0, start)]
        sure = True
        while queue:
            at = heappop(queue)[-1]
            value = known.get(at)
            if value is None:
                value = self._value(goal, at, inner)
            elif not value:
                continue
            if value:
                while at >= 0:
                    known[at] = True
                    at = parent[at]
                return True
            on = self._value(before, at, inner)
            if value is None or on is None:
                sure = False
            if not on:
                continue
            for after in self._following(at):
                if after not in parent:
                    parent[after] = at
                    heappush(queue, (far(after), -next(number), after))
            if len(parent) > limit:
                return None
        if sure:
            for at in parent:
                known[at] = False
            return False
        return None

    def _stays(self, part: _Part, start: int, limit: int) -> bool | None:
        release, hold = part.below
        known = part.known
        inner = max(LEAST, int(limit**INNER)) if limit > LEAST else 0
        on_path: set[int] = set()
        seen = {start}
        path: list[tuple[int, Iterator[int]]] = []
        sure = True
        entering: int | None = start
        while True:
            if entering is not None:
                at = entering
                entering = None
                value = known.get(at)
                if value is None:
                    held = self._value(hold, at, inner)
                    if not held:
                        value = held
                    else:
                        released = self._value(release, at, inner)
                        after = self._following(at)
                        if released or not after:
                            value = True
                        else:
                            if released is None:
                                sure = False
                            path.append((at, iter(after)))
                            on_path.add(at)
                            value = False
                if value:
                    for way, _ in path:
                        known[way] = True
                    return True
                if value is None:
                    sure = False
                if not path:
                    return False if sure else None
                if len(seen) > limit:
                    return None
            way_on = next((after for after in path[-1][1] if after in on_path or after not in seen), None)
            if way_on is None:
                done, _ = path.pop()
                on_path.discard(done)
                if sure:
                    known[done] = False
                if not path:
                    return False if sure else None
            elif way_on in on_path:
                for way, _ in path:
                    known[way] = True
                return True
            else:
                seen.add(way_on)
                entering = way_on

    def _following(self, at: int) -> tuple[int, ...]:
        """The markings after one, in an order that is arbitrary but stays."""
        self._steps += 1
        if self._steps > self._last:
            raise _OutOfTime
        known = self._after.get(at)
        if known is not None:
            return known
        if len(self._after) % 64 == 0 and (
            not self._budget.left() or self.markings * BYTES > self._budget.memory
        ):
            raise _OutOfTime
        guard = self._fields.guard
        need, effect = self._need, self._effect
        able = self._able.pop(at, None)
        if able is None:
            raised = at | guard
            able = tuple(t for t in range(len(need)) if (raised - need[t]) & guard == guard)
        out: dict[int, int] = {}
        for t in able:
            after = at + effect[t]
            if after & guard:
                raise Overflow
            out.setdefault(after, t)
        for after, t in out.items():
            if after in self._after or after in self._able:
                continue
            touched = self._near.get(t)
            if touched is None:
                changed = (u for p, _ in self._net.effect[t] for u, _ in self._net.consumers[p])
                touched = self._near[t] = frozenset(changed)
            raised = after | guard
            still = [u for u in able if u not in touched]
            still += [u for u in touched if (raised - need[u]) & guard == guard]
            self._able[after] = tuple(still)
        # Who always has priority soon comes back to a marking.
        self._after[at] = tuple(sorted(out, key=lambda after: self._rank[out[after]]))
        return self._after[at]

    def _test(self, formula: Formula) -> Test:
        test = self._tests.get(formula)
        if test is None:
            test = self._tests[formula] = self._compiled(formula)
        return test

    def _compiled(self, formula: Formula) -> Test:
        """A condition as a test of packed markings."""
        if formula in (TRUE, FALSE):
            value = formula == TRUE
            return lambda _: value
        bits, guard = self._fields.bits, self._fields.guard
        mask = (1 << bits) - 1
        if isinstance(formula, Le):
            if len(formula.terms) == 1:
                ((p, c),) = formula.terms
                shift = p * bits
                if c > 0:
                    most = formula.bound // c
                    return lambda at: at >> shift & mask <= most
                least = -(formula.bound // -c)
                return lambda at: at >> shift & mask >= least
            terms = [(p * bits, c) for p, c in formula.terms]
            bound = formula.bound
            return lambda at: sum([c * (at >> shift & mask) for shift, c in terms]) <= bound
        # Bounds of single places are compared all at once; some bound holds where not all opposites do.
        every = isinstance(formula, And)
        bounds: dict[bool, dict[int, int]] = {True: {}, False: {}}
        tests: list[Test] = []
        for part in formula.parts:
            single = _single(part)
            if single is None:
                tests.append(self._test(part))
                continue
            p, lower, n = single
            if not every:
                lower, n = not lower, n - 1 if lower else n + 1
            if n < 0 or n > mask >> 1 or p in bounds[lower]:
                tests.append(self._test(part))
            else:
                bounds[lower][p] = n
        least = self._fields.arcs(tuple(bounds[True].items()))
        most = self._fields.arcs(tuple(bounds[False].items()))
        if least:
            tests.insert(0, lambda at: (((at | guard) - least) & guard == guard) is every)
        if bounds[False]:
            tops = self._fields.arcs(tuple((p, mask // 2 + 1) for p in bounds[False]))
            fields = self._fields.arcs(tuple((p, mask) for p in bounds[False]))
            tests.insert(0, lambda at: (((most | tops) - (at & fields)) & tops == tops) is every)
        if len(tests) == 1:
            return tests[0]

        def joined(at: int) -> bool:
            for test in tests:
                if test(at) is not every:
                    return not every
            return every

        return joined

    def _far(self, goal: tl.Temporal) -> Callable[[int], int]:
        """How much a marking lacks of a goal; nothing where that takes long to say."""
        condition = self._rules.at_most(goal)
        return self._distance(condition) if len(atoms_of(condition)) <= FEW else _nowhere

    def _distance(self, goal: Formula) -> Callable[[int], int]:
        """Sums over conjunctions, the least of disjunctions."""
        bits = self._fields.bits
        mask = (1 << bits) - 1
        match goal:
            case Le(((p, c),), bound):
                shift = p * bits
                return lambda at: max(0, c * (at >> shift & mask) - bound)
            case Le(terms, bound):
                shifted = [(p * bits, c) for p, c in terms]
                return lambda at: max(0, sum([c * (at >> s & mask) for s, c in shifted]) - bound)
            case And(parts):
                every = [self._distance(part) for part in parts]
                return lambda at: sum([far(at) for far in every])
            case Or(parts):
                some = [self._distance(part) for part in parts]
                return lambda at: min([far(at) for far in some], default=0)


@dataclass(slots=True)
class _Part:
    """A part of a formula.

    Attributes:
        kind: What it says: ``next`` is EX, ``until`` EU and EF, ``stays`` ER and EG.
        below: The parts that it says it of; of the last two, what holds or releases comes first.
        least: A marking that satisfies this satisfies the part.
        most: A marking that does not does not.
        far: How much a marking lacks of the goal.
        known: Where it is known.
    """

    kind: Literal["now", "not", "all", "any", "next", "until", "stays"]
    below: tuple[_Part, ...]
    least: Test
    most: Test
    far: Callable[[int], int]
    known: dict[int, bool] = field(default_factory=dict)


def _never(_: int) -> bool:
    return False


def _always(_: int) -> bool:
    return True


def _nowhere(_: int) -> int:
    return 0


def _single(part: Formula) -> tuple[int, bool, int] | None:
    """``(p, lower, n)`` where the part says ``tokens(p) >= n``, or ``<= n`` where it is no lower bound."""
    if not isinstance(part, Le) or len(part.terms) != 1:
        return None
    ((p, c),) = part.terms
    if abs(c) != 1:
        return None
    return (p, True, -part.bound) if c < 0 else (p, False, part.bound)

"""The state equation, refined: proofs by counting.

Every run with firing counts ``x`` ends in ``m0 + C x >= 0`` (Murata, 1989), so a goal that no real ``x >= 0``
reaches is unreachable. Four kinds of facts sharpen this relaxation where a solution is spurious:

* a trap that is marked stays marked (Esparza & Melzer, "Verification of safety properties using integer
  programming", 2000);
* a set of places that is empty at first stays so until something from outside puts into it: whatever takes
  from it fires only after that (the causality constraints of Thierry-Mieg, "Symbolic and Structural
  Model-Checking", 2021);
* a transition that reads what it leaves may be used though no marking enables it, which the equation cannot
  see: that some marking enables it is a goal of its own, and where it has no solution the transition is dead;
* firing counts are whole numbers.

A solution that is left is a plan for a witness: see ``plans``. Assumes nothing of the net. Proves with
``StateEquation`` evidence, in exact arithmetic, over the rationals where they suffice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import z3

from provenet.verify.plain.answer import Answer, Budget, StateEquation, Unreachable
from provenet.verify.plain.logic import And, Formula, Le, fireable
from provenet.verify.plain.net import Counts, PTNet

_ROUNDS = 60
"""Most refinements of one goal; each rules the last solution out."""


@dataclass(frozen=True, slots=True)
class StateEquationEngine:
    """Proofs by the refined state equation."""

    name: str = "state equation"

    def run(self, net: PTNet, goals: Sequence[Formula], budget: Budget) -> Iterator[tuple[int, Answer]]:
        """One goal after the other; what is learnt for one holds for all."""
        relaxed = Relaxation(net, net.initial, numbers="real")
        for i, goal in enumerate(goals):
            if budget.left() <= 0:
                return
            if budget.answered(i):
                continue
            time = Budget.seconds(max(0.5, budget.left() / max(1, len(goals) - i)))
            if relaxed.solve(goal, min(time.left(), budget.left())) == "none":
                yield i, Unreachable(relaxed.evidence(), self.name)


@dataclass(slots=True)
class Solution:
    """Firing counts that solve the relaxation, and the marking that they promise."""

    counts: dict[int, Fraction]
    marking: tuple[Fraction, ...]


@dataclass(slots=True)
class Relaxation:
    """The refined state equation of a net from one marking; what it learns holds for every goal.

    Attributes:
        net: The net.
        start: The marking that runs start from.
        numbers: Whether firing counts are ``real`` or ``whole``.
    """

    net: PTNet
    start: Counts
    numbers: Literal["real", "whole"]
    traps: list[frozenset[int]] = field(default_factory=list)
    empty: list[frozenset[int]] = field(default_factory=list)
    dead: list[int] = field(default_factory=list)
    _alive: set[int] = field(default_factory=set, repr=False)
    _solver: z3.Solver = field(init=False, repr=False)
    _x: list[z3.ArithRef] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        context = z3.Context()
        self._solver = z3.SolverFor("QF_LRA" if self.numbers == "real" else "QF_LIA", ctx=context)
        make = z3.Real if self.numbers == "real" else z3.Int
        self._x = [make(f"x{t}", context) for t in range(len(self.net.transitions))]
        self._solver.add([x >= 0 for x in self._x])
        self._solver.add([self._linear({p: 1}) >= 0 for p in range(len(self.net.places))])

    def solve(
        self, goal: Formula, seconds: float, *, beyond: Sequence[frozenset[int]] = ()
    ) -> Solution | str:
        """A solution that no refinement rules out; ``none`` where there is none, else ``unknown``.

        Args:
            goal: What is to be reached.
            seconds: Time for it.
            beyond: The solution fires, for each of these, something that is not in it.
        """
        end = Budget.seconds(seconds)
        for _ in range(_ROUNDS):
            found = self._solve(goal, end, beyond)
            if isinstance(found, str) or not self._bury(found, end):
                return found
        return "unknown"

    def _solve(self, goal: Formula, end: Budget, beyond: Sequence[frozenset[int]] = ()) -> Solution | str:
        for _ in range(_ROUNDS):
            if end.left() <= 0:
                break
            self._solver.set("timeout", max(1, int(1000 * end.left())))
            self._solver.push()
            self._solver.add(self._encoded(goal))
            for known in beyond:
                others = [x for t, x in enumerate(self._x) if t not in known]
                self._solver.add(z3.Sum(others) >= 1 if others else z3.BoolVal(False, self._solver.ctx))
            answer = self._solver.check()
            found = self._solution() if answer == z3.sat else None
            self._solver.pop()
            if answer == z3.unsat:
                return "none"
            if found is None:
                return "unknown"
            if not self._refine(found):
                return found
        return "unknown"

    def _bury(self, found: Solution, end: Budget) -> bool:
        """Find a dead transition that a solution uses; whether there was one."""
        for t in sorted(found.counts.keys() - self._alive):
            change = dict(self.net.effect[t])
            if all(change.get(p, 0) <= -w for p, w in self.net.pre[t]):
                continue
            if self._solve(fireable(self.net, t), end) == "none":
                self.dead.append(t)
                self._solver.add(self._x[t] == 0)
                return True
            self._alive.add(t)
        return False

    def evidence(self) -> StateEquation:
        """What the proofs so far rest on."""
        return StateEquation(tuple(self.traps), tuple(self.empty), tuple(self.dead), self.numbers)

    def _solution(self) -> Solution:
        model = self._solver.model()
        counts: dict[int, Fraction] = {}
        marking = [Fraction(n) for n in self.start]
        for t, x in enumerate(self._x):
            value = model[x]
            if value is None:
                continue
            count = Fraction(value.as_fraction() if self.numbers == "real" else value.as_long())
            if count:
                counts[t] = count
                for p, d in self.net.effect[t]:
                    marking[p] += d * count
        return Solution(counts, tuple(marking))

    def _refine(self, found: Solution) -> bool:
        """Rule a spurious solution out; whether it was one."""
        trap = marked_trap(self.net, self.start, {p for p, n in enumerate(found.marking) if n == 0})
        if trap:
            self.traps.append(trap)
            self._solver.add(self._linear(dict.fromkeys(trap, 1)) >= 1)
        empty = unfed(self.net, self.start, found.counts.keys())
        if empty:
            self.empty.append(empty)
            takers, feeders = takers_and_feeders(self.net, empty)
            none = [self._x[t] == 0 for t in takers]
            fed = [z3.Sum([self._x[t] for t in feeders]) >= 1] if feeders else []
            alone = z3.And(none) if len(none) != 1 else none[0]
            self._solver.add(z3.Or([alone, *fed]) if fed else alone)
        return bool(trap or empty)

    def _encoded(self, goal: Formula) -> z3.BoolRef:
        match goal:
            case Le(terms, bound):
                return self._linear(dict(terms)) <= bound
            case And(parts) if parts:
                return z3.And([self._encoded(part) for part in parts])
            case _ if goal.parts:
                return z3.Or([self._encoded(part) for part in goal.parts])
        return z3.BoolVal(isinstance(goal, And), self._solver.ctx)

    def _linear(self, terms: dict[int, int]) -> z3.ArithRef:
        """A sum over places as a sum over firing counts."""
        constant = sum(c * self.start[p] for p, c in terms.items())
        by_count: dict[int, int] = {}
        for p, c in terms.items():
            for t, w in self.net.producers[p]:
                by_count[t] = by_count.get(t, 0) + c * w
            for t, w in self.net.consumers[p]:
                by_count[t] = by_count.get(t, 0) - c * w
        parts = [self._x[t] if d == 1 else d * self._x[t] for t, d in by_count.items() if d]
        number = z3.RealVal if self.numbers == "real" else z3.IntVal
        return z3.Sum([number(constant, self._solver.ctx), *parts])


def marked_trap(net: PTNet, start: Sequence[int], places: AbstractSet[int]) -> frozenset[int] | None:
    """A trap among ``places`` that is marked at first, made small; ``None`` where there is none."""
    trap = _greatest_trap(net, set(places))
    if not any(start[p] for p in trap):
        return None
    for p in sorted(trap)[:80]:
        if p in trap and len(trap) > 1:
            smaller = _greatest_trap(net, trap - {p})
            if any(start[q] for q in smaller):
                trap = smaller
    return frozenset(trap)


def unfed(net: PTNet, start: Sequence[int], fired: AbstractSet[int]) -> frozenset[int] | None:
    """Places, empty at first, that something in ``fired`` takes from, though nothing in it ever feeds them.

    ``None`` where the transitions in ``fired`` can start one another.
    """
    marked = {p for p, n in enumerate(start) if n}
    waiting = set(fired)
    while True:
        able = {t for t in waiting if all(p in marked for p, _ in net.pre[t])}
        if not able:
            break
        waiting -= able
        for t in able:
            marked.update(p for p, _ in net.post[t])
    if not waiting:
        return None
    places = {p for p in range(len(net.places)) if p not in marked}
    # Few places make a strong fact: keep one starved transition, and what starves it.
    for p in sorted(places)[:120]:
        if p in places:
            smaller = _starved(net, places - {p}, fired)
            if any(q in smaller for t in waiting for q, _ in net.pre[t]):
                places = smaller
    return frozenset(places)


def takers_and_feeders(net: PTNet, places: AbstractSet[int]) -> tuple[list[int], list[int]]:
    """The transitions that take from ``places``, and those that put into it and take nothing from it."""
    takers = {t for p in places for t, _ in net.consumers[p]}
    feeders = {t for p in places for t, _ in net.producers[p]} - takers
    return sorted(takers), sorted(feeders)


def _greatest_trap(net: PTNet, places: set[int]) -> set[int]:
    """The greatest trap among ``places``: whatever takes from it puts into it."""
    trap = set(places)
    work = list(trap)
    while work:
        p = work.pop()
        if p in trap and any(all(q not in trap for q, _ in net.post[t]) for t, _ in net.consumers[p]):
            trap.discard(p)
            work.extend(q for t, _ in net.producers[p] for q, _ in net.pre[t] if q in trap)
    return trap


def _starved(net: PTNet, places: set[int], fired: AbstractSet[int]) -> set[int]:
    """The greatest part of ``places`` that ``fired`` feeds only by taking from it: a siphon for them."""
    kept = set(places)
    work = list(kept)
    while work:
        p = work.pop()
        if p in kept and any(
            t in fired and all(q not in kept for q, _ in net.pre[t]) for t, _ in net.producers[p]
        ):
            kept.discard(p)
            work.extend(q for t, _ in net.consumers[p] for q, _ in net.post[t] if q in kept)
    return kept

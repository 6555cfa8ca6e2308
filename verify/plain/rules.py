"""Equivalences of CTL that make formulas smaller, and conditions on the marking that bound a formula.

Bønneland, Dyhr, Jensen, Johannsen & Srba, "Simplification of CTL formulae for efficient model checking of
Petri nets", PETRI NETS 2018: nested operators that say no more than one of them, and operators that
distribute. ``EX`` of a condition on the marking is such a condition as well: some transition is enabled, and
what it adds is taken into account (the weakest precondition of Dijkstra, 1975). In a net whose runs all end,
what holds from some point on is what holds in a deadlock; in one whose runs can all return, whatever can be
reached, or always holds, is so everywhere.

``Rules.at_least`` and ``Rules.at_most`` are conditions that imply a formula, and that it implies: where no
reachable marking satisfies the second one, or all satisfy the first, the formula is a constant.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from provenet.verify.plain import logic
from provenet.verify.plain import temporal as tl
from provenet.verify.plain.hints import in_a_deadlock
from provenet.verify.plain.logic import FALSE, TRUE, Formula, conj, disj, mapped, negation, places_of
from provenet.verify.plain.net import PTNet
from provenet.verify.plain.runs import Runs

LARGEST = 4_000
"""Atoms of a condition, where nothing else is asked for."""


@dataclass
class Rules:
    """What makes CTL formulas on one net smaller.

    Attributes:
        net: The net.
        runs: What is known of all of them.
        deadlocks: ``none`` where no reachable marking is known to be one. Bounds are good, only not as near,
            even where that is not so.
        largest: Atoms of a condition that may stand for ``EX`` in a bound.
    """

    net: PTNet
    runs: Runs = "may go on"
    deadlocks: Literal["none", "possible"] = "possible"
    largest: int = LARGEST
    _before: dict[Formula, Formula | None] = field(default_factory=dict)
    _least: dict[tl.Temporal, Formula] = field(default_factory=dict)
    _most: dict[tl.Temporal, Formula] = field(default_factory=dict)

    def smaller(self, formula: tl.Temporal) -> tl.Temporal:
        """A formula with the same value in every reachable marking; one that is not of CTL is left as it is.

        Args:
            formula: A simplified formula.
        """
        if not tl.is_ctl(formula):
            return formula
        while True:
            changed = tl.simplified(self._rewritten(formula))
            if changed == formula:
                return formula
            formula = changed

    def at_least(self, formula: tl.Temporal) -> Formula:
        """A condition that implies a simplified CTL formula in every marking."""
        if formula not in self._least:
            self._least[formula] = self._bound(formula, least=True)
        return self._least[formula]

    def at_most(self, formula: tl.Temporal) -> Formula:
        """A condition that a simplified CTL formula implies in every marking."""
        if formula not in self._most:
            self._most[formula] = self._bound(formula, least=False)
        return self._most[formula]

    def before(self, goal: Formula) -> Formula | None:
        """Where some firing leads to the goal; ``None`` where saying so takes too many words."""
        if goal not in self._before:
            self._before[goal] = self._some_next(goal)
        return self._before[goal]

    @cached_property
    def dead(self) -> Formula:
        """No transition is enabled."""
        return FALSE if self.deadlocks == "none" or self.runs == "return" else logic.deadlock(self.net)

    def at_the_end(self, formula: tl.Temporal) -> Formula:
        """The deadlocks that satisfy a simplified CTL formula."""
        return conj((self.dead, in_a_deadlock(formula)))

    def _rewritten(self, formula: tl.Temporal) -> tl.Temporal:
        match formula:
            case tl.Both(parts):
                return tl.both([self._rewritten(part) for part in parts])
            case tl.Either(parts):
                return tl.either([self._rewritten(part) for part in parts])
            case tl.E(path):
                return self._some(self._inside(path))
            case tl.A(path):
                # A rule for E, used on the opposite, is one for A.
                opposite = tl.simplified(self._inside(path), negated=True)
                return tl.simplified(self._some(opposite), negated=True)
        return formula

    def _inside(self, path: tl.Temporal) -> tl.Temporal:
        match path:
            case tl.X(of) | tl.F(of) | tl.G(of):
                return type(path)(self._rewritten(of))
            case tl.U(a, b) | tl.R(a, b):
                return type(path)(self._rewritten(a), self._rewritten(b))
        return self._rewritten(path)

    def _some(self, path: tl.Temporal) -> tl.Temporal:
        """``E path``, said with less."""
        if self.runs == "return" and (found := self._some_of_constants(path)) is not None:
            return found
        match path:
            case tl.X(tl.Either(parts)) | tl.F(tl.Either(parts)):
                return tl.either([self._some(type(path)(part)) for part in parts])
            case tl.U(a, tl.Either(parts)):
                return tl.either([self._some(tl.U(a, part)) for part in parts])
            case tl.F(tl.A(tl.F(of)) | tl.E(tl.F(of)) | tl.A(tl.U(_, of)) | tl.E(tl.U(_, of))):
                # A marking of the goal itself is one from which it is reached.
                return self._some(tl.F(of))
            case tl.G(tl.A(tl.G()) | tl.E(tl.G()) as lasting) | tl.R(
                _, tl.A(tl.G()) | tl.E(tl.G()) as lasting
            ):
                return lasting
            case tl.U(_, tl.E(tl.F()) as possible):
                return possible
            case tl.G(tl.Both(parts)) | tl.R(_, tl.Both(parts)) if kept := _lasting(parts):
                # What holds for ever on every path does so all along this one.
                others = tl.both([part for part in parts if part not in kept])
                rest = tl.G(others) if isinstance(path, tl.G) else tl.R(path.release, others)
                return tl.both([*kept, self._some(rest)])
            case tl.G(tl.E(tl.R(_, hold))):
                return tl.E(tl.G(hold))
            case tl.F(tl.A(tl.G(of)) | tl.E(tl.G(of))) | tl.G(tl.E(tl.F(of))) if self.runs == "end":
                return tl.E(tl.F(tl.Now(self.at_the_end(of))))
        return tl.E(path)

    def _some_of_constants(self, path: tl.Temporal) -> tl.Temporal | None:
        """``E path`` with the parts outside that have one value everywhere; ``None`` where there are none."""
        match path:
            case tl.X(body) | tl.F(body) | tl.G(body) | tl.U(_, body) | tl.R(_, body):
                pass
            case _:
                return None
        if is_global(body):
            return body
        if not isinstance(body, tl.Both | tl.Either) or not any(map(is_global, body.parts)):
            return None
        join = tl.both if isinstance(body, tl.Both) else tl.either
        rest = join([part for part in body.parts if not is_global(part)])
        match path:
            case tl.U(a, _) | tl.R(a, _):
                return join([*filter(is_global, body.parts), self._some(tl.simplified(type(path)(a, rest)))])
        return join([*filter(is_global, body.parts), self._some(tl.simplified(type(path)(rest)))])

    def _some_next(self, goal: Formula) -> Formula | None:
        net = self.net
        touching: dict[int, dict[int, int]] = defaultdict(dict)
        for p in places_of(goal):
            for t, _ in (*net.consumers[p], *net.producers[p]):
                touching[t] = dict(net.effect[t])
        if len(touching) * _size(goal) + sum(map(len, net.pre)) > self.largest:
            return None
        idle = conj((goal, disj(logic.fireable(net, t) for t in range(len(net.pre)) if t not in touching)))
        return disj(
            (idle, *(conj((logic.fireable(net, t), _after(goal, touching[t]))) for t in sorted(touching)))
        )

    def _bound(self, formula: tl.Temporal, *, least: bool) -> Formula:
        bound = self.at_least if least else self.at_most
        match formula:
            case tl.Now(of):
                return of
            case tl.Both(parts):
                return conj(map(bound, parts))
            case tl.Either(parts):
                return disj(map(bound, parts))
            case tl.E(tl.X(of)):
                found = self.before(bound(of))
                return found if found is not None else FALSE if least else negation(self.dead)
            case tl.A(tl.X(of)):
                found = self.before(negation(bound(of)))
                return negation(found) if found is not None else self.dead if least else TRUE
            case tl.E(tl.F(of)) | tl.A(tl.F(of)):
                return bound(of) if least else TRUE
            case tl.E(tl.U(a, b)) | tl.A(tl.U(a, b)):
                return bound(b) if least else disj((bound(a), bound(b)))
            case tl.E(tl.G(of)) | tl.A(tl.G(of)):
                return self.at_the_end(of) if least else bound(of)
            case tl.E(tl.R(a, b)) | tl.A(tl.R(a, b)):
                if not least:
                    return bound(b)
                return disj((conj((bound(a), bound(b))), self.at_the_end(b)))
        raise ValueError("no CTL formula")


def with_values(formula: tl.Temporal, values: Mapping[tl.Temporal, bool]) -> tl.Temporal:
    """A formula with constants in place of state formulas within that are the same in every marking."""
    if formula in values:
        return tl.TRULY if values[formula] else tl.FALSELY
    match formula:
        case tl.Now():
            return formula
        case tl.Both(parts):
            return tl.both([with_values(part, values) for part in parts])
        case tl.Either(parts):
            return tl.either([with_values(part, values) for part in parts])
        case tl.U(a, b) | tl.R(a, b):
            return type(formula)(with_values(a, values), with_values(b, values))
    return type(formula)(with_values(formula.of, values))


def state_formulas(formula: tl.Temporal) -> Iterator[tl.Temporal]:
    """The formulas within that speak of a marking, innermost first, the formula itself among them."""
    return (f for f in reversed([*tl.subformulas(formula)]) if tl.is_state(f))


def is_global(formula: tl.Temporal) -> bool:
    """Whether a formula has one value everywhere in a net whose runs can all return."""
    match formula:
        case tl.E(tl.F()) | tl.A(tl.G()):
            return True
    return False


def _lasting(parts: Sequence[tl.Temporal]) -> list[tl.Temporal]:
    return [part for part in parts if isinstance(part, tl.A) and isinstance(part.of, tl.G)]


def _after(goal: Formula, effect: Mapping[int, int]) -> Formula:
    """What the marking before a firing satisfies where the one after it satisfies the goal."""
    return mapped(goal, lambda a: logic.at_most(dict(a.terms), a.bound - _change(a.terms, effect)))


def _change(terms: logic.Terms, effect: Mapping[int, int]) -> int:
    return sum(c * effect.get(p, 0) for p, c in terms)


def _size(formula: Formula) -> int:
    return 1 if isinstance(formula, logic.Le) else sum(map(_size, formula.parts))

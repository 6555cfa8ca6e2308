"""Weighted sums that never fall below some number.

For weights of either sign on the dimensions of markings (``measures``), y(m) is the weighted sum of a
marking. If no firing lowers it, every reachable marking has what the start has, at least. Given a marking
that nobody has reached, such weights show that nobody will: they are asked of a linear program (Farkas'
lemma on the state equation; Murata, Proc. IEEE 1989; by demand, as in Esparza & Melzer, "Verification of
safety properties using integer programming", 2000). With fields among the dimensions, they say such things
as that there are as many undo tokens as a scope has counted.

Transitions that empty places take what lies there, however much: how much it may be is told by the
inequalities found before, first of all those that bound places from above.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from math import lcm
from typing import Literal

import z3

from provenet.nets.net import Net, Transition
from provenet.nets.quick import dataclass
from provenet.verify.intervals import number_at
from provenet.verify.linear import bounding, tokens_at_start
from provenet.verify.measures import NOTHING, ZERO, Dimension, Form, Measures


@dataclass(frozen=True, slots=True)
class Inequality:
    """A weighted sum over markings that is never below ``least``.

    Attributes:
        weights: Dimension to weight, zero ones left out.
        least: What it is never below.
    """

    weights: Mapping[Dimension, int]
    least: int

    def of(self, amounts: Mapping[Dimension, int]) -> int:
        """The weighted sum of a marking."""
        return sum(w * amounts.get(d, 0) for d, w in self.weights.items())


class Inequalities:
    """Those inequalities of a net that were asked for, each inductive given those before it.

    Args:
        net: The net.
        measures: Its firings as forms.
        fields: The fields to weigh besides the numbers of tokens: none below zero, none of a case's input.
    """

    def __init__(self, net: Net, measures: Measures, fields: Iterable[Dimension]) -> None:
        self.net, self.measures = net, measures
        self.start: dict[Dimension, int] = {(p, None): n for p, n in tokens_at_start(net).items() if n}
        self.dimensions: list[Dimension] = [(p.name, None) for p in net.places]
        for place, path in fields:
            self.dimensions.append((place, path))
            tokens = next((found for name, found in net.initial if name == place), ())
            total = sum(number_at(net, place, token, path or ()) for token in tokens)
            if total:
                self.start[place, path] = total
        self.known: list[Inequality] = []
        self._scopes: set[Dimension] = {
            (place, None) for s in net.sagas for place in (s.open, s.aborting, s.completing)
        }
        self._scopes |= {d for d in self.dimensions if (d[0], None) in self._scopes}
        seen: set[str] = set()
        # A scope is in one state at a time, which the bound of a single state does not tell.
        scopes = [(s.open, s.aborting, s.completing) for s in net.sagas]
        for places in (*scopes, *((p.name,) for p in net.places)):
            found = None if seen.issuperset(places) else bounding(net, places)
            if found is not None:
                weights: dict[Dimension, int] = {(p, None): -w for p, w in found.weights.items()}
                self.known.append(Inequality(weights, -found.start(net)))
                # What the same weights bound to as few tokens needs no weights of its own.
                seen |= {p for p, w in found.weights.items() if w == found.weights[places[0]]}
        self._program: _Program | None = None

    def excluding(self, amounts: Mapping[Dimension, int], *, timeout_ms: int) -> Inequality | None:
        """An inequality, now among those known, that a marking breaks; ``None`` where there is none.

        Args:
            amounts: The marking, as what its dimensions come to.
            timeout_ms: For the solver.
        """
        # Those that speak of scopes do for most; a program that may lean on all takes far longer.
        self._program = self._program or _Program(
            self, [k for k in self.known if self._scopes & k.weights.keys()]
        )
        found = self._program.excluding(amounts, timeout_ms=timeout_ms)
        if found is None and self._program.emptying and len(self._program.known) < len(self.known):
            self._program = _Program(self, self.known)
            found = self._program.excluding(amounts, timeout_ms=timeout_ms)
        if found is not None:
            self.known.append(found)
        return found


_SIZES = (3, 6, 15, None)
"""How large the weights of an inequality may be, together: tried in this order."""


class _Program:
    """The weights that no firing lowers, given some inequalities, as a linear program.

    A transition that empties places changes the sum by an amount that is not known. Let r be what is left
    of a marking once the firing has taken its tokens. It is enough that one of two holds for every such r
    that keeps to the inequalities given: the firing does not lower the sum, or it leaves a sum no lower
    than asked for. Both are linear in r, so by duality (Farkas) each is a choice of factors for the
    inequalities given, and linear in the weights, too.
    """

    def __init__(self, whole: Inequalities, known: Iterable[Inequality]) -> None:
        net, self.measures = whole.net, whole.measures
        self.start, self.known = whole.start, tuple(known)
        self.emptying = any(t.resets for t in net.transitions)
        # A weight is a gain less a loss, so that their sum tells how plain an inequality is.
        gain = {d: z3.Real(f"gain{i}") for i, d in enumerate(whole.dimensions)}
        loss = {d: z3.Real(f"loss{i}") for i, d in enumerate(whole.dimensions)}
        self.weight = {d: gain[d] - loss[d] for d in whole.dimensions}
        self.size = z3.Sum([*gain.values(), *loss.values()])
        self.least = z3.Real("least")
        self.solver = z3.Solver() if self.emptying else z3.SolverFor("QF_LRA")
        self.solver.set("random_seed", 1)
        self.solver.add(self.least <= self._sum(self.start))
        self.solver.add(*(y >= 0 for y in (*gain.values(), *loss.values())))
        for t in net.transitions:
            if t.resets:
                self.solver.add(z3.Or(self._keeps(t, "raises"), self._keeps(t, "meets")))
            else:
                given: list[z3.BoolRef] = []
                change = self.measures.putting(t, self.weight).plus(self.measures.taking(t, self.weight), -1)
                self.solver.add(self.measures.at_least(t, change, given) >= 0, *given)

    def excluding(self, amounts: Mapping[Dimension, int], *, timeout_ms: int) -> Inequality | None:
        solver = self.solver
        solver.push()
        try:
            solver.set("timeout", timeout_ms)
            solver.add(self._sum(amounts) <= self.least - 1)
            # The plainer, the more markings it excludes besides this one.
            if all(solver.check(*([self.size <= most] if most else ())) != z3.sat for most in _SIZES):
                return None
            model = solver.model()
            values = {d: fraction(model.eval(y, model_completion=True)) for d, y in self.weight.items()}
            least = fraction(model.eval(self.least, model_completion=True))
        finally:
            solver.pop()
        scale = lcm(least.denominator, *(v.denominator for v in values.values()))
        return Inequality({d: int(v * scale) for d, v in values.items() if v}, int(least * scale))

    def _sum(self, amounts: Mapping[Dimension, int]) -> z3.ArithRef:
        return z3.Sum([n * self.weight[d] for d, n in amounts.items() if n and d in self.weight] or [ZERO])

    def _keeps(self, t: Transition, how: Literal["raises", "meets"]) -> z3.BoolRef:
        """That a firing leaves no less than it found, or no less than the sum has to be."""
        resets = set(t.resets)
        given: list[z3.BoolRef] = []
        share: dict[Dimension, list[z3.ArithRef]] = {}
        form = self.measures.putting(t, self.weight)
        if how == "raises":
            form = form.plus(self.measures.taking(t, self.weight), -1)
        else:
            form = form.plus(Form(self.least, {}), -1)
        for number, k in enumerate(self.known):
            if resets.isdisjoint(place for place, _ in k.weights):
                continue
            factor = z3.Real(f"{how} {t.name} {number}")
            given.append(factor >= 0)
            for dimension, w in k.weights.items():
                share.setdefault(dimension, []).append(w * factor)
            left = Form(k.least, {}).plus(self.measures.taking(t, k.weights), -1)
            form = form.plus(NOTHING.plus(left, factor))
        bare = self._bare(t)
        for dimension, weight in self.weight.items():
            if dimension[0] in bare:
                continue
            emptied = dimension[0] in resets
            here = z3.Sum(share.get(dimension, [ZERO]))
            own = (-weight if emptied else ZERO) if how == "raises" else (ZERO if emptied else weight)
            given.append(own >= here)
        return z3.And(self.measures.at_least(t, form, given) >= 0, *given)

    def _bare(self, t: Transition) -> set[str]:
        """Places that hold nothing once a firing has taken its tokens: a bound leaves no room for more."""
        takes: dict[Dimension, int] = {}
        for arc in t.takes:
            takes[arc.place, None] = takes.get((arc.place, None), 0) + arc.weight
        full = (k for k in self.known if k.of(takes) == k.least and all(w < 0 for w in k.weights.values()))
        return {place for k in full for place, path in k.weights if path is None}


def scaled(values: Mapping[Dimension, Fraction]) -> dict[Dimension, int]:
    """The same weights as whole numbers, zero ones left out."""
    scale = lcm(*(v.denominator for v in values.values()))
    return {d: int(v * scale) for d, v in values.items() if v}


def fraction(value: z3.ExprRef) -> Fraction:
    """A number of the solver's."""
    assert isinstance(value, z3.RatNumRef)
    return Fraction(value.numerator_as_long(), value.denominator_as_long())

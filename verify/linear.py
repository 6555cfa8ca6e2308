"""Linear invariants: counting arguments that hold whatever the data.

For a weight y(p) >= 0 on each place, let y(m) be the weighted number of tokens of a marking. If every
transition t changes it by at most ``plus(t) - minus(t)`` and it starts at zero, then in every run the
``minus`` transitions have fired no more often than the ``plus`` transitions (Farkas' lemma on the state
equation; Murata, "Petri nets: properties, analysis and applications", Proc. IEEE 1989). With ``plus = minus =
0``, a weight of at least 1 on a place bounds it. Resets only remove tokens, so they keep every such
invariant. Read arcs change nothing.

Weights are found by Z3 over the rationals, scaled to integers, and checked by plain integer arithmetic.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fractions import Fraction
from math import lcm
from typing import Literal

import z3

from provenet.nets.net import Net
from provenet.nets.quick import dataclass


@dataclass(frozen=True, slots=True)
class LinearInvariant:
    """Weights of places, zero ones left out, and how the transitions may change the weighted sum.

    Attributes:
        weights: Place name to weight, positive.
        plus: Transition name to how much one firing may add.
        minus: Transition name to how much one firing must remove.
    """

    weights: Mapping[str, int]
    plus: Mapping[str, int]
    minus: Mapping[str, int]

    def start(self, net: Net) -> int:
        """The weighted number of tokens that a case starts with."""
        return sum(self.weights.get(place, 0) * count for place, count in tokens_at_start(net).items())

    def allows(self, net: Net, places: Collection[str]) -> int:
        """How many tokens there may be on some places together, each of which has a weight."""
        return self.start(net) // min(self.weights[p] for p in places)

    def holds(self, net: Net) -> bool:
        """Whether every transition respects the invariant; plain integer arithmetic."""
        if any(w <= 0 for w in self.weights.values()):
            return False
        weights, plus, minus = self.weights, self.plus, self.minus
        # All others leave the sum as it is, or lower it.
        of_interest = {t.name: t for place in weights for t in net.putting(place)}
        of_interest |= {n: net.transition(n) for n in (*plus, *minus) if net.has_transition(n)}
        for t in of_interest.values():
            rise = 0
            for put in t.puts:
                rise += weights.get(put.place, 0) * put.weight
            for take in t.takes:
                rise -= weights.get(take.place, 0) * take.weight
            if rise > plus.get(t.name, 0) - minus.get(t.name, 0):
                return False
        return True


_MOST_RAISES = 20


def tokens_at_start(net: Net) -> dict[str, int]:
    """Place to how many tokens a case starts with there."""
    tokens = {place: len(values) for place, values in net.initial}
    for entry in net.entries:
        tokens[entry.place] = tokens.get(entry.place, 0) + 1
    return tokens


def at_most(net: Net, minus: Collection[str], plus: Collection[str]) -> LinearInvariant | None:
    """An invariant that shows: the ``minus`` transitions never fire more often than the ``plus`` ones.

    Args:
        net: The net.
        minus: Transitions whose firings are to be bounded.
        plus: Transitions that each allow one of those firings.

    Returns:
        The invariant, with a start of zero; ``None`` where there is none.
    """
    guess = _along_the_way(net, minus, plus)
    if guess.holds(net) and guess.start(net) == 0:
        return guess
    return _solve(net, dict.fromkeys(plus, 1), dict.fromkeys(minus, 1), start_at_zero=True)


def seldom(net: Net, names: Collection[str], *, k: int = 1) -> LinearInvariant | None:
    """An invariant that shows: the transitions together fire at most ``k`` times in a run.

    Each of their firings lowers a sum that starts at ``k`` or less and never rises.

    Args:
        net: The net.
        names: The transitions.
        k: How often they may fire.

    Returns:
        The invariant; ``None`` where there is none.
    """
    guess = _along_the_way(net, names, ())
    if guess.holds(net) and guess.start(net) <= k:
        return guess
    return _solve(net, {}, dict.fromkeys(names, 1), most_at_start=k)


def bounding(net: Net, places: Collection[str], *, most: int | None = None) -> LinearInvariant | None:
    """An invariant that bounds the number of tokens on the given places together, by its start.

    Args:
        net: The net.
        places: The places.
        most: How many tokens the invariant is to allow there at most, where that is asked for.

    Returns:
        The invariant, with a small start; ``None`` where there is none.
    """
    arcs: tuple[Literal[0, -1], ...] = (0, -1)
    for arc in arcs:
        guess = _raised(net, places, arc=arc)
        if guess is not None and (most is None or guess.allows(net, places) <= most):
            return guess
    return _solve(net, {}, {}, at_least_one=places)


def effects(net: Net) -> dict[str, dict[str, int]]:
    """Transition name to the change it makes to each place, resets aside."""
    out: dict[str, dict[str, int]] = {}
    for t in net.transitions:
        change: dict[str, int] = {}
        for take in t.takes:
            change[take.place] = change.get(take.place, 0) - take.weight
        for put in t.puts:
            change[put.place] = change.get(put.place, 0) + put.weight
        out[t.name] = {p: c for p, c in change.items() if c}
    return out


def _along_the_way(net: Net, minus: Collection[str], plus: Collection[str]) -> LinearInvariant:
    """A guess: weight 1 on the places between the ``minus`` and the ``plus`` transitions, by first arcs."""
    weights: dict[str, int] = {}
    stack = [t.takes[0].place for name in minus if (t := net.transition(name)).takes]
    while stack:
        place = stack.pop()
        if place not in weights:
            weights[place] = 1
            stack += [t.takes[0].place for t in net.putting(place) if t.name not in plus and t.takes]
    return LinearInvariant(weights, dict.fromkeys(plus, 1), dict.fromkeys(minus, 1))


def _raised(net: Net, places: Collection[str], *, arc: Literal[0, -1]) -> LinearInvariant | None:
    """A guess: weight 1 on the places, and more on what is taken wherever a firing would add to the sum.

    The lacking weight goes on the place of the first, or of the last, arc. In a net where tokens go their
    ways from a start to an end that settles soon; elsewhere it may not, or badly, and the solver is asked.
    """
    weights = dict.fromkeys(places, 1)
    forms = {
        t.name: (
            [(a.place, a.weight) for a in t.takes],
            [(p.place, p.weight) for p in t.puts],
        )
        for t in net.transitions
    }
    putters: dict[str, list[str]] = {}
    for name, (_, puts) in forms.items():
        for place, _ in puts:
            putters.setdefault(place, []).append(name)
    work = list(forms)
    for _ in range(_MOST_RAISES * len(forms)):
        if not work:
            found = LinearInvariant(weights, {}, {})
            return found if found.holds(net) else None
        takes, puts = forms[work.pop()]
        lacking = sum(weights.get(p, 0) * n for p, n in puts) - sum(weights.get(p, 0) * n for p, n in takes)
        if lacking > 0:
            if not takes:
                return None
            place, count = takes[arc]
            weights[place] = weights.get(place, 0) - (-lacking // count)
            work += putters.get(place, ())
    return None


def _solve(
    net: Net,
    plus: Mapping[str, int],
    minus: Mapping[str, int],
    *,
    start_at_zero: bool = False,
    most_at_start: int | None = None,
    at_least_one: Collection[str] = (),
) -> LinearInvariant | None:
    weight = {p.name: z3.Real(f"y{i}") for i, p in enumerate(net.places)}
    solver = z3.SolverFor("QF_LRA")
    solver.set("random_seed", 1)
    zero = z3.RealVal(0)
    for place, y in weight.items():
        solver.add(y >= (1 if place in at_least_one else zero))
    for name, effect in effects(net).items():
        allowed = plus.get(name, 0) - minus.get(name, 0)
        if not effect:
            if allowed < 0:
                return None
            continue
        solver.add(z3.Sum([c * weight[p] for p, c in effect.items()]) <= allowed)
    if start_at_zero:
        marked = {place for place, values in net.initial if values} | {e.place for e in net.entries}
        for place in marked:
            solver.add(weight[place] == 0)
    if most_at_start is not None:
        solver.add(
            z3.Sum([n * weight[p] for p, n in tokens_at_start(net).items()] or [zero]) <= most_at_start
        )
    if solver.check() != z3.sat:
        return None
    model = solver.model()
    values = {p: _fraction(model.eval(y, model_completion=True)) for p, y in weight.items()}
    scale = lcm(*(v.denominator for v in values.values()))
    found = LinearInvariant(
        {p: int(v * scale) for p, v in values.items() if v},
        {t: n * scale for t, n in plus.items()},
        {t: n * scale for t, n in minus.items()},
    )
    return found if found.holds(net) else None


def _fraction(value: z3.ExprRef) -> Fraction:
    assert isinstance(value, z3.RatNumRef)
    return Fraction(value.numerator_as_long(), value.denominator_as_long())

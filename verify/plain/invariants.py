"""Place invariants: weighted sums of tokens that no firing changes.

Murata, "Petri nets: properties, analysis and applications", 1989: ``y`` with ``y C = 0`` has the same value
``y m`` in every reachable marking. The basis is found by elimination over the integers, exactly, in time
cubic in the net at worst, though its matrices are sparse.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

from provenet.verify.plain.logic import Formula, equal
from provenet.verify.plain.net import PTNet


@dataclass(frozen=True, slots=True)
class PlaceInvariant:
    """``sum(weight * tokens(place)) == value`` in every reachable marking."""

    weights: tuple[tuple[int, int], ...]
    value: int

    def formula(self) -> Formula:
        """The same as a condition on markings."""
        return equal(dict(self.weights), self.value)

    def holds(self, net: PTNet) -> bool:
        """Whether it is one: of the first marking, and kept by every transition."""
        y = dict(self.weights)
        kept = all(not sum(d * y.get(p, 0) for p, d in effect) for effect in net.effect)
        return kept and sum(w * net.initial[p] for p, w in self.weights) == self.value


def place_invariants(net: PTNet) -> tuple[PlaceInvariant, ...]:
    """A basis of the place invariants."""
    # Each row: what transitions change of a weighted sum of places, and the weights.
    rows: list[tuple[dict[int, int], dict[int, int]]] = [({}, {p: 1}) for p in range(len(net.places))]
    for t, effect in enumerate(net.effect):
        for p, d in effect:
            rows[p][0][t] = d
    open_ = [row for row in rows if row[0]]
    basis = [row[1] for row in rows if not row[0]]
    while open_:
        # The sparsest row is the pivot: it fills the others least.
        pivot = min(open_, key=lambda row: len(row[0]))
        open_.remove(pivot)
        column, factor = min(pivot[0].items(), key=lambda item: abs(item[1]))
        left = []
        for at in open_:
            row, other = at, at[0].get(column)
            if other is not None:
                common = gcd(factor, other)
                row = _combined(at, factor // common, pivot, -other // common)
            if row[0]:
                left.append(row)
            else:
                basis.append(row[1])
        open_ = left
    return tuple(_invariant(net, weights) for weights in basis)


def _combined(
    row: tuple[dict[int, int], dict[int, int]], a: int, other: tuple[dict[int, int], dict[int, int]], b: int
) -> tuple[dict[int, int], dict[int, int]]:
    changes = _sum(row[0], a, other[0], b)
    weights = _sum(row[1], a, other[1], b)
    common = gcd(*changes.values(), *weights.values())
    if common > 1:
        changes = {k: v // common for k, v in changes.items()}
        weights = {k: v // common for k, v in weights.items()}
    return changes, weights


def _sum(x: dict[int, int], a: int, y: dict[int, int], b: int) -> dict[int, int]:
    out = {k: a * v for k, v in x.items()}
    for k, v in y.items():
        out[k] = out.get(k, 0) + b * v
    return {k: v for k, v in out.items() if v}


def _invariant(net: PTNet, weights: dict[int, int]) -> PlaceInvariant:
    sign = -1 if sum(w < 0 for w in weights.values()) > len(weights) / 2 else 1
    chosen = tuple(sorted((p, sign * w) for p, w in weights.items()))
    return PlaceInvariant(chosen, sum(w * net.initial[p] for p, w in chosen))

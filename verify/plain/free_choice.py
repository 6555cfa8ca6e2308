"""Free-choice nets: liveness and boundedness in polynomial time.

Desel & Esparza, "Free Choice Petri Nets", 1995. A connected free-choice net is well-formed when it has a
positive place invariant, a positive transition invariant, and the rank of its incidence matrix is the number
of its clusters less one (rank theorem, 6.17). A well-formed one is live, and bounded, in every marking that
marks each of its siphons (Commoner; 6.17 with 5.8). All arithmetic is exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

from provenet.verify.plain.answer import Budget
from provenet.verify.plain.net import PTNet


@dataclass(frozen=True, slots=True)
class RankTheorem:
    """What the theorem asks for, each with what shows it.

    Attributes:
        place_invariant: A positive weight for each place; the weighted sum of tokens never changes.
        transition_invariant: A positive count for each transition; so many firings change nothing.
        rank: Rank of the incidence matrix.
        clusters: How many clusters there are.
    """

    place_invariant: tuple[int, ...]
    transition_invariant: tuple[int, ...]
    rank: int
    clusters: int


def is_free_choice(net: PTNet) -> bool:
    """Whether transitions that share an input place share all, and every weight is one."""
    if any(w != 1 for arcs in (*net.pre, *net.post) for _, w in arcs):
        return False
    return all(len({net.pre[t] for t, _ in takers}) <= 1 for takers in net.consumers)


def live_and_bounded(net: PTNet, *, deadline: float = math.inf) -> RankTheorem | None:
    """Why a free-choice net is live and bounded; ``None`` where it is not.

    Args:
        net: A free-choice net.
        deadline: ``time.monotonic()`` value to stop at.

    Raises:
        TimeoutError: The time is over.
    """
    if not net.places or not net.transitions or not _connected(net):
        return None
    rows = [dict(effect) for effect in net.effect]
    found = rank(rows)
    clusters = _clusters(net)
    if found != clusters - 1 or not _marks_every_siphon(net):
        return None
    columns: list[dict[int, int]] = [{} for _ in net.places]
    for t, row in enumerate(rows):
        for p, d in row.items():
            columns[p][t] = d
    places = _positive_kernel(rows, len(net.places), deadline)
    transitions = _positive_kernel(columns, len(net.transitions), deadline)
    if places is None or transitions is None:
        return None
    return RankTheorem(places, transitions, found, clusters)


def rank(rows: Sequence[dict[int, int]]) -> int:
    """Rank of an integer matrix given by its sparse rows; fraction-free elimination."""
    pivots: dict[int, dict[int, int]] = {}
    for row in rows:
        left = dict(row)
        while left:
            column = min(left)
            pivot = pivots.get(column)
            if pivot is None:
                divisor = gcd(*left.values())
                pivots[column] = {c: v // divisor for c, v in left.items()}
                break
            a, b = pivot[column], left[column]
            common = gcd(a, b)
            a, b = a // common, b // common
            mixed = {c: a * v for c, v in left.items()}
            for c, v in pivot.items():
                value = mixed.get(c, 0) - b * v
                if value:
                    mixed[c] = value
                else:
                    mixed.pop(c, None)
            left = mixed
    return len(pivots)


def _connected(net: PTNet) -> bool:
    nodes = len(net.places) + len(net.transitions)
    near: list[list[int]] = [[] for _ in range(nodes)]
    for t, (taken, put) in enumerate(zip(net.pre, net.post, strict=True)):
        for p, _ in (*taken, *put):
            near[p].append(len(net.places) + t)
            near[len(net.places) + t].append(p)
    seen, work = {0}, [0]
    while work:
        for other in near[work.pop()]:
            if other not in seen:
                seen.add(other)
                work.append(other)
    return len(seen) == nodes


def _clusters(net: PTNet) -> int:
    """A cluster is a place with the transitions that take from it, and the places that those take from."""
    of_place = list(range(len(net.places)))

    def find(p: int) -> int:
        while of_place[p] != p:
            of_place[p] = of_place[of_place[p]]
            p = of_place[p]
        return p

    lone = 0
    for taken in net.pre:
        if not taken:
            lone += 1
        for p, _ in taken[1:]:
            of_place[find(p)] = find(taken[0][0])
    return lone + len({find(p) for p in range(len(net.places))})


def _marks_every_siphon(net: PTNet) -> bool:
    """Whether no siphon is empty: the greatest one among the empty places is."""
    siphon = {p for p, n in enumerate(net.initial) if not n}
    work = list(siphon)
    while work:
        p = work.pop()
        if p in siphon and any(all(q not in siphon for q, _ in net.pre[t]) for t, _ in net.producers[p]):
            siphon.discard(p)
            work.extend(q for t, _ in net.consumers[p] for q, _ in net.post[t] if q in siphon)
    return not siphon


def _positive_kernel(rows: Sequence[dict[int, int]], columns: int, deadline: float) -> tuple[int, ...] | None:
    """A vector of positive integers that every row sends to zero; rational simplex, checked by hand."""
    import z3

    context = z3.Context()
    solver = z3.SolverFor("QF_LRA", ctx=context)
    y = [z3.Real(f"y{i}", context) for i in range(columns)]
    solver.add([v >= 1 for v in y])
    for row in rows:
        if row:
            solver.add(z3.Sum([d * y[c] for c, d in row.items()]) == 0)
    solver.set("timeout", max(1, int(1000 * Budget(deadline).left())))
    found = solver.check()
    if found == z3.unknown:
        raise TimeoutError
    if found == z3.unsat:
        return None
    model = solver.model()
    values = [model.eval(v, model_completion=True).as_fraction() for v in y]
    scale = 1
    for value in values:
        scale = scale * value.denominator // gcd(scale, value.denominator)
    out = tuple(int(value * scale) for value in values)
    exact = all(sum(d * out[c] for c, d in row.items()) == 0 for row in rows) and min(out) > 0
    return out if exact else None

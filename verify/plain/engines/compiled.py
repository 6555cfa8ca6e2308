"""Nets and goals as arrays of integers, for the kernels that numba compiles.

Rows of different length lie end to end in one array, with another that says where each begins ("compressed
sparse rows"): row ``i`` of ``x`` is ``x[x_at[i]:x_at[i + 1]]``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, TypeAlias

from provenet.verify.plain.logic import And, Formula, Le, Or, atoms_of
from provenet.verify.plain.net import Arcs, PTNet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Small: TypeAlias = NDArray[np.int32]
    Whole: TypeAlias = NDArray[np.int64]

FAINTEST = 1e-3
"""A token worth less than that is not followed further."""

LARGEST = (1 << 31) - 1
"""No weight, count or sum of coefficients beyond it is compiled: sums then stay within 64 bits."""


@dataclass(frozen=True, slots=True)
class NetArrays:
    """A net: for each transition what it needs and changes, for each place who needs it."""

    places: int
    transitions: int
    pre_at: Small
    pre_place: Small
    pre_weight: Whole
    effect_at: Small
    effect_place: Small
    effect_delta: Whole
    consumer_at: Small
    consumer: Small
    consumer_weight: Whole
    initial: Whole


def net_arrays(net: PTNet) -> NetArrays | None:
    """The net as arrays; ``None`` where its numbers are too large for them."""
    import numpy as np

    if not small_enough(net):
        return None
    return NetArrays(
        len(net.places),
        len(net.transitions),
        *rows(net.pre),
        *rows(net.effect),
        *rows(net.consumers),
        np.array(net.initial, np.int64),
    )


def small_enough(net: PTNet) -> bool:
    """Whether the net's numbers fit into the kernels' integers."""
    weights = (w for arcs in (*net.pre, *net.post) for _, w in arcs)
    return max((*weights, *net.initial), default=0) <= LARGEST


def rows(table: Sequence[Arcs]) -> tuple[Small, Small, Whole]:
    """Rows of pairs: where each begins, the first halves, the second halves."""
    import numpy as np

    return (
        starts(map(len, table)),
        np.array([i for row in table for i, _ in row], np.int32),
        np.array([w for row in table for _, w in row], np.int64),
    )


def singles(table: Sequence[Sequence[int]]) -> tuple[Small, Small]:
    """Rows of numbers: where each begins, the numbers."""
    import numpy as np

    return starts(map(len, table)), np.array([i for row in table for i in row], np.int32)


def starts(lengths: Iterable[int]) -> Small:
    """Where each row begins, and where the last one ends."""
    import numpy as np

    at = [0]
    for n in lengths:
        at.append(at[-1] + n)
    return np.array(at, np.int32)


def compilable(goal: Formula) -> bool:
    """Whether a goal's sums stay within 64 bits."""
    return all(
        sum(abs(c) for _, c in atom.terms) <= LARGEST and abs(atom.bound) <= LARGEST * LARGEST
        for atom in atoms_of(goal)
    )


@dataclass(frozen=True, slots=True)
class Tests:
    """Goals as tests with jumps: an atom, where to go if it holds, where if not.

    A negative number ends the evaluation: ``HOLDS`` or ``FAILS``.
    """

    start: Small
    atom: Small
    yes: Small
    no: Small
    term_at: Small
    term_place: Small
    term_factor: Whole
    bound: Whole

    def arrays(self) -> tuple[Any, ...]:
        """All of it, in the order in which kernels take it."""
        return (
            self.start, self.atom, self.yes, self.no,
            self.term_at, self.term_place, self.term_factor, self.bound,
        )  # fmt: skip


HOLDS = -1
FAILS = -2


def tests(goals: Sequence[Formula]) -> Tests:
    """Goals as tests with jumps, cheap ones first where the order is free."""
    import numpy as np

    number: dict[Le, int] = {}
    atom: list[int] = []
    yes: list[int] = []
    no: list[int] = []

    def emit(formula: Formula, then: int, otherwise: int) -> int:
        """Append the tests of a formula, the last one first; where it begins."""
        if isinstance(formula, Le):
            atom.append(number.setdefault(formula, len(number)))
            yes.append(then)
            no.append(otherwise)
            return len(atom) - 1
        at = then if isinstance(formula, And) else otherwise
        for part in sorted(formula.parts, key=_size, reverse=True):
            at = emit(part, at, otherwise) if isinstance(formula, And) else emit(part, then, at)
        return at

    start = [emit(goal, HOLDS, FAILS) for goal in goals]
    atoms = tuple(number)
    return Tests(
        np.array(start, np.int32),
        np.array(atom, np.int32),
        np.array(yes, np.int32),
        np.array(no, np.int32),
        *rows([a.terms for a in atoms]),
        np.array([a.bound for a in atoms], np.int64),
    )


@dataclass(frozen=True, slots=True)
class Nodes:
    """Goals as nodes of one acyclic graph, parts before wholes, equal parts once; atoms come first.

    A node holds when at least ``need`` of its parts do: all for a conjunction, one for a disjunction.

    Attributes:
        atoms: The atoms, in the order of their numbers.
        need: For each node; zero for an atom, which has no parts.
        part_at: With ``part``: the parts of each node.
        whole_at: With ``whole``: the nodes that each is a part of.
        roots: For each goal, its node.
    """

    atoms: tuple[Le, ...]
    need: Small
    part_at: Small
    part: Small
    whole_at: Small
    whole: Small
    roots: tuple[int, ...]

    def values(self, marking: Sequence[int]) -> tuple[list[int], list[bool], list[int]]:
        """The sum of each atom, whether each node holds, and how many parts of each do."""
        sums = [sum(c * marking[p] for p, c in atom.terms) for atom in self.atoms]
        truth = [value <= atom.bound for value, atom in zip(sums, self.atoms, strict=True)]
        count = [0] * len(self.need)
        for n in range(len(self.atoms), len(self.need)):
            count[n] = sum(truth[part] for part in self.part[self.part_at[n] : self.part_at[n + 1]])
            truth.append(count[n] >= self.need[n])
        return sums, truth, count


def nodes(goals: Sequence[Formula]) -> Nodes:
    """Goals as one acyclic graph."""
    import numpy as np

    atoms = tuple(dict.fromkeys(atom for goal in goals for atom in atoms_of(goal)))
    number: dict[Formula, int] = {atom: i for i, atom in enumerate(atoms)}
    parts: list[list[int]] = [[] for _ in atoms]
    need = [0] * len(atoms)

    def place(formula: Formula) -> int:
        if formula not in number:
            assert not isinstance(formula, Le)
            below = sorted({place(part) for part in formula.parts})
            number[formula] = len(parts)
            parts.append(below)
            need.append(len(below) if isinstance(formula, And) else 1)
        return number[formula]

    roots = tuple(map(place, goals))
    wholes: list[list[int]] = [[] for _ in parts]
    for n, below in enumerate(parts):
        for part in below:
            wholes[part].append(n)
    return Nodes(atoms, np.array(need, np.int32), *singles(parts), *singles(wholes), roots)


def lures(net: PTNet, atom: Le, *, fade: float) -> dict[int, float]:
    """What a token on each place is worth to an atom that fails.

    A place that should hold more is worth its factor, one that should hold less the same below zero; a place
    from which tokens go to a wanted one is worth ``fade`` of that, and so on.
    """
    worth: dict[int, float] = {}
    unwanted = {p: -float(c) for p, c in atom.terms if c > 0}
    queue: list[tuple[float, int]] = [(float(c), p) for p, c in atom.terms if c < 0]
    for p, c in atom.terms:
        if c > 0:
            # What else the transitions need that take its tokens away.
            queue.extend((-c * fade, q) for t, _ in net.consumers[p] for q, _ in net.pre[t])
    heapify(queue)
    while queue:
        negative, p = heappop(queue)
        if p in worth or p in unwanted or negative > -FAINTEST:
            continue
        worth[p] = -negative
        for t, _ in net.producers[p]:
            for q, _ in net.pre[t]:
                if q not in worth:
                    heappush(queue, (negative * fade, q))
    return worth | unwanted


def _size(formula: Formula) -> int:
    match formula:
        case Le(terms, _):
            return len(terms)
        case And(parts) | Or(parts):
            return sum(map(_size, parts))

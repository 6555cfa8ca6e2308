"""LTL on a state graph, whole or in part: is there a path that the automaton of the opposite accepts?

The product of the graph and a Büchi automaton (``buchi``) is searched depth-first for a component that
carries all marks (Couvreur, "On-the-fly verification of linear temporal logic", FM 1999), only as far as it
needs to be.
A run that ends in a deadlock stays in its last marking. On a part of the graph an accepted path counts as
well; that there is none only where no marking was met whose successors are not known.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from provenet.verify.plain import temporal as tl
from provenet.verify.plain.engines.buchi import Automaton, Move, TooLarge, automaton
from provenet.verify.plain.engines.state_graph import StateGraph
from provenet.verify.plain.paths import Path, shows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STEPS_A_SECOND = 10_000_000
"""A careful guess at the speed of the search."""

SHORT = 6
SHORTENING = 30_000
"""States of a path that is not worth shortening, and states looked at to shorten another."""

LONGEST_END = 20_000
"""Firings that are looked at to end a path whose beginning decides the formula."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search for a path came to.

    Attributes:
        exists: Whether there is such a path; ``None`` where that is not known.
        path: The path.
    """

    exists: bool | None
    path: Path | None = None


UNKNOWN = Found(None)


def some_path(graph: StateGraph, path: tl.Temporal, *, seconds: float, memory: int) -> Found:
    """Whether some path from the initial marking satisfies a formula.

    Args:
        graph: The state graph.
        path: A simplified formula without path quantifiers.
        seconds: Roughly how long to look.
        memory: Bytes for the table of the product.
    """
    import numpy as np

    try:
        made = automaton(path)
    except TooLarge:
        return UNKNOWN
    if not made.moves[0]:
        return Found(exists=False)
    states = len(made.moves)
    if 4 * states * graph.count > memory:
        return UNKNOWN
    k = _k()
    moves = _Arrays.of(made)
    letters = np.zeros(graph.count, np.uint64)
    for i, atom in enumerate(made.atoms):
        letters[graph.satisfying(atom)] |= np.uint64(1 << i)
    number = np.zeros(graph.count * states, np.int32)
    limit = max(1_000, int(seconds * STEPS_A_SECOND))
    status, register, call, _ = k.accepted(
        graph.edge_at, graph.target, letters,
        moves.at, moves.need, moves.to, moves.marks, np.uint64(moves.every), made.sink, 0, number, limit,
    )  # fmt: skip
    if status == k.EMPTY:
        return UNKNOWN if register[k.TOUCHED] else Found(exists=False)
    if status == k.LIMIT:
        return UNKNOWN
    root, live = int(register[k.ROOT]), int(register[k.LIVE])
    way = call.tolist()
    if len(way) > SHORT:
        # Whatever is within the component, or in the sink, will do.
        ends = number >= root
        way = _shorter(graph, moves, letters, ends) or way
    first = _firings(graph, [s // states for s in way])
    if made.sink >= 0 and way[-1] % states == made.sink:
        return Found(True, _prolonged(graph, path, first, way[-1] // states))
    loop = _around(graph, moves, letters, number, way[-1], root, live)
    if loop:
        return Found(True, Path(first, loop))
    return Found(True, Path(first, end="deadlock"))


@dataclass(frozen=True, slots=True)
class _Arrays:
    """An automaton for the kernels."""

    at: NDArray[np.int32]
    need: NDArray[np.uint64]
    to: NDArray[np.int32]
    marks: NDArray[np.uint64]
    every: int

    @classmethod
    def of(cls, made: Automaton) -> _Arrays:
        import numpy as np

        moves: list[Move] = [m for row in made.moves for m in row]
        at = np.zeros(len(made.moves) + 1, np.int32)
        at[1:] = np.cumsum([len(row) for row in made.moves])
        return cls(
            at,
            np.array([sum(1 << a for a in m.need) for m in moves], np.uint64),
            np.array([m.to for m in moves], np.int32),
            np.array([sum(1 << a for a in m.marks) for m in moves], np.uint64),
            (1 << made.marks) - 1,
        )


def _firings(graph: StateGraph, markings: Sequence[int]) -> tuple[int, ...]:
    """Transitions that fire along a path of markings; none where a deadlock stays."""
    out: list[int] = []
    for at, to in pairwise(markings):
        first, last = int(graph.edge_at[at]), int(graph.edge_at[at + 1])
        if first < last:
            e = first + int((graph.target[first:last] == to).argmax())
            out.append(int(graph.transition[e]))
    return tuple(out)


def _shorter(graph: StateGraph, moves: _Arrays, letters: Any, ends: NDArray[np.bool_]) -> list[int] | None:
    """A shortest way to one of the ends, if it is found among few states of the product."""
    states = len(moves.at) - 1
    before = {0: -1}
    queue = deque([0])
    while queue and len(before) < SHORTENING:
        at = queue.popleft()
        if ends[at]:
            way = [at]
            while (at := before[at]) >= 0:
                way.append(at)
            return way[::-1]
        marking, q = divmod(at, states)
        if marking >= graph.finished:
            continue
        first, last = int(graph.edge_at[marking]), int(graph.edge_at[marking + 1])
        after = graph.target[first:last].tolist() or [marking]
        letter = int(letters[marking])
        for j in range(int(moves.at[q]), int(moves.at[q + 1])):
            need = int(moves.need[j])
            if letter & need == need:
                for to in after:
                    state = to * states + int(moves.to[j])
                    if state not in before:
                        before[state] = at
                        queue.append(state)
    return None


def _prolonged(graph: StateGraph, path: tl.Temporal, first: tuple[int, ...], marking: int) -> Path:
    """A path that begins so: as it is where that alone decides the formula, else with some end."""
    short = Path(first, end="any")
    if shows(graph.net, path, short):
        return short
    firings = list(first)
    seen: dict[int, int] = {}
    while marking not in seen and marking < graph.finished and len(seen) < LONGEST_END:
        seen[marking] = len(firings)
        e = int(graph.edge_at[marking])
        if e == int(graph.edge_at[marking + 1]):
            return Path(tuple(firings), end="deadlock")
        firings.append(int(graph.transition[e]))
        marking = int(graph.target[e])
    if marking not in seen:
        return short
    return Path(tuple(firings[: seen[marking]]), tuple(firings[seen[marking] :]))


def _around(
    graph: StateGraph, moves: _Arrays, letters: Any, number: Any, start: int, root: int, live: int
) -> tuple[int, ...]:
    """Firings from a state of an accepting component back to it, with every mark on the way."""
    import numpy as np

    k = _k()
    common = (graph.edge_at, graph.target, letters, moves.at, moves.need, moves.to, moves.marks)
    missing = moves.every
    at = start
    out: list[int] = []
    while True:
        goal = -1 if missing else start
        found = k.nearest(*common, at, goal, np.uint64(missing), number, root, live).tolist()
        at, steps = found[0], list(zip(found[1::2], found[2::2], strict=True))
        out.extend(int(graph.transition[e]) for _, e in reversed(steps) if e >= 0)
        if not missing:
            return tuple(out)
        missing &= ~_carried(moves, letters, missing, steps[0][0], at)
        if not missing and at == start:
            return tuple(out)


def _carried(moves: _Arrays, letters: Any, missing: int, before: int, after: int) -> int:
    """The marks of a move between two states of the product: one that carries most of the missing ones."""
    states = len(moves.at) - 1
    marking, q = divmod(before, states)
    letter = int(letters[marking])
    best = 0
    for j in range(int(moves.at[q]), int(moves.at[q + 1])):
        need, marks = int(moves.need[j]), int(moves.marks[j]) & missing
        if int(moves.to[j]) == after % states and letter & need == need:
            best = max(best, marks, key=int.bit_count)
    return best


def _k() -> Any:
    from provenet.verify.plain.engines import product_kernel

    return product_kernel

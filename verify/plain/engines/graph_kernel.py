"""The kernels on whole state graphs, compiled by numba: fixpoints for CTL, and components.

A graph is rows of edges: those of marking ``i`` are ``edge_at[i]`` to ``edge_at[i + 1]`` of ``target``.
Markings from ``len(edge_at) - 1`` on are known, but what follows them is not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from provenet.verify.plain.engines.jit import SMALL, WHOLE, kernel

Small = NDArray[np.int32]
Whole = NDArray[np.int64]
Flags = NDArray[np.bool_]

FLAGS = "boolean[::1]"


@kernel("void", WHOLE, SMALL, WHOLE, SMALL)
def turned(edge_at: Whole, target: Small, into_at: Whole, source: Small) -> None:
    """The edges by target: ``into_at`` is zero at first and has one entry more than there are markings."""
    count = len(into_at) - 1
    for e in range(len(target)):
        into_at[target[e]] += 1
    total = np.int64(0)
    for i in range(count):
        total += into_at[i]
        into_at[i] = total
    into_at[count] = total
    for i in range(len(edge_at) - 1):
        for e in range(edge_at[i], edge_at[i + 1]):
            to = target[e]
            into_at[to] -= 1
            source[into_at[to]] = i


@kernel("void", WHOLE, SMALL, FLAGS, FLAGS)
def some_next(edge_at: Whole, target: Small, of: Flags, out: Flags) -> None:
    """Mark every marking that an edge leads from to one in ``of``."""
    for i in range(len(edge_at) - 1):
        for e in range(edge_at[i], edge_at[i + 1]):
            if of[target[e]]:
                out[i] = True
                break


@kernel("void", WHOLE, SMALL, FLAGS, FLAGS, SMALL)
def leads_to(into_at: Whole, source: Small, before: Flags, out: Flags, work: Small) -> None:
    """Least fixpoint: ``out`` is the goal at first; whoever is in ``before`` with an edge into it joins."""
    n = 0
    for i in range(len(out)):
        if out[i]:
            work[n] = i
            n += 1
    while n:
        n -= 1
        at = work[n]
        for e in range(into_at[at], into_at[at + 1]):
            s = source[e]
            if before[s] and not out[s]:
                out[s] = True
                work[n] = s
                n += 1


@kernel("void", WHOLE, SMALL, WHOLE, SMALL, FLAGS, FLAGS, SMALL, SMALL)
def stays_in(
    edge_at: Whole, target: Small, into_at: Whole, source: Small,
    anchored: Flags, out: Flags, left: Small, work: Small,
) -> None:  # fmt: skip
    """Greatest fixpoint: whoever is not anchored and has no edge within ``out`` leaves it."""
    for i in range(len(edge_at) - 1):
        if out[i] and not anchored[i]:
            for e in range(edge_at[i], edge_at[i + 1]):
                if out[target[e]]:
                    left[i] += 1
    n = 0
    for i in range(len(out)):
        if out[i] and not anchored[i] and left[i] == 0:
            work[n] = i
            n += 1
    for k in range(n):
        out[work[k]] = False
    while n:
        n -= 1
        at = work[n]
        for e in range(into_at[at], into_at[at + 1]):
            s = source[e]
            if out[s] and not anchored[s]:
                left[s] -= 1
                if left[s] == 0:
                    out[s] = False
                    work[n] = s
                    n += 1


@kernel("int64", WHOLE, SMALL, SMALL, FLAGS)
def components(edge_at: Whole, target: Small, component: Small, terminal: Flags) -> int:
    """Strongly connected components (Tarjan, 1972) of a whole graph, and which of them nothing leaves.

    Args:
        edge_at: Where the edges of each marking begin.
        target: Where they lead.
        component: -1 everywhere; becomes the number of each marking's component.
        terminal: True everywhere, one for each marking; by component afterwards.

    Returns:
        How many components there are.
    """
    count = len(edge_at) - 1
    number = np.zeros(count, np.int32)
    low = np.zeros(count, np.int32)
    stack = np.empty(count, np.int32)
    call = np.empty(count, np.int32)
    next_edge = edge_at[:-1].copy()
    found = 0
    seen = 0
    for start in range(count):
        if number[start]:
            continue
        depth, height = 1, 1
        call[0] = stack[0] = start
        seen += 1
        number[start] = low[start] = seen
        while depth:
            at = call[depth - 1]
            e = next_edge[at]
            if e < edge_at[at + 1]:
                next_edge[at] = e + 1
                to = target[e]
                if number[to] == 0:
                    seen += 1
                    number[to] = low[to] = seen
                    call[depth] = to
                    depth += 1
                    stack[height] = to
                    height += 1
                elif component[to] < 0:
                    low[at] = min(low[at], number[to])
                continue
            depth -= 1
            if depth:
                low[call[depth - 1]] = min(low[call[depth - 1]], low[at])
            if low[at] == number[at]:
                while True:
                    height -= 1
                    member = stack[height]
                    component[member] = found
                    if member == at:
                        break
                found += 1
    for i in range(count):
        for e in range(edge_at[i], edge_at[i + 1]):
            if component[target[e]] != component[i]:
                terminal[component[i]] = False
    return found

"""The kernels on products of a state graph and a Büchi automaton, compiled by numba.

The graph is given by rows of edges, as for ``graph_kernel``; the automaton by rows of moves.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from provenet.verify.plain.engines.jit import SMALL, WHOLE, WORDS, inlined, kernel

Small = NDArray[np.int32]
Whole = NDArray[np.int64]
Words = NDArray[np.uint64]
Int: TypeAlias = Any

# What a search for an accepted path ends with.
EMPTY, FOUND, LIMIT = range(3)

# The result of a search.
(
    TOUCHED,  # 1: a marking was met whose successors are not known
    DEPTH,  # how many states the path to the one at hand has
    ROOT,  # the number of the first state of the accepting component
    LIVE,  # how many states are on the stack of components
    STEPS,
    RESULTS,
) = range(6)

GONE = -1
"""In place of a number: the state's component is finished and accepts nothing."""


@inlined
def _longer(array: Any) -> Any:
    out = np.empty(2 * len(array), array.dtype)
    out[: len(array)] = array
    return out


@kernel(
    "Tuple((int64, int64[::1], int64[::1], int64[::1]))",
    WHOLE, SMALL, WORDS, SMALL, WORDS, SMALL, WORDS, "uint64", "int64", "int64", SMALL, "int64",
)  # fmt: skip
def accepted(
    edge_at: Whole, target: Small, letters: Words,
    move_at: Small, need: Words, move_to: Small, marks: Words, all_marks: Any, sink: Int,
    start: Int, number: Small, limit: Int,
) -> tuple[int, Whole, Whole, Whole]:  # fmt: skip
    """Search the product of a graph and an automaton for a path that is accepted (Couvreur, FM 1999).

    The product's state of marking ``m`` and automaton state ``q`` is ``m * states + q``. Components are
    merged as cycles are found, each with the marks of its edges; one with all marks accepts.

    Args:
        edge_at: Where the edges of each marking begin.
        target: Where they lead; a marking without any leads to itself.
        letters: Bit ``i`` of a marking's letter: atom ``i`` holds in it.
        move_at: Where the moves of each automaton state begin.
        need: The atoms that a move needs.
        move_to: Where it leads.
        marks: The acceptance marks that it carries.
        all_marks: Every mark.
        sink: The automaton state that accepts whatever comes, or -1.
        start: The automaton's first state.
        number: Zero for each product state; 1 and up while it is on the stack, then ``GONE``.
        limit: Give up after so many steps.

    Returns:
        How it ended, the registers, the states on the path to the one at hand, the states on the stack.
    """
    states = len(move_at) - 1
    finished = len(edge_at) - 1
    out = np.zeros(RESULTS, np.int64)
    call = np.empty(1024, np.int64)
    edge = np.empty(1024, np.int64)
    move = np.empty(1024, np.int32)
    live = np.empty(1024, np.int64)
    root = np.empty(1024, np.int64)
    root_marks = np.empty(1024, np.uint64)
    in_marks = np.empty(1024, np.uint64)
    depth, height, roots = 1, 1, 1
    call[0] = live[0] = start
    number[start] = 1
    root[0] = 1
    root_marks[0] = in_marks[0] = np.uint64(0)
    move[0] = move_at[start]
    edge[0] = edge_at[0] if finished > 0 else 0
    steps = 0
    if start == sink:
        out[DEPTH], out[LIVE] = 1, 1
        return FOUND, out, call[:1], live[:1]
    while depth:
        top = depth - 1
        state = call[top]
        m = state // states
        q = state - m * states
        j = move[top]
        if m >= finished:
            out[TOUCHED] = 1
            j = move_at[q + 1]
        letter = letters[m]
        while j < move_at[q + 1] and (letter & need[j]) != need[j]:
            j += 1
        if j < move_at[q + 1]:
            steps += 1
            if steps > limit:
                out[STEPS] = steps
                return LIMIT, out, call[:1], live[:1]
            first, last = edge_at[m], edge_at[m + 1]
            e = edge[top]
            if first == last:
                to = m
                move[top] = j + 1
            else:
                to = np.int64(target[e])
                if e + 1 < last:
                    edge[top] = e + 1
                    move[top] = j
                else:
                    edge[top] = first
                    move[top] = j + 1
            after = to * states + move_to[j]
            known = number[after]
            if known == 0:
                if depth == len(call):
                    call, edge, move = _longer(call), _longer(edge), _longer(move)
                if height == len(live):
                    live = _longer(live)
                if roots == len(root):
                    root, root_marks, in_marks = _longer(root), _longer(root_marks), _longer(in_marks)
                call[depth] = after
                edge[depth] = edge_at[to] if to < finished else 0
                move[depth] = move_at[move_to[j]]
                depth += 1
                live[height] = after
                height += 1
                number[after] = height
                root[roots] = height
                root_marks[roots] = np.uint64(0)
                in_marks[roots] = marks[j]
                roots += 1
                if move_to[j] == sink:
                    out[DEPTH], out[ROOT], out[LIVE], out[STEPS] = depth, height, height, steps
                    return FOUND, out, call[:depth].copy(), live[:height].copy()
            elif known > 0:
                merged = marks[j]
                while root[roots - 1] > known:
                    merged |= root_marks[roots - 1] | in_marks[roots - 1]
                    roots -= 1
                root_marks[roots - 1] |= merged
                if root_marks[roots - 1] == all_marks:
                    out[DEPTH], out[ROOT], out[LIVE], out[STEPS] = depth, root[roots - 1], height, steps
                    return FOUND, out, call[:depth].copy(), live[:height].copy()
            continue
        depth -= 1
        if root[roots - 1] == number[state]:
            roots -= 1
            while True:
                height -= 1
                number[live[height]] = GONE
                if live[height] == state:
                    break
    out[STEPS] = steps
    return EMPTY, out, call[:1], live[:1]


@kernel(
    WHOLE,
    WHOLE, SMALL, WORDS, SMALL, WORDS, SMALL, WORDS, "int64", "int64", "uint64", SMALL, "int64", "int64",
)  # fmt: skip
def nearest(
    edge_at: Whole, target: Small, letters: Words,
    move_at: Small, need: Words, move_to: Small, marks: Words,
    start: Int, goal: Int, wanted: Any, number: Small, root: Int, live: Int,
) -> Whole:  # fmt: skip
    """A shortest path within an accepting component, breadth-first.

    Args:
        edge_at: Where the edges of each marking begin.
        target: Where they lead.
        letters: The markings' letters.
        move_at: Where the moves of each automaton state begin.
        need: The atoms that a move needs.
        move_to: Where it leads.
        marks: The acceptance marks that it carries.
        start: The product state to begin at.
        goal: The state to end in, after an edge at least; -1: after an edge with one of ``wanted``.
        wanted: Marks to look for.
        number: As ``accepted`` left it.
        root: The number of the component's first state.
        live: The number of its last state.

    Returns:
        The path, last first: pairs of product state and edge (-1 where a deadlock stays) before each step,
        after one entry for the state that it ends in.
    """
    states = len(move_at) - 1
    size = live - root + 1
    parent = np.full(size, -2, np.int64)
    via = np.empty(size, np.int64)
    queue = np.empty(size, np.int64)
    queue[0] = start
    parent[number[start] - root] = -1
    head, tail = 0, 1
    while head < tail:
        state = queue[head]
        head += 1
        m = state // states
        q = state - m * states
        if m >= len(edge_at) - 1:
            continue
        for j in range(move_at[q], move_at[q + 1]):
            if (letters[m] & need[j]) != need[j]:
                continue
            first, last = edge_at[m], edge_at[m + 1]
            dead = first == last
            for e in range(first, last + 1 if dead else last):
                to = m if dead else np.int64(target[e])
                after = to * states + move_to[j]
                known = number[after]
                if known < root:
                    continue
                edge = -1 if dead else e
                if after == goal or (marks[j] & wanted) != np.uint64(0):
                    path = [after]
                    back, by = state, np.int64(edge)
                    while True:
                        path.append(back)
                        path.append(by)
                        if parent[number[back] - root] == -1:
                            break
                        by = via[number[back] - root]
                        back = parent[number[back] - root]
                    return np.array(path, np.int64)
                if parent[known - root] == -2:
                    parent[known - root] = state
                    via[known - root] = edge
                    queue[tail] = after
                    tail += 1
    return np.empty(0, np.int64)

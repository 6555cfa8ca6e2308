"""The kernels of the random walk, compiled by numba.

Everything is kept up to date by what a firing changes: which transitions are enabled, the sum of each atom,
how many parts of each node hold. A step costs what it changes, however large the net and the goals are.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from provenet.verify.plain.engines.jit import SHARE, SMALL, WHOLE, WORDS, inlined, kernel

Small = NDArray[np.int32]
Whole = NDArray[np.int64]
Words = NDArray[np.uint64]
Share = NDArray[np.float32]
Int: TypeAlias = Any
"""An integer of 32 or 64 bits; numba tells them apart, and Python's type checkers need not."""

# The registers, kept between calls.
(
    STEPS,  # firings so far, over all runs
    LENGTH,  # firings of the run at hand
    ENABLED,  # how many transitions are enabled
    HITS,  # goals hit in the run at hand
    DEAD_GOAL,  # the goal that is the deadlock, or -1
    LIMIT,  # firings of a run
    UNTIL,  # come back after so many firings
    TRIES,  # enabled transitions drawn, of which the best one fires
    OPEN,  # goals not yet hit
    REGISTERS,
) = range(10)


@inlined
def drawn(seed: Words, below: Int) -> Int:
    """A number from 0 to below it (Marsaglia's xorshift, Vigna's multiplier)."""
    x = seed[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    seed[0] = x
    x *= np.uint64(0x2545F4914F6CDD1D)
    return np.int64(((x >> np.uint64(32)) * np.uint64(below)) >> np.uint64(32))


@kernel(
    "void",
    # the net
    SMALL, SMALL, WHOLE, SMALL, SMALL, WHOLE,
    # the goals
    SMALL, SMALL, WHOLE, WHOLE, SMALL, SMALL, SMALL, SMALL,
    # where a run begins
    WHOLE, SMALL, SMALL, SMALL, WHOLE, SMALL, "int64",
    # where it is
    WHOLE, SMALL, SMALL, SMALL, WHOLE, SMALL,
    # what it prefers
    SHARE, SHARE, SHARE, "float32", "float32[:,::1]", SMALL,
    # what comes out
    SMALL, SMALL, SMALL, SMALL, WHOLE, SMALL, WORDS, WHOLE,
)  # fmt: skip
def walk(
    effect_at: Small, effect_place: Small, effect_delta: Whole,
    consumer_at: Small, consumer: Small, consumer_weight: Whole,
    reader_at: Small, reader: Small, factor: Whole, bound: Whole,
    need: Small, whole_at: Small, whole: Small, goal_of: Small,
    marking_0: Whole, lacks_0: Small, enabled_0: Small, position_0: Small, sum_0: Whole, held_0: Small,
    width_0: Int,
    marking: Whole, lacks: Small, enabled: Small, position: Small, sums: Whole, held: Small,
    score: Share, score_0: Share, fired: Share, tiring: float, pull: NDArray[np.float32], puller: Small,
    path: Small, hit_goal: Small, hit_at: Small, raised: Small, seen: Whole, stack: Small, seed: Words,
    register: Whole,
) -> None:  # fmt: skip
    """Fire until a run with a hit is over, every goal is hit, or enough was fired."""
    atoms = len(bound)
    steps = register[STEPS]
    length = register[LENGTH]
    width = register[ENABLED]
    hits = np.int64(0)
    until = register[UNTIL]
    while steps < until:
        if length >= 0 and (width == 0 or length == register[LIMIT]):
            if width == 0 and register[DEAD_GOAL] >= 0:
                hit_goal[hits] = register[DEAD_GOAL]
                hit_at[hits] = length
                hits += 1
                register[DEAD_GOAL] = -1
                register[OPEN] -= 1
            length = np.int64(-1)
        if length < 0:
            if hits > 0 or register[OPEN] == 0:
                break
            # Loops: numba takes half a second to compile each assignment of a whole array.
            for i in range(len(marking)):
                marking[i] = marking_0[i]
            for i in range(len(lacks)):
                lacks[i] = lacks_0[i]
                enabled[i] = enabled_0[i]
                position[i] = position_0[i]
                score[i] = score_0[i]
            for i in range(len(sums)):
                sums[i] = sum_0[i]
            for i in range(len(held)):
                held[i] = held_0[i]
            width = np.int64(width_0)
            length = np.int64(0)
            steps += 1
            continue

        t = enabled[drawn(seed, width)]
        if register[TRIES] > 1:
            worth = score[t] - tiring * fired[t]
            for _ in range(register[TRIES] - 1):
                other = enabled[drawn(seed, width)]
                other_worth = score[other] - tiring * fired[other]
                if other_worth > worth:
                    t = other
                    worth = other_worth
        fired[t] += np.float32(1)
        path[length] = t
        length += 1
        steps += 1

        roots = 0
        for k in range(effect_at[t], effect_at[t + 1]):
            p = effect_place[k]
            delta = effect_delta[k]
            before = marking[p]
            after = before + delta
            marking[p] = after
            for j in range(consumer_at[p], consumer_at[p + 1]):
                w = consumer_weight[j]
                if (before < w) == (after < w):
                    continue
                u = consumer[j]
                if after >= w:
                    lacks[u] -= np.int32(1)
                    if lacks[u] == 0:
                        enabled[width] = u
                        position[u] = width
                        width += 1
                else:
                    if lacks[u] == 0:
                        width -= 1
                        last = enabled[width]
                        enabled[position[u]] = last
                        position[last] = position[u]
                    lacks[u] += np.int32(1)
            for j in range(reader_at[p], reader_at[p + 1]):
                a = reader[j]
                old = sums[a]
                new = old + factor[j] * delta
                sums[a] = new
                if (old <= bound[a]) == (new <= bound[a]):
                    continue
                # The truth of the atom, and of what it is part of, changes: all in the same direction.
                step = np.int32(1) if new <= bound[a] else np.int32(-1)
                if puller[a] >= 0:
                    for u in range(len(score)):
                        score[u] -= step * pull[puller[a], u]
                stack[0] = a
                height = 1
                while height > 0:
                    height -= 1
                    n = stack[height]
                    if step == 1 and goal_of[n] >= 0 and seen[n] != steps:
                        seen[n] = steps
                        raised[roots] = n
                        roots += 1
                    for i in range(whole_at[n], whole_at[n + 1]):
                        above = whole[i]
                        held[above] += step
                        if held[above] == (need[above] if step == 1 else need[above] - 1):
                            stack[height] = above
                            height += 1
        if roots > 0:
            # A goal that rose may have fallen again before the firing was over.
            for r in range(roots):
                n = raised[r]
                if goal_of[n] < 0:
                    continue
                if (sums[n] <= bound[n]) if n < atoms else (held[n] >= need[n]):
                    hit_goal[hits] = goal_of[n]
                    hit_at[hits] = length
                    hits += 1
                    goal_of[n] = -1
                    register[OPEN] -= 1
            if register[OPEN] == 0:
                break
    register[STEPS] = steps
    register[LENGTH] = length
    register[ENABLED] = width
    register[HITS] = hits


@kernel(
    "int64", SMALL, SMALL, WHOLE, SMALL, SMALL, WHOLE, SMALL, SMALL, SMALL, SMALL, WHOLE, WHOLE, SMALL,
    WHOLE, WHOLE, SMALL, "int64", "int64",
)  # fmt: skip
def shorten(
    pre_at: Small, pre_place: Small, pre_weight: Whole,
    effect_at: Small, effect_place: Small, effect_delta: Whole,
    atom: Small, yes: Small, no: Small,
    term_at: Small, term_factor: Whole, bound: Whole, term_place: Small,
    initial: Whole, marking: Whole, path: Small, start: Int, work: Int,
) -> Int:  # fmt: skip
    """Leave out pieces of a run, long ones first, as long as it stays a run to the goal; its new length.

    Stops when so many firings were tried.
    """
    length = len(path)
    piece = 1
    while piece < length:
        piece *= 2
    shorter = False
    while piece > 0 and work > 0:
        at = 0
        while at < length and work > 0:
            end = min(at + piece, length)
            # The run without path[at:end].
            for i in range(len(marking)):
                marking[i] = initial[i]
            legal = True
            for i in range(length - (end - at)):
                t = path[i] if i < at else path[i + end - at]
                work -= 1
                for k in range(pre_at[t], pre_at[t + 1]):
                    if marking[pre_place[k]] < pre_weight[k]:
                        legal = False
                        break
                if not legal:
                    break
                for k in range(effect_at[t], effect_at[t + 1]):
                    marking[effect_place[k]] += effect_delta[k]
            if legal:
                test = np.int64(start)
                while test >= 0:
                    a = atom[test]
                    total = np.int64(0)
                    for k in range(term_at[a], term_at[a + 1]):
                        total += term_factor[k] * marking[term_place[k]]
                    test = np.int64(yes[test]) if total <= bound[a] else np.int64(no[test])
                legal = test == -1
            if legal:
                for i in range(end, length):
                    path[i - (end - at)] = path[i]
                length -= end - at
                shorter = True
            else:
                at = end
        piece //= 2
        if piece == 0 and shorter:
            piece = 4
            shorter = False
    return length

"""The kernels of explicit exploration, compiled by numba.

A marking is ``width`` words of 64 bits; each place has a field of as many bits as its largest count needs,
none across two halves of 32 bits. The hash is the sum of ``half * random(half)``: a firing changes it by a
constant, as it changes the words by constants, since no field may overflow, which is looked at first.

The table is open-addressed, with 32 bits a slot: the number of a marking plus one in the low ``index_bits``
bits, and as much of the hash as fits above them, so that other markings are hardly ever compared.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from provenet.verify.plain.engines.jit import (
    SLOTS,
    SMALL,
    WHOLE,
    WORDS,
    inlined,
    interpreted,
    kernel,
    lowest_bit_instruction,
)

Small = NDArray[np.int32]
Whole = NDArray[np.int64]
Words = NDArray[np.uint64]
Slots = NDArray[np.uint32]
Int: TypeAlias = Any
"""An integer of 32 or 64 bits; numba tells them apart, and Python's type checkers need not."""

# What a call ends with.
DONE, PAUSED, HIT, TABLE_FULL, MEMORY_FULL, OVERFLOW = range(6)

# The registers, kept between calls.
(
    COUNT,  # markings found
    CURRENT,  # the one at hand, or the next one in breadth-first order
    EDGES,  # firings of the markings that are finished
    FINISHED,  # markings that are finished
    WIDTH,
    INDEX_BITS,
    TABLE_LIMIT,  # markings that the table may hold
    ROOM,  # bytes for markings, edges and links
    UNTIL,  # pause when so many markings are finished
    RECORD,  # 1: write the edges down
    DEAD_GOAL,  # the goal that is the deadlock, or -1
    GOAL,  # the goal that is hit; its turn is next in the marking at hand
    PLACE,  # the place that overflows, and what it would hold
    VALUE,
    STUBBORN,
    BEST,  # 1: nearest to the goal first
    TARGET,  # the node of that goal
    SCALE,  # distances of one bucket
    LOWEST,  # no bucket below it holds a marking
    EPOCH,
    REGISTERS,
) = range(21)

UNIT = 256
"""The distance of one token that is missing."""

SEEDS = 4
"""Enabled transitions tried as the key of a deadlock-preserving set."""

_ONE = np.uint64(1)
_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)


def _lowest_bit(word: Any) -> Any:
    """The number of the lowest bit set in a word that is not zero."""
    return (int(word) & -int(word)).bit_length() - 1


lowest_bit: Any = _lowest_bit if interpreted() else lowest_bit_instruction()


@inlined
def unpacked(
    store: Words, at: Int, width: Int, place_of_bit: Small, shift: Words, top: Words,
    marking: Whole, marked: Small, marks: Int,
) -> Int:  # fmt: skip
    """Write a marking's counts, and the places that are marked; how many they are."""
    for k in range(marks):
        marking[marked[k]] = 0
    marks = 0
    for w in range(width):
        rest = store[at + w]
        while rest != 0:
            p = place_of_bit[w * 64 + lowest_bit(rest)]
            marking[p] = np.int64((rest >> shift[p]) & top[p])
            rest &= ~(top[p] << shift[p])
            marked[marks] = p
            marks += 1
    return marks


@inlined
def hashed(store: Words, at: Int, width: Int, random: Words) -> Any:
    """The hash of a marking."""
    out = np.uint64(0)
    for w in range(width):
        word = store[at + w]
        out += (word & _LOW) * random[2 * w] + (word >> _HALF) * random[2 * w + 1]
    return out


@inlined
def slot_of(size: Int, hash_: Any) -> Any:
    """Where in a table of some size a hash belongs."""
    return np.int64(((hash_ >> _HALF) * np.uint64(size)) >> _HALF)


@inlined
def tag_of(index_bits: Int, hash_: Any) -> Any:
    """What a slot keeps of a hash."""
    return np.int64(((hash_ ^ (hash_ >> _HALF)) << np.uint64(index_bits)) & _LOW)


@inlined
def sought(
    table: Slots, index_bits: Int, store: Words, words: Words, width: Int, hash_: Any
) -> tuple[Int, Int]:
    """The slot where a marking is or belongs, and its number or -1."""
    size = len(table)
    slot: Int = slot_of(size, hash_)
    tag = tag_of(index_bits, hash_)
    below = (np.int64(1) << index_bits) - 1
    while True:
        entry = np.int64(table[slot])
        if entry == 0:
            return slot, -1
        if (entry & ~below) == tag:
            i = (entry & below) - 1
            same = True
            for w in range(width):
                if store[i * width + w] != words[w]:
                    same = False
                    break
            if same:
                return slot, i
        slot += 1
        if slot == size:
            slot = 0


@inlined
def entry_of(number: Int, index_bits: Int, hash_: Any) -> Any:
    """What a slot holds for a marking."""
    return np.uint32(tag_of(index_bits, hash_) | (number + 1))


@kernel("void", WORDS, "int64", "int64", WORDS, SLOTS, "int64")
def rebuild(store: Words, count: Int, width: Int, random: Words, table: Slots, index_bits: Int) -> None:
    """Enter all markings, which are different, into an empty table."""
    size = len(table)
    for i in range(count):
        hash_ = hashed(store, i * width, width, random)
        slot: Int = slot_of(size, hash_)
        while table[slot] != 0:
            slot += 1
            if slot == size:
                slot = 0
        table[slot] = entry_of(i, index_bits, hash_)


@kernel(
    "void", WORDS, "int64", "int64", SMALL, WORDS, WORDS, "int64", SMALL, WORDS, WHOLE, SMALL
)  # fmt: skip
def repack(
    store: Words, count: Int, width: Int, place_of_bit: Small, shift: Words, top: Words,
    new_width: Int, new_word: Small, new_shift: Words, marking: Whole, marked: Small,
) -> None:  # fmt: skip
    """Give the markings another layout, no narrower, in their own place: the last one first."""
    marks = 0
    for i in range(count - 1, -1, -1):
        marks = unpacked(store, i * width, width, place_of_bit, shift, top, marking, marked, marks)
        at = i * new_width
        for w in range(new_width):
            store[at + w] = 0
        for k in range(marks):
            p = marked[k]
            store[at + new_word[p]] |= np.uint64(marking[p]) << new_shift[p]
    for k in range(marks):
        marking[marked[k]] = 0


@kernel(
    "int64",
    SMALL, SMALL, WHOLE, SMALL, SMALL, WHOLE,
    SMALL, SMALL, WORDS, WORDS, SMALL, WORDS, WORDS, WORDS,
    WORDS, SLOTS, WHOLE, WHOLE, SMALL, WORDS, SMALL,
)  # fmt: skip
def backward(
    pre_at: Small, pre_place: Small, pre_weight: Whole,
    effect_at: Small, effect_place: Small, effect_delta: Whole,
    word_at: Small, word: Small, word_delta: Words, hash_delta: Words,
    place_of_bit: Small, shift: Words, top: Words, random: Words,
    store: Words, table: Slots, register: Whole, marking: Whole, marked: Small, words: Words,
    firings: Small,
) -> Int:  # fmt: skip
    """Firings that lead to the marking at hand, the last one first; how many were written.

    Each step goes to the earliest predecessor that the table knows, which in breadth-first order lies one
    level below: no parent needs to be stored. The marking at hand becomes the one where it ended.
    """
    width = register[WIDTH]
    written = 0
    marks = 0
    while register[CURRENT] > 0 and written < len(firings):
        here = register[CURRENT]
        marks = unpacked(store, here * width, width, place_of_bit, shift, top, marking, marked, marks)
        hash_ = hashed(store, here * width, width, random)
        earliest = here
        by = -1
        for t in range(len(pre_at) - 1):
            legal = True
            for k in range(effect_at[t], effect_at[t + 1]):
                before = marking[effect_place[k]] - effect_delta[k]
                if before < 0 or before > np.int64(top[effect_place[k]]):
                    legal = False
                    break
            if not legal:
                continue
            for k in range(effect_at[t], effect_at[t + 1]):
                marking[effect_place[k]] -= effect_delta[k]
            for k in range(pre_at[t], pre_at[t + 1]):
                if marking[pre_place[k]] < pre_weight[k]:
                    legal = False
                    break
            for k in range(effect_at[t], effect_at[t + 1]):
                marking[effect_place[k]] += effect_delta[k]
            if not legal:
                continue
            for w in range(width):
                words[w] = store[here * width + w]
            for k in range(word_at[t], word_at[t + 1]):
                words[word[k]] -= word_delta[k]
            _, i = sought(table, register[INDEX_BITS], store, words, width, hash_ - hash_delta[t])
            if 0 <= i < earliest:
                earliest = i
                by = t
        firings[written] = by
        written += 1
        register[CURRENT] = earliest
    for k in range(marks):
        marking[marked[k]] = 0
    return written


@inlined
def first_goal(
    goal: Int, start: Small, open_: Small, atom: Small, yes: Small, no: Small,
    term_at: Small, term_place: Small, term_factor: Whole, bound: Whole, marking: Whole,
) -> Int:  # fmt: skip
    """The first open goal from one on that the marking satisfies, or -1."""
    for g in range(goal, len(start)):
        if open_[g] == 0:
            continue
        at = np.int64(start[g])
        while at >= 0:
            a = atom[at]
            total = np.int64(0)
            for k in range(term_at[a], term_at[a + 1]):
                total += term_factor[k] * marking[term_place[k]]
            at = np.int64(yes[at]) if total <= bound[a] else np.int64(no[at])
        if at == -1:
            return g
    return -1


@inlined
def gaps(
    term_at: Small, term_place: Small, term_factor: Whole, bound: Whole,
    lure_at: Small, lure_place: Small, lure: Whole, marking: Whole, gap: Whole, lured: Whole,
) -> None:  # fmt: skip
    """What each atom lacks in a marking, and what tokens on their way are worth to it."""
    for a in range(len(bound)):
        total = -bound[a]
        for k in range(term_at[a], term_at[a + 1]):
            total += term_factor[k] * marking[term_place[k]]
        gap[a] = total
        total = np.int64(0)
        for k in range(lure_at[a], lure_at[a + 1]):
            total += lure[k] * marking[lure_place[k]]
        lured[a] = total


@inlined
def distance(
    need: Small, part_at: Small, part: Small, gap: Whole, lured: Whole,
    gap_step: Any, lure_step: Any, t: Int, root: Int, value: Whole,
) -> Int:  # fmt: skip
    """How far the goal is after a firing: sums over conjunctions, the least of disjunctions."""
    atoms = len(gap)
    for a in range(atoms):
        lack = gap[a] + gap_step[t, a]
        drawn = lured[a] + lure_step[t, a]
        # However many tokens are on their way, each one that is missing counts for more.
        value[a] = UNIT * lack - (UNIT - 1) * drawn // (drawn + UNIT) if lack > 0 else 0
    for n in range(atoms, len(need)):
        if part_at[n + 1] - part_at[n] == need[n]:
            total = np.int64(0)
            for k in range(part_at[n], part_at[n + 1]):
                total += value[part[k]]
        else:
            total = np.int64(1) << 40
            for k in range(part_at[n], part_at[n + 1]):
                total = min(total, value[part[k]])
        value[n] = total
    return value[root]


@inlined
def closed(
    top_: Int, stack: Small, chosen: Small, used: Small, epoch: Int, enabled: Small, now: Int,
    pre_at: Small, pre_place: Small, pre_weight: Whole, pre_change: Whole, marking: Whole,
    consumer_at: Small, consumer: Small, raiser_at: Small, raiser: Small,
    lowerer_at: Small, lowerer: Small,
) -> Int:  # fmt: skip
    """Close a set of transitions so that it is stubborn; how many of it are enabled.

    For an enabled one: whoever needs a token that it takes, and whoever can take a token that it only needs.
    For a disabled one: whoever puts tokens into one place that lacks them.
    ``used[3 * p + kind]`` is ``epoch`` where the place's consumers, lowerers or raisers are already in.
    """
    found = 0
    while top_ > 0:
        top_ -= 1
        t = stack[top_]
        if enabled[t] == now:
            found += 1
            for k in range(pre_at[t], pre_at[t + 1]):
                p = pre_place[k]
                if pre_change[k] < 0:
                    if used[3 * p] == epoch:
                        continue
                    used[3 * p] = epoch
                    used[3 * p + 1] = epoch
                    for j in range(consumer_at[p], consumer_at[p + 1]):
                        other = consumer[j]
                        if chosen[other] != epoch:
                            chosen[other] = epoch
                            stack[top_] = other
                            top_ += 1
                elif used[3 * p + 1] != epoch:
                    used[3 * p + 1] = epoch
                    for j in range(lowerer_at[p], lowerer_at[p + 1]):
                        other = lowerer[j]
                        if chosen[other] != epoch:
                            chosen[other] = epoch
                            stack[top_] = other
                            top_ += 1
            continue
        best = -1
        for k in range(pre_at[t], pre_at[t + 1]):
            p = pre_place[k]
            if marking[p] < pre_weight[k]:
                if used[3 * p + 2] == epoch:
                    best = -1
                    break
                if best < 0 or raiser_at[p + 1] - raiser_at[p] < raiser_at[best + 1] - raiser_at[best]:
                    best = p
        if best >= 0:
            used[3 * best + 2] = epoch
            for j in range(raiser_at[best], raiser_at[best + 1]):
                other = raiser[j]
                if chosen[other] != epoch:
                    chosen[other] = epoch
                    stack[top_] = other
                    top_ += 1
    return found


@inlined
def attractors(
    need: Small, part_at: Small, part: Small,
    term_at: Small, term_place: Small, term_factor: Whole, bound: Whole,
    puller_at: Small, puller: Small, roots: Small, marking: Whole, value: Whole, wanted: Small,
    chosen: Small, stack: Small, top_: Int, epoch: Int,
) -> Int:  # fmt: skip
    """Add, for each goal, transitions one of which every run to it fires; the stack's new height.

    ``value`` is -1 for a node that holds, else how many transitions its attractor has at most.
    """
    atoms = len(bound)
    for a in range(atoms):
        total = np.int64(0)
        for k in range(term_at[a], term_at[a + 1]):
            total += term_factor[k] * marking[term_place[k]]
        value[a] = -1 if total <= bound[a] else puller_at[a + 1] - puller_at[a]
    for n in range(atoms, len(need)):
        conjunction = part_at[n + 1] - part_at[n] == need[n]
        total = np.int64(-1) if conjunction else np.int64(0)
        for k in range(part_at[n], part_at[n + 1]):
            of_part = value[part[k]]
            if conjunction:
                if of_part >= 0 and (total < 0 or of_part < total):
                    total = of_part
            elif of_part < 0:
                total = np.int64(-1)
                break
            else:
                total += of_part
        value[n] = total
    for g in range(len(roots)):
        wanted[roots[g]] = epoch
    for n in range(len(need) - 1, -1, -1):
        if wanted[n] != epoch or value[n] < 0:
            continue
        if n < atoms:
            for k in range(puller_at[n], puller_at[n + 1]):
                t = puller[k]
                if chosen[t] != epoch:
                    chosen[t] = epoch
                    stack[top_] = t
                    top_ += 1
        elif part_at[n + 1] - part_at[n] == need[n]:
            for k in range(part_at[n], part_at[n + 1]):
                if value[part[k]] == value[n]:
                    wanted[part[k]] = epoch
                    break
        else:
            for k in range(part_at[n], part_at[n + 1]):
                wanted[part[k]] = epoch
    return top_


@kernel(
    "int64",
    # the net
    SMALL, SMALL, SMALL, SMALL, WHOLE, SMALL, SMALL, WHOLE,
    # the layout
    SMALL, SMALL, WORDS, WORDS, SMALL, WORDS, WORDS, WORDS,
    # the goals as tests
    SMALL, SMALL, SMALL, SMALL, SMALL, SMALL, SMALL, WHOLE, WHOLE,
    # the goals as nodes
    SMALL, SMALL, SMALL, SMALL, SMALL, WHOLE, WHOLE, SMALL, SMALL, SMALL, WHOLE, SMALL,
    # what draws near to them
    SMALL, SMALL, WHOLE, WHOLE, WHOLE, "int32[:,::1]", "int32[:,::1]",
    # who changes what
    WHOLE, SMALL, SMALL, SMALL, SMALL, SMALL, SMALL,
    # the tables
    WORDS, SLOTS, WHOLE, SMALL, SMALL, SMALL, SMALL,
    # room to work in
    WHOLE, WHOLE, SMALL, WORDS, WORDS, SLOTS, SMALL, SMALL, SMALL, SMALL, SMALL,
)  # fmt: skip
def explore(
    watch_at: Small, watch: Small, pre_at: Small, pre_place: Small, pre_weight: Whole,
    gain_at: Small, gain_place: Small, gain_delta: Whole,
    word_at: Small, word: Small, word_delta: Words, hash_delta: Words,
    place_of_bit: Small, shift: Words, top: Words, random: Words,
    open_: Small, start: Small, atom: Small, yes: Small, no: Small,
    term_at: Small, term_place: Small, term_factor: Whole, bound: Whole,
    need: Small, part_at: Small, part: Small,
    node_term_at: Small, node_term_place: Small, node_term_factor: Whole, node_bound: Whole,
    puller_at: Small, puller: Small, roots: Small, value: Whole, wanted: Small,
    lure_at: Small, lure_place: Small, lure: Whole, gap: Whole, lured: Whole,
    gap_step: NDArray[np.int32], lure_step: NDArray[np.int32],
    pre_change: Whole, consumer_at: Small, consumer: Small, raiser_at: Small, raiser: Small,
    lowerer_at: Small, lowerer: Small,
    store: Words, table: Slots, edge_at: Whole, edge_to: Small, edge_by: Small, link: Small, bucket: Small,
    register: Whole, marking: Whole, marked: Small, words: Words, hashes: Words, touched: Slots, fired: Small,
    enabled: Small, chosen: Small, used: Small, stack: Small,
) -> Int:  # fmt: skip
    """Look at markings until all are finished, or something must be done outside."""
    width = register[WIDTH]
    index_bits = register[INDEX_BITS]
    count = register[COUNT]
    edges = register[EDGES]
    finished = register[FINISHED]
    goal = register[GOAL]
    table_limit = register[TABLE_LIMIT]
    room = register[ROOM]
    until = register[UNTIL]
    record = register[RECORD] == 1
    best = register[BEST] == 1
    here = register[CURRENT]
    lowest = register[LOWEST]
    epoch = np.int32(register[EPOCH])
    size = len(table)
    places = len(watch_at) - 2
    transitions = len(pre_at) - 1
    bytes_each = width * 8 + (8 if record else 0) + (4 if best else 0)
    marks = 0
    status = DONE
    while True:
        if best and here < 0:
            while lowest < len(bucket) and bucket[lowest] < 0:
                lowest += 1
            if lowest == len(bucket):
                break
            here = np.int64(bucket[lowest])
            bucket[lowest] = link[here]
        if here >= count:
            break
        if finished >= until:
            status = PAUSED
            break
        marks = unpacked(store, here * width, width, place_of_bit, shift, top, marking, marked, marks)
        goal = first_goal(
            goal, start, open_, atom, yes, no, term_at, term_place, term_factor, bound, marking
        )  # fmt: skip
        if goal >= 0:
            status = HIT
            break
        goal = 0

        firing = 0
        for k in range(marks + 1):
            p = places if k == marks else np.int64(marked[k])
            for j in range(watch_at[p], watch_at[p + 1]):
                t = watch[j]
                is_enabled = True
                for i in range(pre_at[t], pre_at[t + 1]):
                    if marking[pre_place[i]] < pre_weight[i]:
                        is_enabled = False
                        break
                if is_enabled:
                    fired[firing] = t
                    firing += 1
        dead = register[DEAD_GOAL]
        if firing == 0 and dead >= 0:
            goal = dead
            status = HIT
            break

        if register[STUBBORN] == 1 and firing > 0:
            epoch += np.int32(1)
            now = epoch
            for k in range(firing):
                enabled[fired[k]] = now
            height = attractors(
                need, part_at, part, node_term_at, node_term_place, node_term_factor, node_bound,
                puller_at, puller, roots, marking, value, wanted, chosen, stack, 0, epoch,
            )  # fmt: skip
            found = closed(
                height, stack, chosen, used, epoch, enabled, now, pre_at, pre_place, pre_weight,
                pre_change, marking, consumer_at, consumer, raiser_at, raiser, lowerer_at, lowerer,
            )  # fmt: skip
            kept = 0
            if found > 0 or dead < 0:
                for k in range(firing):
                    if chosen[fired[k]] == epoch:
                        fired[kept] = fired[k]
                        kept += 1
            else:
                # Any enabled transition is the key of a set that preserves deadlocks: the smallest of a few.
                kept = firing + 1
                for k in range(min(firing, SEEDS)):
                    epoch += np.int32(1)
                    seed = fired[k * firing // SEEDS] if firing > SEEDS else fired[k]
                    chosen[seed] = epoch
                    stack[0] = seed
                    found = closed(
                        1, stack, chosen, used, epoch, enabled, now, pre_at, pre_place, pre_weight,
                        pre_change, marking, consumer_at, consumer, raiser_at, raiser, lowerer_at, lowerer,
                    )  # fmt: skip
                    if found < kept:
                        kept = 0
                        for j in range(firing):
                            if chosen[fired[j]] == epoch:
                                stack[transitions + kept] = fired[j]
                                kept += 1
                        if kept == 1:
                            break
                for k in range(kept):
                    fired[k] = stack[transitions + k]
            firing = kept

        need_bytes = (count + firing) * bytes_each + (8 * (edges + firing) if record else 0)
        if need_bytes > room:
            status = MEMORY_FULL
            break
        if count + firing > table_limit:
            status = TABLE_FULL
            break
        hash_ = hashed(store, here * width, width, random)
        overflow = False
        for k in range(firing):
            t = fired[k]
            for j in range(gain_at[t], gain_at[t + 1]):
                p = gain_place[j]
                after = marking[p] + gain_delta[j]
                if after > np.int64(top[p]):
                    register[PLACE] = p
                    register[VALUE] = after
                    overflow = True
            hashes[k] = hash_ + hash_delta[t]
        if overflow:
            status = OVERFLOW
            break
        if best:
            gaps(
                node_term_at, node_term_place, node_term_factor, node_bound,
                lure_at, lure_place, lure, marking, gap, lured,
            )  # fmt: skip
        # Memory answers these reads side by side; the search below would wait for one after the other.
        below = (np.int64(1) << index_bits) - 1
        for k in range(firing):
            touched[k] = table[slot_of(size, hashes[k])]
        for k in range(firing):
            entry = np.int64(touched[k])
            if entry != 0 and (entry & ~below) == tag_of(index_bits, hashes[k]):
                touched[k] = np.uint32(store[((entry & below) - 1) * width] & _ONE)
        for k in range(firing):
            t = fired[k]
            for w in range(width):
                words[w] = store[here * width + w]
            for j in range(word_at[t], word_at[t + 1]):
                words[word[j]] += word_delta[j]
            slot, i = sought(table, index_bits, store, words, width, hashes[k])
            if i < 0:
                i = count
                for w in range(width):
                    store[i * width + w] = words[w]
                table[slot] = entry_of(i, index_bits, hashes[k])
                count += 1
                if best:
                    far = distance(
                        need, part_at, part, gap, lured, gap_step, lure_step, t, register[TARGET], value
                    )
                    far = min(far // register[SCALE], len(bucket) - 1)
                    link[i] = bucket[far]
                    bucket[far] = i
                    lowest = min(lowest, far)
            if record:
                edge_to[edges + k] = i
                edge_by[edges + k] = t
        edges += firing
        finished += 1
        if record:
            edge_at[finished] = edges
        here = np.int64(-1) if best else here + 1
    for k in range(marks):
        marking[marked[k]] = 0
    register[COUNT] = count
    register[EDGES] = edges
    register[FINISHED] = finished
    register[GOAL] = goal
    register[CURRENT] = here
    register[LOWEST] = lowest
    register[EPOCH] = epoch
    return status

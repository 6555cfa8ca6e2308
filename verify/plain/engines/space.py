"""A state space under construction: its layout and tables, which grow as the markings need it.

Every place begins with the bits that its first count needs; a count that does not fit gives the field more
bits, and all markings are laid out anew. Memory is checked before a table grows, and reserved at once but
touched only as it fills.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import TYPE_CHECKING, Any, Literal

from provenet.verify.plain.answer import Budget
from provenet.verify.plain.engines.compiled import (
    LARGEST,
    NetArrays,
    lures,
    net_arrays,
    nodes,
    rows,
    singles,
    starts,
    tests,
)
from provenet.verify.plain.logic import Formula, atoms_of, deadlock
from provenet.verify.plain.net import PTNet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from provenet.verify.plain.engines.compiled import Nodes, Small, Whole

    Words = NDArray[np.uint64]

LOAD = 0.75
"""How full the table may be."""

FIRST_SLOTS = 1 << 12
DOUBLING = 1 << 16
"""Larger tables grow by half where a marking is one word: they then take at most as much as the markings."""

SLICE = 0.03
"""Seconds between two looks at the clock, roughly."""

SECONDS_A_MARKING = 1.5e-7
"""What it takes to enter one marking into a new table, roughly."""

BUCKETS = 4096
"""Distances that best-first order keeps apart."""

LOOK_AHEAD = 4_000
"""Markings from which on a field that overflows makes it worth while to look how far others will grow."""

WANDERED = (4_000, 30_000)
"""Firings of that look: an eighth of the markings, within these limits."""

FARTHEST = 1 << 30
"""What one firing counts for in that order, at most."""

STEEPEST, TOTAL = 1 << 15, 1 << 22
"""Factors of a goal, each and together, up to which its distances fit into 64 bits whatever is counted."""

FADE = 0.8
"""How much less a token is worth one transition further from where it is wanted."""

HASH_SEED = 20_111
WIDEST = 31
"""Bits of the widest field."""


class Stop(Enum):
    """Why an exploration came back."""

    DONE = "done"
    HIT = "a goal was hit"
    ANSWERED = "all goals were answered elsewhere"
    TIME = "time"
    MEMORY = "memory"
    COUNTS = "a place holds too many tokens"


@dataclass(frozen=True, slots=True)
class Layout:
    """Which bits of which word hold the count of each place."""

    bits: tuple[int, ...]
    width: int
    word: Small
    shift: Words
    top: Words
    place_of_bit: Small

    @classmethod
    def of(cls, bits: Sequence[int], *, at_least: int = 1) -> Layout:
        """Fields of these sizes, none across two halves of a word, the widest ones first."""
        import numpy as np

        free = [32] * (2 * at_least)
        half = [0] * len(bits)
        shift = [0] * len(bits)
        first = 0
        for p in sorted(range(len(bits)), key=lambda p: -bits[p]):
            h = first
            while h < len(free) and free[h] < bits[p]:
                h += 1
            if h == len(free):
                free += [32, 32]
            half[p] = h
            shift[p] = 32 * (h % 2) + 32 - free[h]
            free[h] -= bits[p]
            while first < len(free) and not free[first]:
                first += 1
        word = [h // 2 for h in half]
        width = len(free) // 2
        place_of_bit = [0] * (64 * width)
        for p, n in enumerate(bits):
            for b in range(n):
                place_of_bit[64 * word[p] + shift[p] + b] = p
        return cls(
            tuple(bits),
            width,
            np.array(word, np.int32),
            np.array(shift, np.uint64),
            np.array([(1 << n) - 1 for n in bits], np.uint64),
            np.array(place_of_bit, np.int32),
        )


class Space:
    """The reachable markings of a net, as far as they are known.

    Attributes:
        net: The net.
        open: The goals that no marking known so far satisfies, by number.
        layout: How markings are packed.
        stubborn: Whether firings are left out that no goal needs.
    """

    layout: Layout

    def __init__(
        self,
        net: PTNet,
        goals: Sequence[Formula],
        budget: Budget,
        *,
        stubborn: Literal["on", "off"] = "off",
        order: Literal["breadth", "nearest"] = "breadth",
        edges: Literal["kept", "counted"] = "counted",
        bounds: Sequence[int | None] | None = None,
    ) -> None:
        import numpy as np

        arrays = net_arrays(net)
        if arrays is None:
            raise OverflowError("the net's numbers are too large to compile")
        self.net = net
        self.budget = budget
        self.open = dict(enumerate(goals))
        self._arrays = arrays
        self.stubborn = stubborn
        self._order = order if _can_steer(goals) else "breadth"
        self._fixed = _fixed(net, arrays)
        self._marking = np.zeros(arrays.places, np.int64)
        self._marked = np.zeros(arrays.places, np.int32)
        hints = bounds or [None] * arrays.places
        bits = [
            min(WIDEST, max(1, n.bit_length(), (hint or 0).bit_length()))
            for n, hint in zip(net.initial, hints, strict=True)
        ]
        self._kept = edges == "kept"
        self._asked = bool(goals)
        self._look_ahead_at = LOOK_AHEAD
        self._reserve()
        self._lay(Layout.of(bits))
        self._begin(goals)

    @property
    def count(self) -> int:
        """How many markings are known."""
        return int(self._register[_k().COUNT])

    @property
    def edges(self) -> int:
        """How many firings were looked at."""
        return int(self._register[_k().EDGES])

    @property
    def finished(self) -> int:
        """How many markings were looked at; in breadth-first order, the first ones."""
        return int(self._register[_k().FINISHED])

    @property
    def bytes_used(self) -> int:
        """Bytes of the tables that are in use."""
        return self.count * self._bytes_each + self._table.nbytes + (8 * self.edges if self._kept else 0)

    @property
    def bytes_packed(self) -> int:
        """Bytes of the packed markings alone."""
        return self.count * 8 * self.layout.width

    def advance(self) -> tuple[Stop, int]:
        """Look at further markings until a goal is hit, all are looked at, or the budget is spent.

        Returns:
            Why it stopped, and the goal that the marking at hand satisfies where one was hit. The caller
            closes it before the next call.
        """
        k = _k()
        chunk = 1000
        while True:
            left = self.budget.left()
            if not left:
                return Stop.TIME, -1
            self._register[k.UNTIL] = self._register[k.FINISHED] + chunk
            began = time.perf_counter()
            status = k.explore(*self._arguments())
            took = time.perf_counter() - began
            if status == k.DONE:
                return Stop.DONE, -1
            if status == k.HIT:
                return Stop.HIT, int(self._register[k.GOAL])
            if status == k.MEMORY_FULL:
                return Stop.MEMORY, -1
            if status == k.OVERFLOW:
                why = self._widen(int(self._register[k.PLACE]), int(self._register[k.VALUE]))
            elif status == k.TABLE_FULL:
                why = self._grow()
            else:
                for g in tuple(self.open):
                    if self.budget.answered(g):
                        self.close(g)
                why = Stop.ANSWERED if self._asked and not self.open else None
                scale = min(4.0, max(0.1, min(SLICE, left / 2) / max(took, 1e-6)))
                chunk = max(100, int(chunk * scale))
            if why is not None:
                return why, -1

    def close(self, goal: int) -> None:
        """Look for a goal no more."""
        k = _k()
        del self.open[goal]
        self._open[goal] = 0
        if goal == self._register[k.DEAD_GOAL]:
            self._register[k.DEAD_GOAL] = -1
        self._aim()

    def trace(self) -> tuple[int, ...]:
        """Firings from the initial marking to the marking at hand."""
        return self.trace_to(int(self._register[_k().CURRENT]))

    def trace_to(self, number: int) -> tuple[int, ...]:
        """Firings from the initial marking to a known marking; a shortest run in breadth-first order."""
        import numpy as np

        k = _k()
        a, lay = self._arrays, self.layout
        register = self._register.copy()
        register[k.CURRENT] = number
        firings = np.empty(4096, np.int32)
        found: list[int] = []
        while register[k.CURRENT] > 0:
            n = k.backward(
                a.pre_at, a.pre_place, a.pre_weight, a.effect_at, a.effect_place, a.effect_delta,
                *self._deltas, self._hash_delta, lay.place_of_bit, lay.shift, lay.top, self._random,
                self._store, self._table, register, self._marking, self._marked, self._words, firings,
            )  # fmt: skip
            found.extend(firings[:n].tolist())
        return tuple(reversed(found))

    def words(self) -> Words:
        """The packed markings, one a row."""
        return self._store[: self.count * self.layout.width].reshape(self.count, self.layout.width)

    def edge_arrays(self) -> tuple[Whole, Small, Small]:
        """Of the finished markings: where the edges of each begin, where each leads, who fires."""
        return self._edge_at[: self.finished + 1], self._edge_to[: self.edges], self._edge_by[: self.edges]

    def _reserve(self) -> None:
        """Address room for all that the budget allows; less where the system refuses."""
        import numpy as np

        memory = max(self.budget.memory, 1 << 16)
        while True:
            try:
                self._store = np.empty(memory // 8, np.uint64)
                some = memory if self._kept else 0
                self._edge_at = np.zeros(some // 16 + 2, np.int64)
                self._edge_to = np.empty(some // 8, np.int32)
                self._edge_by = np.empty(some // 8, np.int32)
                self._link = np.empty(memory // 12 if self._order == "nearest" else 0, np.int32)
            except MemoryError:
                if memory <= 1 << 20:
                    raise
                memory //= 2
                continue
            self._memory = memory
            return

    def _begin(self, goals: Sequence[Formula]) -> None:
        """Enter the initial marking."""
        import numpy as np

        k = _k()
        t = self._arrays.transitions
        self._hashes = np.zeros(t + 1, np.uint64)
        self._touched = np.zeros(t + 1, np.uint32)
        self._fired = np.zeros(t + 1, np.int32)
        self._enabled = np.zeros(t + 1, np.int32)
        self._chosen = np.zeros(t + 1, np.int32)
        self._used = np.zeros(3 * self._arrays.places + 1, np.int32)
        self._stack = np.zeros(2 * t + 2, np.int32)
        self._bucket = np.full(BUCKETS, -1, np.int32)
        self._open = np.ones(len(goals), np.int32)
        self._tests = tests(goals).arrays()
        self._register = np.zeros(k.REGISTERS, np.int64)
        self._register[k.COUNT] = 1
        self._register[k.STUBBORN] = self.stubborn == "on"
        self._register[k.BEST] = self._order == "nearest"
        self._register[k.RECORD] = self._kept
        self._register[k.DEAD_GOAL] = -1
        self._register[k.SCALE] = 1
        dead = deadlock(self.net)
        for g, goal in enumerate(goals):
            if goal == dead and self._register[k.DEAD_GOAL] < 0:
                # Seen while firing, at no cost.
                self._open[g] = 0
                self._register[k.DEAD_GOAL] = g
        for w in range(self.layout.width):
            self._store[w] = sum(
                n << int(self.layout.shift[p])
                for p, n in enumerate(self.net.initial)
                if self.layout.word[p] == w
            )
        self._enter(FIRST_SLOTS)
        self._aim()

    def _aim(self) -> None:
        """Tell the kernel which goals its stubborn sets and its order serve."""
        import numpy as np

        k = _k()
        dead = int(self._register[k.DEAD_GOAL])
        goals = [goal for g, goal in self.open.items() if g != dead]
        target = list(self.open.values())[: self._order == "nearest"]
        graph = nodes([*goals, *target])
        self._register[k.TARGET] = graph.roots[-1] if target else 0
        pullers: list[list[int]] = []
        by_place: list[list[tuple[int, int]]] = [[] for _ in range(self._arrays.places)]
        if self.stubborn == "on":
            for t, effect in enumerate(self.net.effect):
                for p, d in effect:
                    by_place[p].append((t, d))
        for atom in graph.atoms:
            change: dict[int, int] = {}
            for p, c in atom.terms:
                for t, d in by_place[p]:
                    change[t] = change.get(t, 0) + c * d
            pullers.append([t for t, d in change.items() if d < 0])
        self._aims = (
            graph.need, graph.part_at, graph.part,
            *rows([atom.terms for atom in graph.atoms]),
            np.array([atom.bound for atom in graph.atoms], np.int64),
            *singles(pullers), np.array(graph.roots[: len(goals)], np.int32),
            np.zeros(len(graph.need) + 1, np.int64), np.zeros(len(graph.need) + 1, np.int32),
            *self._lures(graph),
        )  # fmt: skip

    def _lures(self, graph: Nodes) -> tuple[Any, ...]:
        """For best-first order: the worth of tokens to each atom, and how each firing changes it."""
        import numpy as np

        k = _k()
        places, transitions = self._arrays.places, self._arrays.transitions
        steer = self._order == "nearest" and bool(graph.need.size)
        atoms = graph.atoms if steer else ()
        worth: list[list[tuple[int, int]]] = []
        shape = (transitions if steer else 0, len(atoms))
        changes, changed = self._arrays.effect_place, self._arrays.effect_delta
        by = np.repeat(np.arange(transitions), np.diff(self._arrays.effect_at))
        gap_step = np.zeros(shape, np.int32)
        lure_step = np.zeros(shape, np.int32)
        for a, atom in enumerate(atoms):
            factor = dict(atom.terms)
            # What the atom itself counts is in its gap.
            lure = {
                p: int(k.UNIT * w) for p, w in lures(self.net, atom, fade=FADE).items() if p not in factor
            }
            worth.append([(p, w) for p, w in sorted(lure.items()) if w])
            for step, by_place in ((gap_step, factor), (lure_step, lure)):
                worths = np.zeros(places)
                worths[list(by_place)] = list(by_place.values())
                moved = np.bincount(by, changed * worths[changes], transitions)
                step[:, a] = np.clip(moved, -FARTHEST, FARTHEST)
        if steer:
            far = sum(max(0, sum(c * self.net.initial[p] for p, c in a.terms) - a.bound) for a in atoms)
            self._register[k.SCALE] = max(1, k.UNIT * far // (BUCKETS // 2))
        return (
            *rows([tuple(row) for row in worth]),
            np.zeros(len(atoms), np.int64), np.zeros(len(atoms), np.int64), gap_step, lure_step,
        )  # fmt: skip

    def _arguments(self) -> tuple[Any, ...]:
        a, f, lay = self._arrays, self._fixed, self.layout
        return (
            f.watch_at, f.watch, a.pre_at, a.pre_place, a.pre_weight,
            *f.gains,
            *self._deltas, self._hash_delta, lay.place_of_bit, lay.shift, lay.top, self._random,
            self._open, *self._tests, *self._aims,
            f.pre_change, a.consumer_at, a.consumer, *f.raisers, *f.lowerers,
            self._store, self._table, self._edge_at, self._edge_to, self._edge_by, self._link, self._bucket,
            self._register, self._marking, self._marked, self._words, self._hashes, self._touched,
            self._fired, self._enabled, self._chosen, self._used, self._stack,
        )  # fmt: skip

    def _lay(self, layout: Layout) -> None:
        """Take a layout, and what each transition adds to the words of it."""
        import numpy as np

        self.layout = layout
        self._words = np.zeros(layout.width, np.uint64)
        word, shift = layout.word.tolist(), layout.shift.tolist()
        random = Random(HASH_SEED)  # noqa: S311
        factors = [random.getrandbits(64) | 1 for _ in range(2 * layout.width)]
        table: list[list[tuple[int, int]]] = []
        hashes: list[int] = []
        for effect in self.net.effect:
            change: dict[int, int] = {}
            hash_ = 0
            for p, d in effect:
                change[word[p]] = change.get(word[p], 0) + (d << shift[p])
                hash_ += (d << shift[p] % 32) * factors[2 * word[p] + shift[p] // 32]
            table.append([(w, d % 2**64) for w, d in sorted(change.items())])
            hashes.append(hash_ % 2**64)
        self._random = np.array(factors, np.uint64)
        self._hash_delta = np.array(hashes, np.uint64)
        self._deltas = (
            starts(map(len, table)),
            np.array([w for row in table for w, _ in row], np.int32),
            np.array([d for row in table for _, d in row], np.uint64),
        )
        self._bytes_each = 8 * (layout.width + self._kept) + 4 * (self._order == "nearest")

    def _enter(self, slots: int) -> None:
        """Make a table of so many slots and enter all markings."""
        import numpy as np

        k = _k()
        lay = self.layout
        self._table = np.zeros(slots, np.uint32)
        limit = int(slots * LOAD)
        self._register[k.INDEX_BITS] = (limit + 1).bit_length()
        self._register[k.TABLE_LIMIT] = limit
        self._register[k.WIDTH] = lay.width
        self._register[k.ROOM] = self._memory - self._table.nbytes
        bits = int(self._register[k.INDEX_BITS])
        k.rebuild(self._store, self.count, lay.width, self._random, self._table, bits)

    def _grow(self) -> Stop | None:
        """A larger table, if memory and time allow it."""
        import numpy as np

        slots = len(self._table)
        # One marking never needs more than a slot for each transition.
        larger = slots * 2 if slots < DOUBLING or self.layout.width > 1 else slots * 3 // 2
        slots = max(larger, slots + 2 * self._arrays.transitions)
        if self.bytes_used + 4 * (slots - len(self._table)) > self._memory:
            return Stop.MEMORY
        if self.count * SECONDS_A_MARKING > self.budget.left():
            return Stop.TIME
        self._table = np.zeros(0, np.uint32)
        self._enter(slots)
        return None

    def _widen(self, place: int, value: int) -> Stop | None:
        """Give the field of a place more bits."""
        if value > LARGEST:
            return Stop.COUNTS
        k = _k()
        old = self.layout
        bits = list(old.bits)
        bits[place] = value.bit_length()
        if self.count >= self._look_ahead_at:
            # One field after another would overflow, and each time all markings are laid out anew.
            self._look_ahead_at = max(LOOK_AHEAD, 4 * self.count)
            for p, most in enumerate(_peaks(self.net, min(max(self.count // 8, WANDERED[0]), WANDERED[1]))):
                bits[p] = max(bits[p], min(WIDEST, most.bit_length()))
        new = Layout.of(bits, at_least=old.width)
        if self.bytes_used + 8 * self.count * (new.width - old.width) > self._memory:
            return Stop.MEMORY
        if 2 * self.count * SECONDS_A_MARKING > self.budget.left():
            return Stop.TIME
        k.repack(
            self._store, self.count, old.width, old.place_of_bit, old.shift, old.top,
            new.width, new.word, new.shift, self._marking, self._marked,
        )  # fmt: skip
        self._lay(new)
        self._table.fill(0)
        self._enter(len(self._table))
        return None


def _can_steer(goals: Sequence[Formula]) -> bool:
    """Whether best-first order can be told how far markings are from the goals."""
    atoms = [atom for goal in goals for atom in atoms_of(goal)]
    factors = [abs(c) for atom in atoms for _, c in atom.terms]
    far = sum(abs(atom.bound) for atom in atoms)
    return max(factors, default=0) <= STEEPEST and sum(factors) <= TOTAL and far <= TOTAL * LARGEST


def _peaks(net: PTNet, firings: int) -> list[int]:
    """The largest count of each place that a random walk of so many firings meets."""
    random = Random(HASH_SEED)  # noqa: S311
    marking = list(net.initial)
    peak = list(net.initial)
    transitions = range(len(net.transitions))
    for step in range(firings):
        offset = random.randrange(len(transitions)) if transitions else 0
        for i in transitions:
            t = (i + offset) % len(transitions)
            if net.enabled(marking, t):
                break
        else:
            t = -1
        if t < 0 or step % 1_000 == 999:
            marking = list(net.initial)
            continue
        for p, d in net.effect[t]:
            marking[p] += d
            if marking[p] > peak[p]:
                peak[p] = min(marking[p], LARGEST)
    return peak


@dataclass(frozen=True, slots=True)
class _Fixed:
    """What the kernel wants to know of a net beyond its arrays."""

    watch_at: Small
    watch: Small
    pre_change: Whole
    gains: tuple[Small, Small, Whole]
    raisers: tuple[Small, Small]
    lowerers: tuple[Small, Small]


def _fixed(net: PTNet, arrays: NetArrays) -> _Fixed:
    import numpy as np

    # A transition is looked at only where one place is marked: the one that the fewest others need.
    watch: list[list[int]] = [[] for _ in range(arrays.places + 1)]
    for t, pre in enumerate(net.pre):
        place = min((p for p, _ in pre), key=lambda p: len(net.consumers[p]), default=arrays.places)
        watch[place].append(t)
    raisers: list[list[int]] = [[] for _ in range(arrays.places)]
    lowerers: list[list[int]] = [[] for _ in range(arrays.places)]
    for t, effect in enumerate(net.effect):
        for p, d in effect:
            (raisers if d > 0 else lowerers)[p].append(t)
    change = [dict(effect) for effect in net.effect]
    return _Fixed(
        *singles(watch),
        np.array([change[t].get(p, 0) for t, pre in enumerate(net.pre) for p, _ in pre], np.int64),
        rows([tuple((p, d) for p, d in effect if d > 0) for effect in net.effect]),
        singles(raisers),
        singles(lowerers),
    )


def _k() -> Any:
    """The kernels; loading them takes about a second, more where nothing is cached."""
    from provenet.verify.plain.engines import explore_kernel

    return explore_kernel

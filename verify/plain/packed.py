"""Markings as single integers, and a small explorer over them in plain Python.

Each place owns a field of bits whose top one is kept free as a guard, so that all places are compared, or a
firing is applied, in one addition (fields within a word, after Lamport, "Multiple byte processing with
full-word instructions", CACM 1975). It starts at once, where a compiled explorer must first be loaded, and
it keeps every firing: right for spaces of up to some ten thousand markings.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from provenet.verify.plain.net import Arcs, Counts, PTNet

Found = TypeVar("Found")

ROOM = 1 << 27
"""Words of eight bytes that a space may take, roughly."""

FIRING = 11
"""Words of a firing that is kept."""

CHECKED = 10_000
"""Words between two looks at the clock."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Where each place's count lies in an integer.

    Attributes:
        bits: Bits of a field, guard included.
        guard: The guard bit of every field.
        above_one: In every field, the bits that are set only where it holds two tokens or more.
    """

    bits: int
    guard: int
    above_one: int

    @classmethod
    def of(cls, places: int, most: int) -> Fields:
        """Fields that hold counts up to ``most``."""
        bits = max(2, most.bit_length()) + 1
        ones = sum(1 << (i * bits) for i in range(places))
        return cls(bits, ones << (bits - 1), ones * ((1 << bits) - 2))

    def pack(self, counts: Counts) -> int:
        """The integer of a marking."""
        return sum(n << (p * self.bits) for p, n in enumerate(counts))

    def arcs(self, arcs: Arcs) -> int:
        """The integer of weights; negative ones allowed."""
        return sum(w << (p * self.bits) for p, w in arcs)

    def unpack(self, packed: int, places: int) -> Counts:
        """The marking of an integer."""
        mask = (1 << self.bits) - 1
        return tuple((packed >> (p * self.bits)) & mask for p in range(places))

    def covers(self, large: int, small: int) -> bool:
        """Whether ``large`` holds at least ``small`` everywhere."""
        return ((large | self.guard) - small) & self.guard == self.guard


class Overflow(Exception):
    """A place holds more than its field can say; a space with larger fields may do."""


def with_room(net: PTNet, use: Callable[[Space], Found]) -> Found:
    """What comes of a space with nothing explored yet; again with larger fields where one overflows.

    Fields hold every weight too: one that does not fit would spill into the next place's field, where no
    guard tells.
    """
    weights = (w for arcs in (*net.pre, *net.post) for _, w in arcs)
    most = max((*net.initial, *(n for final in net.finals for n in final), *weights, 3))
    while True:
        try:
            return use(Space(net, Fields.of(len(net.places), most)))
        except Overflow:
            most = 16 * most + 15


def searched(
    net: PTNet, fault: Callable[[Space, int], bool], *, limit: int, deadline: float
) -> tuple[Space, int | None]:
    """Explore until a marking has a fault: the space as far as it is known, and that marking's number.

    Args:
        net: The net.
        fault: Whether a marking, whose firings are known, is what is looked for.
        limit: Most markings to look at.
        deadline: ``time.monotonic()`` value to stop at.
    """

    def search(space: Space) -> tuple[Space, int | None]:
        looked = 0
        for _ in space.grow(limit, deadline):
            while looked < len(space.edges):
                if fault(space, looked):
                    return space, looked
                looked += 1
        late = range(looked, len(space.edges))
        return space, next((i for i in late if fault(space, i)), None)

    return with_room(net, search)


def stuck(net: PTNet) -> Callable[[Space, int], bool]:
    """The fault of a marking that is not final, and in which nothing is enabled."""
    packed: dict[int, set[int]] = {}

    def fault(space: Space, number: int) -> bool:
        if space.edges[number]:
            return False
        fields = space.fields
        finals = packed.setdefault(fields.bits, {fields.pack(final) for final in net.finals})
        return space.markings[number] not in finals

    return fault


def crowded(net: PTNet, k: int) -> Callable[[Space, int], bool]:
    """The fault of a marking with more than ``k`` tokens in a place."""
    places = [(p, k + 1) for p in range(len(net.places))]
    lifts: dict[int, int] = {}

    def fault(space: Space, number: int) -> bool:
        fields = space.fields
        if k >= (1 << (fields.bits - 1)) - 1:
            return False
        if fields.bits not in lifts:
            # What lifts a count of k + 1, and no less, into the guard bit.
            lifts[fields.bits] = fields.guard - fields.arcs(tuple(places))
        return bool((space.markings[number] + lifts[fields.bits]) & fields.guard)

    return fault


def grown(
    net: PTNet, *, limit: int, deadline: float
) -> tuple[Space | None, tuple[tuple[int, ...], int] | None]:
    """The whole space; or a run that grows for ever, with how many of its last firings repeat; or neither.

    Karp & Miller, "Parallel program schemata", 1969: a marking that covers an earlier one of its run.

    Args:
        net: The net.
        limit: Most markings to look at.
        deadline: ``time.monotonic()`` value to stop at.
    """

    def search(space: Space) -> tuple[Space | None, tuple[tuple[int, ...], int] | None]:
        for number in space.grow(limit, deadline):
            marking = space.markings[number]
            for before in space.ancestors(number):
                if space.fields.covers(marking, space.markings[before]):
                    path = space.path(number)
                    return None, (path, len(path) - len(space.path(before)))
        return (space if space.complete else None), None

    return with_room(net, search)


@dataclass(slots=True)
class Space:
    """Reachable markings as far as they were looked at, in breadth-first order.

    Attributes:
        net: The net.
        fields: How markings are packed.
        markings: The packed markings by number.
        edges: For each marking looked at, transitions with the numbers of the markings that they lead to.
        parents: Marking and transition by which each was found first; ``-1`` for the initial one.
    """

    net: PTNet
    fields: Fields
    markings: list[int] = field(default_factory=list)
    edges: list[list[tuple[int, int]]] = field(default_factory=list)
    parents: list[tuple[int, int]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every marking was looked at."""
        return len(self.edges) == len(self.markings)

    def grow(self, limit: int, deadline: float) -> Iterator[int]:
        """Explore, and yield the number of each new marking before what follows it is looked at.

        Args:
            limit: Stop at so many markings.
            deadline: ``time.monotonic()`` value to stop at.

        Raises:
            Overflow: A field is too small.
        """
        net, fields, guard = self.net, self.fields, self.fields.guard
        transitions = range(len(net.transitions))
        need = [fields.arcs(net.pre[t]) for t in transitions]
        effect = [fields.arcs(net.effect[t]) for t in transitions]
        near: dict[int, frozenset[int]] = {}
        number = {fields.pack(net.initial): 0}
        self.markings.append(fields.pack(net.initial))
        self.parents.append((-1, -1))
        raised = self.markings[0] | guard
        queue = deque([(0, [t for t in transitions if (raised - need[t]) & guard == guard])])
        words = 32 + fields.bits * len(net.places) // 64
        held = looked = 0
        yield 0
        while queue:
            if held >= looked:
                if held > ROOM or time.monotonic() > deadline:
                    return
                looked = held + CHECKED
            at, enabled = queue.popleft()
            marking = self.markings[at]
            out: list[tuple[int, int]] = []
            fresh: list[int] = []
            for t in enabled:
                after = marking + effect[t]
                if after & guard:
                    raise Overflow
                known = number.get(after)
                if known is None:
                    known = number[after] = len(self.markings)
                    self.markings.append(after)
                    self.parents.append((at, t))
                    touched = near.get(t)
                    if touched is None:
                        changed = (u for p, _ in net.effect[t] for u, _ in net.consumers[p])
                        touched = near[t] = frozenset(changed)
                    # Only what takes from a place that the firing changed is looked at anew.
                    raised = after | guard
                    able = [u for u in enabled if u not in touched]
                    able += [u for u in touched if (raised - need[u]) & guard == guard]
                    queue.append((known, able))
                    held += len(able) + words
                    fresh.append(known)
                out.append((t, known))
            self.edges.append(out)
            held += FIRING * len(out)
            yield from fresh
            if len(self.markings) >= limit:
                return

    def counts(self, number: int) -> Counts:
        """A marking by its number."""
        return self.fields.unpack(self.markings[number], len(self.net.places))

    def path(self, number: int) -> tuple[int, ...]:
        """The firings of a shortest run to a marking."""
        out: list[int] = []
        while number > 0:
            number, t = self.parents[number]
            out.append(t)
        return tuple(reversed(out))

    def ancestors(self, number: int) -> Iterator[int]:
        """The markings on the run to one, last first."""
        while number > 0:
            number, _ = self.parents[number]
            yield number

    def leading_to(self, wanted: set[int]) -> set[int]:
        """The markings from which one of ``wanted`` can be reached, over the firings that are known."""
        back: list[list[int]] = [[] for _ in self.markings]
        for at, out in enumerate(self.edges):
            for _, to in out:
                back[to].append(at)
        seen = set(wanted)
        work = list(wanted)
        while work:
            for before in back[work.pop()]:
                if before not in seen:
                    seen.add(before)
                    work.append(before)
        return seen

"""The plain place/transition net: what every engine of ``provenet.verify.plain`` consumes.

Places and transitions are numbers from 0 on, a marking is a tuple of counts. A net of ``provenet.nets`` is
plain when nothing in it looks at data: then ``plain_net`` gives its integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter

from provenet.nets.errors import ProvenetError
from provenet.nets.formats.graph import incidence
from provenet.nets.net import Net
from provenet.nets.schema import UNIT

Counts = tuple[int, ...]
"""A marking: the number of tokens of each place."""

Arcs = tuple[tuple[int, int], ...]
"""Places with positive weights, by place."""


class NotPlain(ProvenetError):
    """The net has data, resets, capacities or resting places, which no plain place/transition net has."""


@dataclass(frozen=True)
class PTNet:
    """A place/transition net with weights (Murata, "Petri nets: properties, analysis, applications", 1989).

    A read arc is a self-loop: its weight is in ``pre`` and in ``post``.

    Attributes:
        places: Names of the places.
        transitions: Names of the transitions.
        pre: For each transition, what it needs and takes.
        post: For each transition, what it puts.
        initial: The initial marking.
        finals: The declared final markings.
        name: For people.
    """

    places: tuple[str, ...]
    transitions: tuple[str, ...]
    pre: tuple[Arcs, ...]
    post: tuple[Arcs, ...]
    initial: Counts
    finals: tuple[Counts, ...] = ()
    name: str = ""

    @cached_property
    def effect(self) -> tuple[Arcs, ...]:
        """For each transition, the places that it changes, with the change (not zero)."""
        out: list[Arcs] = []
        for taken, put in zip(self.pre, self.post, strict=True):
            change = dict(put)
            for p, w in taken:
                change[p] = change.get(p, 0) - w
            out.append(tuple(sorted((p, d) for p, d in change.items() if d)))
        return tuple(out)

    @cached_property
    def consumers(self) -> tuple[Arcs, ...]:
        """For each place, the transitions that need it, with the weight."""
        return _turned(self.pre, len(self.places))

    @cached_property
    def producers(self) -> tuple[Arcs, ...]:
        """For each place, the transitions that put into it, with the weight."""
        return _turned(self.post, len(self.places))

    def enabled(self, marking: Sequence[int], t: int) -> bool:
        """Whether a transition is enabled."""
        return all(marking[p] >= w for p, w in self.pre[t])

    def fire(self, marking: Sequence[int], t: int) -> Counts:
        """The marking after a firing.

        Raises:
            ValueError: The transition is not enabled.
        """
        if not self.enabled(marking, t):
            raise ValueError(f"transition {self.transitions[t]!r} is not enabled")
        after = list(marking)
        for p, d in self.effect[t]:
            after[p] += d
        return tuple(after)

    def replay(self, firings: Sequence[int]) -> Counts:
        """The marking after a sequence of firings from the initial marking.

        Raises:
            ValueError: A firing is not enabled.
        """
        marking = list(self.initial)
        for t in firings:
            if not self.enabled(marking, t):
                raise ValueError(f"transition {self.transitions[t]!r} is not enabled")
            for p, d in self.effect[t]:
                marking[p] += d
        return tuple(marking)


def listed(names: Sequence[str]) -> str:
    """Names for people: the first six, and how many more there are."""
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def is_plain(net: Net) -> bool:
    """Whether ``plain_net`` can speak of a net."""
    return _why_not_plain(net) is None


def plain_net(net: Net) -> PTNet:
    """The integers of a net without data.

    Raises:
        NotPlain: Something in the net looks at data, resets a place or declares a capacity.
    """
    why = _why_not_plain(net)
    if why is not None:
        raise NotPlain(
            f"net {net.name!r} is no plain place/transition net: {why}", hint="use the whole checker"
        )
    number = {p.name: i for i, p in enumerate(net.places)}
    skeleton = incidence(net)
    pre: list[Arcs] = []
    post: list[Arcs] = []
    for t in net.transitions:
        reads = skeleton.reads[t.name]
        for arcs, out in ((skeleton.takes[t.name], pre), (skeleton.puts[t.name], post)):
            total = dict(arcs)
            for place, weight in reads.items():
                total[place] = total.get(place, 0) + weight
            out.append(tuple(sorted(((number[p], w) for p, w in total.items()), key=itemgetter(0))))
    initial = [0] * len(number)
    for place, tokens in net.initial:
        initial[number[place]] += len(tokens)
    for entry in net.entries:
        initial[number[entry.place]] += 1
    finals: list[Counts] = []
    for final in net.finals:
        counts = [0] * len(number)
        for place, n in final:
            counts[number[place]] += n
        finals.append(tuple(counts))
    return PTNet(
        places=tuple(number),
        transitions=tuple(t.name for t in net.transitions),
        pre=tuple(pre),
        post=tuple(post),
        initial=tuple(initial),
        finals=tuple(finals),
        name=net.name,
    )


def _why_not_plain(net: Net) -> str | None:
    for p in net.places:
        if p.type != UNIT:
            return f"place {p.name!r} holds data"
        if p.capacity is not None:
            return f"place {p.name!r} has a capacity"
    if net.resting:
        return f"tokens may rest in {net.resting[0]!r}"
    for t in net.transitions:
        if t.guard is not None or t.ensures is not None or t.requires is not None:
            return f"transition {t.name!r} has a condition"
        if t.resets:
            return f"transition {t.name!r} resets places"
    return None


def _turned(arcs: Sequence[Arcs], places: int) -> tuple[Arcs, ...]:
    out: list[list[tuple[int, int]]] = [[] for _ in range(places)]
    for t, by_place in enumerate(arcs):
        for p, w in by_place:
            out[p].append((t, w))
    return tuple(map(tuple, out))

"""Where a pattern leaves room for somebody's own part.

A contract or a person's task knows the places that it is built between, and a pattern knows only those: so
contracts, which live above nets, can stand inside patterns, which are nets. A saga scope is spoken of by
what it can do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

from provenet.nets.build import NetBuilder, Part, PlaceRef
from provenet.nets.net import ContractInfo, PatternInfo, Perform, Transition
from provenet.nets.quick import dataclass
from provenet.nets.schema import Value


@dataclass(frozen=True, slots=True)
class Slot:
    """The places that a part is built between.

    Attributes:
        id: A name for the part: unique in the net, and what its transitions should begin with.
        takes: Where its input arrives.
        gives: Where its result goes.
        failed: Where its input goes when it could not do its work.
    """

    id: str
    takes: PlaceRef
    gives: PlaceRef
    failed: PlaceRef


Work: TypeAlias = Callable[[Slot], Part[Any]]
"""Makes a part for a slot, a contract as a rule.

``lambda at: Contract(at.id, takes=at.takes, gives=at.gives, otherwise=at.failed, ...)``.
"""


@dataclass(frozen=True, slots=True)
class Filled:
    """What a part has added to a net.

    Attributes:
        places: Its own places, those of its slot not among them.
        transitions: Its transitions.
        contracts: What it declared of contracts.
        patterns: What it declared of patterns.
        initial: Those of its places that are marked from the start, each with a token that it holds.
    """

    places: tuple[PlaceRef, ...] = ()
    transitions: tuple[Transition, ...] = ()
    contracts: tuple[ContractInfo, ...] = ()
    patterns: tuple[PatternInfo, ...] = ()
    initial: tuple[tuple[PlaceRef, Value], ...] = ()

    @property
    def effects(self) -> tuple[Transition, ...]:
        """The transitions that reach the outside."""
        return tuple(t for t in self.transitions if isinstance(t.trigger, Perform))


def fill(net: NetBuilder, slot: Slot, work: Work) -> Filled:
    """Build a part between the places of a slot."""
    before = net.so_far()
    net.add(work(slot))
    after = net.so_far()
    places = {p.name: PlaceRef(p.name, p.type) for p in after.places[len(before.places) :]}
    marked = [(places[name], token) for name, tokens in after.initial if name in places for token in tokens]
    return Filled(
        tuple(places.values()),
        after.transitions[len(before.transitions) :],
        after.contracts[len(before.contracts) :],
        after.patterns[len(before.patterns) :],
        tuple(marked),
    )


class Scope(Protocol):
    """A saga scope in a net, as ``net.add(Saga(...))`` returns it; see ``provenet.sdb.saga.SagaHandle``."""

    @property
    def id(self) -> str:
        """Its name."""
        ...

    @property
    def open(self) -> PlaceRef:
        """Marked while it is neither ending nor ended."""
        ...

    def abort(
        self,
        net: NetBuilder,
        name: str,
        *,
        takes: PlaceRef | Mapping[str, PlaceRef],
        outcome: Any,
        when: Callable[..., Any] | None = None,
    ) -> Transition:
        """Start to compensate."""
        ...

    def complete(
        self,
        net: NetBuilder,
        name: str,
        *,
        takes: PlaceRef | Mapping[str, PlaceRef],
        outcome: Any,
        when: Callable[..., Any] | None = None,
    ) -> Transition:
        """End it well."""
        ...

    def kill(self, net: NetBuilder, name: str, *, outcome: Any) -> Transition:
        """Let the kill switch abort it."""
        ...

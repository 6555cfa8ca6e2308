"""Which parts of a net belong together in a picture: contracts, saga scopes, human tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from provenet.nets.net import Choice, Net, Role, SagaInfo, Transition

Kind = Literal["contract", "saga", "human"]

_CONTRACT_ROLES = frozenset((
    Role.BEGIN, Role.PROPOSE, Role.FAULT, Role.ACCEPT, Role.REJECT, Role.RETRY, Role.GIVE_UP, Role.INTENT,
    Role.COMMIT, Role.FAIL, Role.UNWIND, Role.COMPENSATE, Role.DISCHARGE,
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Group:
    """A fragment that the folded view draws as one box and the expanded view as one cluster.

    Attributes:
        kind: What it is.
        id: Id of the contract, scope or task.
        transitions: Its transitions, in the net's order.
        interior: Places that only the fragment itself touches.
    """

    kind: Kind
    id: str
    transitions: tuple[Transition, ...]
    interior: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Structure:
    """The groups of a net.

    Attributes:
        groups: In the order of their first transition.
        of_transition: Name of a transition to its group.
        of_place: Name of an interior place to its group.
    """

    groups: tuple[Group, ...]
    of_transition: Mapping[str, Group]
    of_place: Mapping[str, Group]


def structure(net: Net) -> Structure:
    """Find the groups of a net by the contract ids, roles and triggers of its transitions.

    An interior place is found by what the fragment's roles do with it, and counts as one only when no other
    transition touches it (resets aside) and no case starts, ends or rests there. So the names of places do
    not matter, and nothing is hidden by accident.
    """
    members: dict[tuple[Kind, str], list[Transition]] = {}
    sagas = {s.id: s for s in net.sagas}
    contracts = {c.id for c in net.contracts}
    tasks = {t.contract for t in net.transitions if isinstance(t.trigger, Choice) and t.contract}
    for t in net.transitions:
        if t.contract in sagas:
            if t.role in {Role.ABORTED, Role.COMPLETE} or _skips(t, sagas[t.contract]):
                members.setdefault(("saga", t.contract), []).append(t)
        elif t.contract in contracts or (t.contract and t.role in _CONTRACT_ROLES):
            members.setdefault(("contract", t.contract), []).append(t)
        elif t.contract in tasks:
            members.setdefault(("human", t.contract), []).append(t)
        elif isinstance(t.trigger, Choice):
            members.setdefault(("human", t.trigger.task), []).append(t)
    groups = tuple(
        Group(kind, name, tuple(ts), tuple(dict.fromkeys(_interior(net, kind, name, ts))))
        for (kind, name), ts in members.items()
    )
    return Structure(
        groups,
        {t.name: g for g in groups for t in g.transitions},
        {p: g for g in groups for p in g.interior},
    )


def _skips(t: Transition, saga: SagaInfo) -> bool:
    """Whether a transition only moves a scope past a step: it takes and puts back the same state."""
    kept = {a.place for a in t.takes} & {p.place for p in t.puts} & {saga.aborting, saga.completing}
    return t.role in {Role.UNWIND, Role.DISCHARGE} and bool(kept) and len(t.puts) == 1


def _interior(net: Net, kind: Kind, name: str, members: list[Transition]) -> Iterator[str]:
    public = {e.place for e in net.entries} | {p for final in net.finals for p, _ in final} | set(net.resting)
    if kind == "saga":
        info = next(s for s in net.sagas if s.id == name)
        states = [p for p in (info.open, info.aborting, info.completing) if net.has_place(p)]
        yield from states
        for t in members:
            if _skips(t, info):
                yield from (a.place for a in t.takes if a.place not in states and a.place not in public)
        return
    if kind == "human":
        return
    scopes = {p for s in net.sagas for p in (s.open, s.aborting, s.completing)}
    mine = {t.name for t in members}
    for place in _handed_on(members):
        if place in public or place in scopes:
            continue
        touching = {
            t.name
            for t in net.transitions
            if place in {*(a.place for a in t.takes), *(r.place for r in t.reads), *(p.place for p in t.puts)}
        }
        if touching <= mine:
            yield place


def _handed_on(members: list[Transition]) -> Iterator[str]:
    """Places by which the steps of a contract hand on to one another."""
    for t in members:
        match t.role:
            case (
                Role.PROPOSE | Role.FAULT | Role.RETRY | Role.REJECT | Role.ACCEPT | Role.INTENT | Role.UNWIND
            ):
                yield from (p.place for p in t.puts)
            case _:
                pass
        match t.role:
            case Role.PROPOSE | Role.UNWIND | Role.COMPENSATE | Role.DISCHARGE | Role.INTENT:
                yield from (a.place for a in t.takes)
            case _:
                pass


def ordinary_places(net: Net, shape: Structure) -> frozenset[str]:
    """Places of ordinary work: no scope's state, commit in flight, undo token, final or resting place."""
    stays = {p for final in net.finals for p, _ in final} | set(net.resting)
    for group in shape.groups:
        if group.kind == "saga":
            stays |= set(group.interior)
        for t in group.transitions:
            if t.role in {Role.INTENT, Role.UNWIND}:
                stays |= {p.place for p in t.puts}
            if t.role in {Role.UNWIND, Role.DISCHARGE}:
                stays |= {a.place for a in t.takes}
    return frozenset(p.name for p in net.places) - stays

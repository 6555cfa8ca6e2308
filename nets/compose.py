"""Composition: nets are joined by fusing places, as pure functions on immutable nets.

A net is given a prefix of its own, then places of the nets are identified (place fusion; Jensen &
Kristensen, "Coloured Petri Nets", 2009, chapter 5). Transitions, contracts, sagas and requirements come
along; variables in expressions are local to their transition and stay as they are; handlers, events and the
keys that cases are known by keep their names, since they stand for things outside the net.

What a fused place does to the ends of the nets:

* An entry at a fused place is dropped, unless the place is an entry on every side: otherwise another net
  feeds it.
* Nets that share a place form one group and end together: the group's final markings are those of its nets,
  apart from the ones that mark a place which is fused with a place that is in no final marking of its own
  net.
* Groups that share nothing run side by side: a final marking of the whole joins one of each group.

======  ==============================================================================
PN101   two nets have a place, transition, contract or saga of one name
PN104   a place to be fused does not exist
PN120   two places of different types are fused
PN121   places are fused in a circle
PN122   two entries with different conditions are fused
PN123   the joined final markings are too many
PN124   two nets know their cases by keys of one name that are read off different tokens
======  ==============================================================================
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from itertools import product
from typing import Any, TypeVar

from provenet.nets.check import check_net, names_of
from provenet.nets.errors import Mistake, NetError, did_you_mean
from provenet.nets.net import (
    Choice,
    ContractInfo,
    Entry,
    Explain,
    Ignored,
    Net,
    OnFailure,
    PatternInfo,
    Place,
    Requirement,
    SagaInfo,
    Transition,
    Trigger,
)
from provenet.nets.schema import Value

MAX_FINALS = 10_000

# Arguments of requirements that name something outside the net.
_OUTSIDE = frozenset({"effect", "handler", "event", "name", "hint"})

# Arguments of requirements that name places; a place may share its name with a transition or a task.
_PLACES = frozenset({"place", "places"})

# In the text of a formula (see provenet.verify.plain.formula_text): what names transitions, and what may be
# a name.
_FIREABLE = r"""fireable\s*\((?:"(?:[^"\\]|\\.)*"|[^")])*\)"""
_NAME = r""""(?:[^"\\]|\\.)*"|(?<![\w.])[^\W\d][\w.]*"""
_WORDS = frozenset((
    *("A", "E", "X", "F", "G", "U", "R", "W", *(q + p for q in "AE" for p in "XFG")),
    *("and", "or", "not", "implies", "true", "false", "deadlock", "fireable"),
))  # fmt: skip
_COMPARED = re.compile(r"\s*(?!<->)(?:[<>=*+]|!=)")

T = TypeVar("T")
Final = tuple[tuple[str, int], ...]
Rename = Callable[[str], str]


def prefixed(net: Net, prefix: str) -> Net:
    """The net with ``prefix.`` before the name of every place, transition, contract, saga and task.

    In requirements, a text (or each of several) that is exactly one of those names is prefixed too, unless
    it names a handler or an event.

    Args:
        net: The net.
        prefix: The prefix, without the dot; the empty one changes nothing.
    """
    if not prefix:
        return net

    def rename(name: str) -> str:
        return f"{prefix}.{name}"

    known = names_of(net)
    moved = with_places(net, rename)
    return replace(
        moved,
        transitions=tuple(_prefixed_transition(t, rename) for t in moved.transitions),
        contracts=tuple(_prefixed_contract(c, rename) for c in moved.contracts),
        sagas=tuple(_prefixed_saga(s, rename) for s in moved.sagas),
        patterns=tuple(replace(_named(p, rename), id=rename(p.id)) for p in net.patterns),
        requirements=tuple(_renamed_requirement(r, rename, known) for r in net.requirements),
    )


def fuse(*nets: Net, name: str, places: Mapping[str, str] | None = None) -> Net:
    """One net of several, whose places are fused; see the module's docstring for entries and final markings.

    Args:
        *nets: The nets, prefixed so that no two nodes share a name.
        name: Name of the whole.
        places: Place to the place that it becomes: ``{"a.out": "b.in"}`` leaves ``b.in``. Several may
            become one. The place that is left has the tokens of all, the smallest of their capacities, and
            its own label, or the first that there is.

    Raises:
        NetError: With every mistake: clashing names, unknown places, places of different types.
    """
    places = places or {}
    mistakes = _clashes(nets)
    survivor = _survivors(nets, places, mistakes)
    if mistakes:
        raise NetError(name, mistakes)
    members: dict[str, list[Place]] = {}
    for net in nets:
        for p in net.places:
            members.setdefault(survivor(p.name), []).append(p)
    for target, group in members.items():
        own = next(p for p in group if p.name == target)
        mistakes += [
            Mistake(
                "PN120",
                f"place {p.name!r}",
                f"holds {p.type} and is fused with {target!r}, which holds {own.type}",
                "fuse places of one type, or put a transition between them that builds the other's token",
            )
            for p in group
            if p.type != own.type
        ]
    moved = [with_places(net, survivor) for net in nets]
    entries = _fused_entries(nets, survivor, members, mistakes)
    finals = _fused_finals(nets, survivor, members, mistakes)
    if mistakes:
        raise NetError(name, mistakes)
    fused = Net(
        name=name,
        places=tuple(_fused_place(target, group) for target, group in _in_order(nets, members)),
        transitions=tuple(t for net in moved for t in net.transitions),
        entries=entries,
        initial=_fused_tokens(moved),
        finals=finals,
        resting=tuple(dict.fromkeys(p for net in moved for p in net.resting)),
        contracts=tuple(c for net in moved for c in net.contracts),
        sagas=tuple(s for net in moved for s in net.sagas),
        patterns=tuple(p for net in moved for p in net.patterns),
        requirements=tuple(_distinct(_fused_requirements(nets, survivor))),
        ignored=_fused_ignored(moved),
        deliveries=tuple(_distinct(d for net in moved for d in net.deliveries)),
        keys=tuple(
            _distinct(k for net in moved for k in net.keys if any(k.place == e.place for e in entries))
        ),
    )
    if fused.places and (mistakes := list(check_net(fused))):
        raise NetError(name, mistakes)
    return fused


def with_places(net: Net, rename: Rename) -> Net:
    """The net with its places renamed wherever they are named, requirements aside.

    Places that become one stay apart in ``places``: the caller merges them.

    Args:
        net: The net.
        rename: The new name of each place.
    """
    return replace(
        net,
        places=tuple(replace(p, name=rename(p.name)) for p in net.places),
        transitions=tuple(
            replace(
                t,
                takes=tuple(replace(a, place=rename(a.place)) for a in t.takes),
                reads=tuple(replace(a, place=rename(a.place)) for a in t.reads),
                resets=tuple(dict.fromkeys(map(rename, t.resets))),
                puts=tuple(replace(a, place=rename(a.place)) for a in t.puts),
            )
            for t in net.transitions
        ),
        entries=tuple(replace(e, place=rename(e.place)) for e in net.entries),
        initial=tuple((rename(p), tokens) for p, tokens in net.initial),
        finals=tuple(_renamed_final(final, rename) for final in net.finals),
        resting=tuple(dict.fromkeys(map(rename, net.resting))),
        ignored=tuple(replace(i, unless=tuple(dict.fromkeys(map(rename, i.unless)))) for i in net.ignored),
        keys=tuple(replace(k, place=rename(k.place)) for k in net.keys),
        sagas=tuple(
            replace(
                s,
                open=rename(s.open),
                aborting=rename(s.aborting),
                completing=rename(s.completing),
            )
            for s in net.sagas
        ),
        patterns=tuple(_named(p, rename) for p in net.patterns),
    )


def _named(p: PatternInfo, rename: Rename) -> PatternInfo:
    """A pattern whose parts have other names in the net."""
    return replace(p, parts=tuple((part, tuple(map(rename, names))) for part, names in p.parts))


def _renamed_final(final: Final, rename: Rename) -> Final:
    counts: Counter[str] = Counter()
    for place, n in final:
        counts[rename(place)] += n
    return tuple(counts.items())


def moved_requirement(r: Requirement, rename: Rename) -> Requirement:
    """A requirement in which places are renamed, and nothing else that may share their names."""

    def moved(value: Any) -> Any:
        return rename(value) if isinstance(value, str) else tuple(map(rename, value))

    def arg(key: str, value: Any) -> Any:
        if key == "formula":
            return _renamed_formula(value, rename, f"{_FIREABLE}|{_NAME}")
        return moved(value) if key in _PLACES else value

    return replace(r, args=tuple((key, arg(key, v)) for key, v in r.args))


def _renamed_formula(text: str, rename: Rename, pattern: str) -> str:
    """A formula's text with its names renamed: all that the pattern finds, ``fireable(...)`` aside."""

    def moved(found: re.Match[str]) -> str:
        word = found[0]
        quoted = word.startswith('"')
        if not quoted and (word.endswith(")") or (word in _WORDS and not _COMPARED.match(text, found.end()))):
            return word
        name = re.sub(r"\\(.)", r"\1", word[1:-1]) if quoted else word
        new = rename(name)
        return word if new == name else '"' + re.sub(r'(["\\])', r"\\\1", new) + '"'

    return re.sub(pattern, moved, text)


def _renamed_requirement(r: Requirement, rename: Rename, known: AbstractSet[str]) -> Requirement:
    """A requirement in which those texts that are known names of nodes are renamed."""
    return replace(r, args=tuple((key, _renamed_arg(key, value, rename, known)) for key, value in r.args))


def _renamed_arg(key: str, value: Any, rename: Rename, known: AbstractSet[str]) -> Any:
    if key in _OUTSIDE:
        return value
    if key == "formula":
        return _renamed_formula(value, lambda name: rename(name) if name in known else name, _NAME)
    if isinstance(value, str):
        return rename(value) if value in known else value
    if isinstance(value, tuple):
        return tuple(rename(v) if v in known else v for v in value)
    return value


def _prefixed_transition(t: Transition, rename: Rename) -> Transition:
    trigger: Trigger = t.trigger
    match trigger:
        case OnFailure(of):
            trigger = OnFailure(rename(of))
        case Explain(contract):
            trigger = Explain(rename(contract))
        case Choice(task):
            trigger = replace(trigger, task=rename(task))
    contract = rename(t.contract) if t.contract else ""
    return replace(t, name=rename(t.name), contract=contract, trigger=trigger)


def _prefixed_contract(c: ContractInfo, rename: Rename) -> ContractInfo:
    return replace(c, id=rename(c.id), saga=rename(c.saga) if c.saga else "")


def _prefixed_saga(s: SagaInfo, rename: Rename) -> SagaInfo:
    return replace(s, id=rename(s.id))


def _clashes(nets: tuple[Net, ...]) -> list[Mistake]:
    kinds: tuple[tuple[str, Callable[[Net], Iterable[str]]], ...] = (
        ("place", lambda n: (p.name for p in n.places)),
        ("transition", lambda n: (t.name for t in n.transitions)),
        ("contract", lambda n: (c.id for c in n.contracts)),
        ("saga", lambda n: (s.id for s in n.sagas)),
        ("pattern", lambda n: (p.id for p in n.patterns)),
    )
    return [
        Mistake(
            "PN101",
            f"{kind} {name!r}",
            f"{count} of the nets have a {kind} of this name",
            'tell them apart first: prefixed(net, "a")',
        )
        for kind, names in kinds
        for name, count in Counter(n for net in nets for n in set(names(net))).items()
        if count > 1
    ]


def _survivors(nets: tuple[Net, ...], places: Mapping[str, str], mistakes: list[Mistake]) -> Rename:
    """What each place becomes in the end."""
    known = {p.name for net in nets for p in net.places}
    for pair in places.items():
        mistakes += [
            Mistake("PN104", f"fuse {pair[0]!r} -> {pair[1]!r}", f"no place {p!r}", did_you_mean(p, known))
            for p in pair
            if p not in known
        ]
    ends: dict[str, str] = {}
    for start in places:
        at, seen = start, {start}
        while at in places and places[at] != at:
            at = places[at]
            if at in seen:
                mistakes.append(
                    Mistake(
                        "PN121", f"fuse {start!r}", "the fusing goes in a circle", "say which place is left"
                    )
                )
                break
            seen.add(at)
        ends[start] = at
    return lambda name: ends.get(name, name)


def _in_order(nets: tuple[Net, ...], members: dict[str, list[Place]]) -> Iterable[tuple[str, list[Place]]]:
    return ((p.name, members[p.name]) for net in nets for p in net.places if p.name in members)


def _fused_place(target: str, group: list[Place]) -> Place:
    own = next(p for p in group if p.name == target)
    capacities = [p.capacity for p in group if p.capacity is not None]
    label = own.label or next((p.label for p in group if p.label), "")
    labels = tuple(dict.fromkeys(word for p in (own, *group) for word in p.labels))
    return replace(own, capacity=min(capacities, default=None), label=label, labels=labels)


def _fused_tokens(moved: list[Net]) -> tuple[tuple[str, tuple[Value, ...]], ...]:
    tokens: dict[str, tuple[Value, ...]] = {}
    for net in moved:
        for place, values in net.initial:
            tokens[place] = tokens.get(place, ()) + values
    return tuple(tokens.items())


def _fused_entries(
    nets: tuple[Net, ...], survivor: Rename, members: dict[str, list[Place]], mistakes: list[Mistake]
) -> tuple[Entry, ...]:
    found: dict[str, Entry] = {}
    everywhere = {e.place for net in nets for e in net.entries}
    for net in nets:
        for entry in net.entries:
            target = survivor(entry.place)
            if not all(p.name in everywhere for p in members.get(target, ())):
                continue
            kept = found.setdefault(target, Entry(target, entry.where))
            if kept.where != entry.where:
                mistakes.append(
                    Mistake(
                        "PN122",
                        f"entry {entry.place!r}",
                        f"its condition differs from that of the entry {target!r} that it is fused with",
                        "state one condition for both",
                    )
                )
    return tuple(found.values())


def _fused_finals(
    nets: tuple[Net, ...], survivor: Rename, members: dict[str, list[Place]], mistakes: list[Mistake]
) -> tuple[Final, ...]:
    ending = {p for net in nets for final in net.finals for p, _ in final}
    groups: list[list[Final]] = []
    for group in _groups(nets, survivor):
        kept = [
            _renamed_final(final, survivor)
            for net in group
            for final in net.finals
            if all(m.name in ending for p, _ in final for m in members.get(survivor(p), ()))
        ]
        if kept:
            groups.append(list(dict.fromkeys(kept)))
    total = 1
    for finals in groups:
        total *= len(finals)
    if total > MAX_FINALS:
        mistakes.append(
            Mistake(
                "PN123",
                "final markings",
                f"{total:,} combinations",
                f"join fewer nets at once; the limit is {MAX_FINALS:,}",
            )
        )
        return ()
    if not groups:
        return ()
    return tuple(tuple(pair for final in choice for pair in final) for choice in product(*groups))


def _groups(nets: tuple[Net, ...], survivor: Rename) -> list[list[Net]]:
    """Nets that share a place, directly or through others."""
    groups: list[tuple[set[str], list[Net]]] = []
    for net in nets:
        here = {survivor(p.name) for p in net.places}
        together: list[Net] = []
        apart = []
        for places, members in groups:
            if places & here:
                here |= places
                together += members
            else:
                apart.append((places, members))
        groups = [*apart, (here, [*together, net])]
    return [members for _, members in groups]


def _fused_ignored(moved: list[Net]) -> tuple[Ignored, ...]:
    """What the nets ignore; an event of several nets is ignored where every one of them ignores it."""
    found: dict[str, list[str]] = {}
    for net in moved:
        for i in net.ignored:
            found.setdefault(i.event, []).extend(i.unless)
    return tuple(Ignored(event, tuple(dict.fromkeys(unless))) for event, unless in found.items())


def _fused_requirements(nets: tuple[Net, ...], survivor: Rename) -> Iterable[Requirement]:
    for net in nets:
        yield from (moved_requirement(r, survivor) for r in net.requirements)


def _distinct(parts: Iterable[T]) -> Iterable[T]:
    seen: list[T] = []
    for part in parts:
        if part not in seen:
            seen.append(part)
    return seen

"""Where the tokens of one net version go in another: a marking map, as people write it and as it is applied.

::

    {"places": {"review": "second look",
                "scored": {"to": "rated", "value": "Rating{customer: it.customer, grade: 0}"},
                "notes": null},
     "add": {"budget": [100]},
     "transitions": {"approve offer": "approve"}}

A place that is not named keeps its name and its type. ``value`` is an expression of our language over the
token, ``it``; ``null`` lets tokens go; ``add`` puts tokens that the old net had no place for. ``transitions``
says which transition of the new net a renamed one of the old is: it tells whether a case's history is one of
the new net.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provenet.engine.case import LiveCase
from provenet.engine.codec import quote
from provenet.engine.errors import MigrationRefused
from provenet.engine.program import Program
from provenet.nets.errors import ProvenetError, did_you_mean
from provenet.nets.expr.evaluate import Compiled, compile_expr
from provenet.nets.expr.parse import parse
from provenet.nets.expr.typing import assignable, type_of
from provenet.nets.flow import spilled
from provenet.nets.marking import Marking
from provenet.nets.net import Net
from provenet.nets.schema import ListType, OptionalType, RecordType, Type, Value, check, from_json
from provenet.nets.secrets import is_personal


@dataclass(frozen=True, slots=True)
class MarkingMap:
    """A marking map, not held against any net yet.

    Attributes:
        places: For a place of the old net: the place of the new one, ``None`` to let its tokens go; and the
            expression that converts them, empty for none.
        add: Tokens to add, as JSON data, by place of the new net.
        transitions: Renamed transitions.
    """

    places: Mapping[str, tuple[str | None, str]] = field(default_factory=dict)
    add: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    transitions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, data: Any, where: str = "") -> MarkingMap:
        """A map from JSON data.

        Raises:
            MigrationRefused: It has another form.
        """
        hint = 'a map is {"places": {OLD: NEW, OLD: {"to": NEW, "value": EXPRESSION}}, "add": ..., ...}'

        def refused(what: str) -> MigrationRefused:
            return MigrationRefused(f"the map {what}", where=where, hint=hint)

        if not isinstance(data, dict) or not all(isinstance(v, dict) for v in data.values()):
            raise refused("is no object of objects")
        unknown = [k for k in data if k not in {"places", "add", "transitions"}]
        if unknown:
            raise refused(f"has a part {unknown[0]!r}, which there is not")
        places: dict[str, tuple[str | None, str]] = {}
        for old, to in data.get("places", {}).items():
            match to:
                case None | str():
                    places[old] = to, ""
                case {"to": str(new), "value": str(text)} if len(to) == 2:
                    places[old] = new, text
                case {"to": str(new)} if len(to) == 1:
                    places[old] = new, ""
                case _:
                    raise refused(f"sends place {old!r} to something that is no place")
        add = {}
        for place, tokens in data.get("add", {}).items():
            if not isinstance(tokens, list):
                raise refused(f"adds to {place!r} what is no list of tokens")
            add[place] = tuple(tokens)
        transitions = data.get("transitions", {})
        if not all(isinstance(v, str) for v in transitions.values()):
            raise refused("sends a transition to what is no name")
        return cls(places, add, dict(transitions))

    @classmethod
    def read(cls, path: str | Path) -> MarkingMap:
        """A map from a file: YAML where its name says so, JSON otherwise.

        Raises:
            MigrationRefused: It cannot be read, or has another form.
        """
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
            data = _yaml(text) if path.suffix.lower() in {".yaml", ".yml"} else json.loads(text)
        except (OSError, ValueError, RecursionError) as error:
            said = error.strerror if isinstance(error, OSError) else str(error)
            raise MigrationRefused(
                f"the map cannot be read: {said}", where=str(path), hint="name a JSON or YAML file"
            ) from error
        return cls.of(data, str(path))

    def to_json(self) -> dict[str, Any]:
        """The map as JSON data, as ``of`` takes it."""
        places = {
            old: {"to": new, "value": text} if text else new for old, (new, text) in self.places.items()
        }
        whole = {
            "places": places,
            "add": {place: list(tokens) for place, tokens in self.add.items()},
            "transitions": dict(self.transitions),
        }
        return {name: part for name, part in whole.items() if part}


class Unmapped(ProvenetError):
    """A token has nowhere to go, or does not fit where it would go."""


@dataclass(frozen=True, slots=True)
class Way:
    """Where the tokens of a place go: a place, ``None`` for nowhere; and what converts them."""

    to: str | None
    convert: Compiled | None


class BoundMap:
    """A map held against the nets that it leads from and to.

    Args:
        plan: The map.
        old: The net that cases are on.
        new: The net that they go to.

    Raises:
        MigrationRefused: It names what there is not, or does not type-check.
    """

    def __init__(self, plan: MarkingMap, old: Net, new: Net) -> None:
        self.plan, self.old, self.new = plan, old, new
        self._types: dict[str, Type] = {p.name: p.type for p in new.places}
        self._before: dict[str, Type] = {p.name: p.type for p in old.places}
        records = _records([*self._types.values(), *self._before.values()])
        for name in plan.places:
            self._known(name, self._before, old, "place")
        self._ways: dict[str, Way] = {}
        for name, of in self._before.items():
            to, text = plan.places.get(name, (name, ""))
            if to is None or name in plan.places:
                self._ways[name] = self._way(name, of, to, text, records)
            elif self._types.get(name) == of:
                self._ways[name] = Way(name, None)
        self.added: dict[str, tuple[Value, ...]] = {}
        for place, tokens in plan.add.items():
            self._known(place, self._types, new, "place")
            if is_personal(self._types[place]):
                raise MigrationRefused(
                    f"the map adds tokens to {place!r}, which have personal fields",
                    hint="a map is kept as it is in every log: such values cannot come from it",
                )
            try:
                self.added[place] = tuple(from_json(t, self._types[place], place) for t in tokens)
            except ProvenetError as error:
                raise MigrationRefused(f"an added token does not fit: {error.message}") from None
        for before, after in plan.transitions.items():
            self._known(before, {t.name for t in old.transitions}, old, "transition")
            self._known(after, {t.name for t in new.transitions}, new, "transition")

    def place(self, place: str) -> str | None:
        """Where the tokens of a place go; ``None`` where nowhere."""
        return self._ways[place].to if place in self._ways else None

    def transition(self, name: str) -> str:
        """The transition of the new net that one of the old became."""
        return self.plan.transitions.get(name, name)

    def token(self, place: str, value: Value) -> tuple[str, Value] | None:
        """Where a token goes, and as what; ``None`` where it is let go.

        Raises:
            Unmapped: It has nowhere to go, or does not fit there.
        """
        way = self._ways.get(place)
        if way is None:
            why = (
                f"its type {self._before[place]} is {self._types[place]} there"
                if place in self._types
                else "the new net has no such place"
            )
            raise Unmapped(f"place {place!r} is not mapped, and {why}")
        if way.to is None:
            return None
        try:
            made = value if way.convert is None else way.convert({"it": value})
            check(made, self._types[way.to], way.to)
        except (ProvenetError, ValueError, TypeError, ArithmeticError) as error:
            said = error.message if isinstance(error, ProvenetError) else str(error)
            raise Unmapped(f"a token of {place!r} does not fit {way.to!r}: {said}") from None
        return way.to, made

    def _way(self, name: str, of: Type, to: str | None, text: str, records: Mapping[str, RecordType]) -> Way:
        if to is None:
            return Way(None, None)
        self._known(to, self._types, self.new, "place")
        wanted = self._types[to]
        if not text:
            if of != wanted:
                raise MigrationRefused(
                    f"tokens of {name!r} are {of}, those of {to!r} are {wanted}",
                    where=f"map of {name!r}",
                    hint='say how they are converted: {"to": ..., "value": "an expression over it"}',
                )
            return Way(to, None)
        try:
            expr = parse(text, {"it": of}, records, like=wanted)
            found = type_of(expr, {"it": of})
            compiled = compile_expr(expr, {"it": of})
        except ProvenetError as error:
            raise MigrationRefused(error.message, where=f"map of {name!r}", hint=error.hint) from None
        if not assignable(found, wanted):
            raise MigrationRefused(
                f"the expression gives {found}, tokens of {to!r} are {wanted}", where=f"map of {name!r}"
            )
        lost = next(iter(spilled(expr, {"it": of}, wanted)), None)
        if lost is not None:
            raise MigrationRefused(
                f"personal field {lost!r} would be stored in clear in {to!r}",
                where=f"map of {name!r}",
                hint="mark the field that it goes to, or leave it out",
            )
        return Way(to, compiled)

    def _known(self, name: str, names: Any, net: Net, what: str) -> None:
        if name not in names:
            raise MigrationRefused(
                f"net {net.name!r} has no {what} {name!r}", where="the map", hint=did_you_mean(name, names)
            )


@dataclass(frozen=True, slots=True)
class Moved:
    """What moving a case does to its tokens.

    Attributes:
        changed: Tokens that lie elsewhere or have another value: id, place, value, canonical text.
        gone: Tokens that are let go.
        added: New tokens: id, place, value, canonical text.
        marking: The marking afterwards.
        ids: The tokens' ids by place, in the marking's order.
        next_token: The next token's id.
    """

    changed: tuple[tuple[int, str, Value, str], ...]
    gone: tuple[int, ...]
    added: tuple[tuple[int, str, Value, str], ...]
    marking: Marking
    ids: dict[str, list[int]]
    next_token: int

    def data(self, old: str, new: str, plan: MarkingMap, evidence: str) -> str:
        """What the log says of it."""
        parts = [f'"from":{quote(old)}', f'"to":{quote(new)}', f'"map":{_text(plan.to_json())}']
        parts.append(f'"reached":{quote(evidence)}')
        parts.append(f'"moved":[{",".join(f"[{t},{quote(p)},{text}]" for t, p, _, text in self.changed)}]')
        if self.gone:
            parts.append(f'"gone":[{",".join(map(str, self.gone))}]')
        if self.added:
            parts.append(f'"put":[{",".join(f"[{t},{quote(p)},{text}]" for t, p, _, text in self.added)}]')
        return "{" + ",".join(parts) + "}"


def moved(case: LiveCase, bound: BoundMap, new: Program) -> Moved:
    """Where a case's tokens go; nothing is changed.

    Tokens keep their ids, and with them when they arrived and their effects' keys.

    Raises:
        Unmapped: A token has nowhere to go, does not fit there, or there are too many.
    """
    tokens: list[tuple[int, str, Value]] = []
    changed: list[tuple[int, str, Value, str]] = []
    gone: list[int] = []
    here = sorted(
        (token, place, value)
        for place, values in case.marking.items()
        for token, value in zip(case.ids[place], values, strict=True)
    )
    for token, place, value in here:
        to = bound.token(place, value)
        if to is None:
            gone.append(token)
            continue
        tokens.append((token, *to))
        text = case.encoder(new.types[to[0]])(to[1])
        if to[0] != place or text != case.encoder_at(place)(value):
            changed.append((token, *to, text))
    added: list[tuple[int, str, Value, str]] = []
    next_token = case.next_token
    for place, values in sorted(bound.added.items()):
        for value in values:
            added.append((next_token, place, value, case.encoder(new.types[place])(value)))
            tokens.append((next_token, place, value))
            next_token += 1
    ids: dict[str, list[int]] = {}
    marking: dict[str, tuple[Value, ...]] = {}
    for token, place, value in tokens:
        ids.setdefault(place, []).append(token)
        marking[place] = (*marking.get(place, ()), value)
    for place, values in marking.items():
        capacity = new.net.place(place).capacity
        if capacity is not None and len(values) > capacity:
            raise Unmapped(f"place {place!r} would hold {len(values)} tokens, its capacity is {capacity}")
    return Moved(tuple(changed), tuple(gone), tuple(added), Marking(marking), ids, next_token)


def apply(case: LiveCase, found: Moved, new: Program, at: int) -> None:
    """Let a case be on the other net, with its tokens where they go; what waited for them is forgotten."""
    case.program = new
    case.marking, case.ids, case.next_token = found.marking, found.ids, found.next_token
    for token in found.gone:
        del case.arrived[token]
    for token, *_ in found.added:
        case.arrived[token] = at


def _text(data: Any) -> str:
    """JSON data as canonical text; the order of a map's places means nothing."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"this is no YAML: {error}") from None


def _records(types: Sequence[Type]) -> dict[str, RecordType]:
    """The records that tokens are made of, by name; a name that two records share is nobody's."""
    found: dict[str, set[RecordType]] = {}
    work = list(types)
    seen: set[Type] = set()
    while work:
        of = work.pop()
        if of in seen:
            continue
        seen.add(of)
        match of:
            case RecordType(name, fields):
                found.setdefault(name, set()).add(of)
                work += [f.type for f in fields]
            case ListType(item) | OptionalType(item):
                work.append(item)
    return {name: next(iter(all_of)) for name, all_of in found.items() if len(all_of) == 1}

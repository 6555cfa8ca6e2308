"""Canonical JSON: the file form of a net, and its content hash.

A net file is data: loading one runs no code, and everything about it is limited, so a file from a stranger
is safe to load. Its layout is published as a JSON Schema (``net.schema.json`` beside this module, written
by ``provenet.nets.formats.json_schema``). Expressions are text of the expression language.
``loads(dumps(net)) == net`` for every net whose expressions are in normal form
(``provenet.nets.expr.normal``).

**The content hash** is the SHA-256 of the canonical text: keys sorted, no spaces, ASCII, fields that have
their default left out, numbers in one form. Everything counts, labels and the order of places and
transitions too, except ``Transition.source``, which says where a transition was written. Equal nets have
equal hashes, in every process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from provenet.nets.check import check_net
from provenet.nets.errors import ExprError, FormatError, NetError, TypeMismatch, did_you_mean
from provenet.nets.expr.ast import Const, Expr, OneOf, children, with_children
from provenet.nets.expr.parse import parse
from provenet.nets.expr.show import show
from provenet.nets.formats.json_text import canonical_text, parse_json, pretty_text
from provenet.nets.formats.limits import MAX_TOKENS, MAX_WEIGHT, Mistakes, read_bytes
from provenet.nets.formats.shapes import TRIGGERS, Shape, parts_of, trigger_kind
from provenet.nets.formats.typetable import TypeReader, TypeWriter, canonical, has_keys
from provenet.nets.net import CaseKey, ContractInfo, Entry, Net, OnFailure, Put, Read, Take, Transition
from provenet.nets.schema import (
    BOOL,
    UNIT,
    UNIT_VALUE,
    Type,
    Value,
    check,
    from_json,
    microseconds,
    shorten,
    to_json,
)

FORMAT = "provenet-net/1"
MAX_BYTES = 10 * 1024 * 1024
MAX_DEPTH = 64
MAX_NODES = 200_000
"""Most places, and most transitions."""
MAX_NUMBER = 10**9
"""Largest count, such as a capacity."""


def net_to_json(net: Net) -> dict[str, Any]:
    """A net as JSON data, in the layout of ``net.schema.json``; keys in reading order."""
    return _Writer().net(net)


def dumps(net: Net) -> str:
    """A net as its canonical text: what the content hash is taken of."""
    return canonical_text(net_to_json(net))


def pretty(net: Net) -> str:
    """A net as text for a file that people read and compare; ``loads`` reads it, too."""
    return pretty_text(net_to_json(net))


def content_hash(net: Net) -> str:
    """SHA-256 of the canonical text, in hexadecimal; see the module's docstring for what counts."""
    return hashlib.sha256(dumps(net).encode("ascii")).hexdigest()


def short_hash(net: Net) -> str:
    """The first eight digits of the content hash, for people."""
    return content_hash(net)[:8]


def loads(text: str | bytes, *, max_bytes: int = MAX_BYTES, source: str = "net") -> Net:
    """A net from JSON text.

    Args:
        text: The text.
        max_bytes: Refuse a longer one.
        source: Name of the text, for error messages.

    Raises:
        FormatError: The text is not a net in this format or exceeds a limit; with the JSON path of each
            mistake.
        NetError: It is, but the net has mistakes.
    """
    data = parse_json(text, max_bytes=max_bytes, max_depth=MAX_DEPTH, source=source)
    return net_from_json(data, source=source)


def net_from_json(data: Any, *, source: str = "net") -> Net:
    """A net from JSON data; see ``loads``.

    Raises:
        FormatError: The data is not a net in this format.
        NetError: It is, but the net has mistakes.
    """
    net = _Reader(source).net(data)
    mistakes = check_net(net)
    if mistakes:
        raise NetError(net.name, mistakes)
    return net


def read_net(path: str | Path, *, max_bytes: int = MAX_BYTES) -> Net:
    """A net from a JSON file; see ``loads``."""
    path = Path(path)
    return loads(read_bytes(path, max_bytes), max_bytes=max_bytes, source=path.name)


def write_net(net: Net, path: str | Path) -> None:
    """Write a net to a JSON file, in the form that people read."""
    Path(path).write_text(pretty(net), encoding="utf-8")


class _Writer:
    def __init__(self) -> None:
        self._types = TypeWriter()
        self._net = Net("")

    def net(self, net: Net) -> dict[str, Any]:
        self._net = net
        body = self._object(net)
        head = {"format": FORMAT, "name": body.pop("name")}
        if self._types.table:
            head["types"] = self._types.table
        return {**head, **body}

    def _object(self, part: object) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for p in parts_of(type(part)):
            value = getattr(part, p.name)
            if p.required or value != p.default:
                out[p.name] = self._dump(p.shape, value)
        return out

    def _dump(self, shape: Shape, value: Any) -> Any:
        if value is None and shape.null:
            return None
        match shape.kind:
            case "text" | "int" | "flag":
                return value
            case "word":
                return getattr(value, "value", value)
            case "span":
                return microseconds(value)
            case "type":
                return self._types.write(value)
            case "expr":
                return self._expr(value)
            case "trigger":
                return {"kind": trigger_kind(type(value)), **self._object(value)}
            case "object":
                return self._object(value)
            case "array":
                if shape.parts[0].kind == "pair" and shape.parts[0].parts[-1].kind == "tokens":
                    return [[place, self._tokens(place, tokens)] for place, tokens in value]
                return [self._dump(shape.parts[0], v) for v in value]
            case "pair":
                return [self._dump(s, v) for s, v in zip(shape.parts, value, strict=True)]
            case "args":
                return [self._arg(name, arg) for name, arg in value]
        raise AssertionError(shape)

    def _tokens(self, place: str, tokens: tuple[Value, ...]) -> Any:
        of = self._net.place(place).type
        if of == UNIT:
            return len(tokens)
        return [to_json(canonical(v, of), of) for v in tokens]

    def _expr(self, expr: Expr) -> str:
        return show(self._types.rewrite(expr))

    def _arg(self, name: str, arg: Any) -> dict[str, Any]:
        if isinstance(arg, str):
            return {"name": name, "text": arg}
        if isinstance(arg, bool | int):
            return {"name": name, "int": int(arg)}
        if isinstance(arg, tuple):
            return {"name": name, "texts": list(arg)}
        text = self._expr(arg)
        out: dict[str, Any] = {"name": name, "expr": text}
        literals = self._literals(self._types.rewrite(arg), arg, text)
        if literals:
            out["literals"] = literals
        return out

    def _literals(self, rewritten: Expr, expr: Expr, text: str) -> list[Any]:
        """Types of literals that the text does not tell: a property's variables have no declared types."""
        try:
            plain = parse(text, types=self._types.printed)
        except ExprError:
            return []
        written, read, true = _constants(rewritten), _constants(plain), _constants(expr)
        if len(written) != len(read):
            return []
        return [
            [i, self._types.write(t.type)]
            for i, (w, r, t) in enumerate(zip(written, read, true, strict=True))
            if w.type != r.type and w.value == r.value
        ]


@dataclass(slots=True)
class _Context:
    """What an expression at this place of the file may read, and what its value should be."""

    scope: Mapping[str, Type] | None = None
    like: Type | None = None
    types: dict[str, Type] = field(default_factory=dict)


class _Bad(Exception):
    """A part has a mistake; it has been collected."""


class _Reader:
    def __init__(self, source: str) -> None:
        self._wrong = Mistakes(source)
        self._at = _Context()
        self._types = TypeReader({}, self._wrong)

    def net(self, data: Any) -> Net:
        wrong = self._wrong
        keys = {p.name for p in parts_of(Net)} - {"name"}
        if not isinstance(data, dict):
            wrong.add("$", f"expected an object, got {shorten(data)}")
        elif data.get("format") != FORMAT:
            wrong.add(
                "$.format",
                f"expected {FORMAT!r}, got {shorten(data.get('format'))}",
                "this version reads no other",
            )
        elif has_keys(data, "$", {"format", "name"}, {"$schema", "types"} | keys, wrong):
            if not isinstance(data.get("$schema", ""), str):
                wrong.add("$.$schema", "expected a text")
            for key in ("places", "transitions"):
                if isinstance(data.get(key), list) and len(data[key]) > MAX_NODES:
                    wrong.add(f"$.{key}", f"{len(data[key]):,} of them", f"at most {MAX_NODES:,}")
        wrong.raise_if_any()
        self._types = TypeReader(data.get("types", {}), wrong)
        wrong.raise_if_any()
        body = {key: value for key, value in data.items() if key not in ("format", "$schema", "types")}
        # Places first: what expressions may read follows from them, and mistakes in them would only repeat
        # themselves.
        try:
            places = self._load(_part(Net, "places"), body.get("places", []), "$.places")
            self._at.types = {p.name: p.type for p in places}
            net = self._object(Net, body, "$")
        except _Bad:
            wrong.raise_if_any()
            raise AssertionError from None
        wrong.raise_if_any()
        assert isinstance(net, Net)
        self._references(net)
        wrong.raise_if_any()
        return net

    def _object(self, cls: type, data: Any, path: str) -> Any:
        parts = parts_of(cls)
        required = {p.name for p in parts if p.required}
        if not has_keys(data, path, required, {p.name for p in parts} - required, self._wrong):
            raise _Bad
        outer = self._at
        loaded: dict[str, Any] = {}
        failed = False
        for p in sorted(parts, key=lambda p: (cls, p.name) not in _FIRST):
            if p.name not in data:
                loaded[p.name] = p.default
                continue
            try:
                if cls in _SCOPES:
                    self._at = self._context(cls, p.name, loaded, outer)
                loaded[p.name] = self._load(p.shape, data[p.name], f"{path}.{p.name}")
            except _Bad:
                if (cls, p.name) in _FIRST:
                    raise
                failed = True
            finally:
                self._at = outer
        if failed:
            raise _Bad
        made = cls(**loaded)
        if isinstance(made, Take | Read | Put):
            if made.place not in self._at.types:
                self._unknown_place(f"{path}.place", made.place)
                raise _Bad
            if not 1 <= made.weight <= MAX_WEIGHT:
                self._no(f"{path}.weight", f"is {made.weight}", f"a weight is from 1 to {MAX_WEIGHT:,}")
        return made

    def _context(self, cls: type, name: str, loaded: dict[str, Any], outer: _Context) -> _Context:
        """The context of one field, given the fields that were loaded before it."""
        types, like = outer.types, None
        if cls is Transition:
            scope = {
                a.var: types[a.place] for a in (*loaded.get("takes", ()), *loaded.get("reads", ())) if a.var
            }
            if name not in ("guard", "trigger"):
                scope |= {f.var: f.type for f in loaded.get("fresh", ())}
            like = BOOL if name in ("guard", "ensures", "requires") else None
            return _Context(scope, like, types)
        if cls is Put:
            return _Context(outer.scope, types.get(loaded.get("place", "")), types)
        if cls is Entry:
            place = loaded.get("place", "")
            return _Context({"it": types[place]} if place in types else None, BOOL, types)
        if cls is CaseKey:
            place = loaded.get("place", "")
            return _Context({"it": types[place]} if place in types else None, None, types)
        if cls is ContractInfo:
            return _Context(
                {key: loaded[key] for key in ("proposal", "inputs") if key in loaded}, BOOL, types
            )
        return outer

    def _load(self, shape: Shape, data: Any, path: str) -> Any:
        if data is None and shape.null:
            return None
        match shape.kind:
            case "text":
                if isinstance(data, str):
                    return data
                raise self._no(path, f"expected a text, got {shorten(data)}")
            case "int":
                if isinstance(data, int) and not isinstance(data, bool) and abs(data) <= MAX_NUMBER:
                    return data
                raise self._no(path, f"expected a whole number up to {MAX_NUMBER:,}, got {shorten(data)}")
            case "flag":
                if isinstance(data, bool):
                    return data
                raise self._no(path, f"expected true or false, got {shorten(data)}")
            case "word":
                if isinstance(data, str) and data in shape.words:
                    return data if shape.of is None else shape.of(data)
                raise self._no(
                    path, f"no such word: {shorten(data)}", did_you_mean(str(data)[:40], shape.words)
                )
            case "span":
                if isinstance(data, int) and not isinstance(data, bool) and abs(data) < 10**17:
                    return timedelta(microseconds=data)
                raise self._no(path, f"expected a number of microseconds, got {shorten(data)}")
            case "type":
                found = self._types.read(data, path)
                if found is None:
                    raise _Bad
                return found
            case "expr":
                return self._expr(data, path)
            case "trigger":
                return self._trigger(data, path)
            case "object":
                assert shape.of is not None
                return self._object(shape.of, data, path)
            case "array":
                return self._array(shape.parts[0], data, path)
            case "pair":
                return self._pair(shape, data, path)
            case "args":
                return self._args(data, path)
        raise AssertionError(shape)

    def _array(self, shape: Shape, data: Any, path: str) -> tuple[Any, ...]:
        if not isinstance(data, list):
            raise self._no(path, f"expected an array, got {shorten(data)}")
        out = []
        for i, element in enumerate(data):
            try:
                out.append(self._load(shape, element, f"{path}[{i}]"))
            except _Bad:
                continue
        if len(out) < len(data):
            raise _Bad
        return tuple(out)

    def _pair(self, shape: Shape, data: Any, path: str) -> tuple[Any, ...]:
        if not isinstance(data, list) or len(data) != len(shape.parts):
            raise self._no(path, f"expected an array of {len(shape.parts)}, got {shorten(data)}")
        if shape.parts[-1].kind == "tokens":
            place = self._load(shape.parts[0], data[0], f"{path}[0]")
            return place, self._tokens(place, data[1], path)
        return tuple(
            self._load(s, d, f"{path}[{i}]") for i, (s, d) in enumerate(zip(shape.parts, data, strict=True))
        )

    def _tokens(self, place: str, data: Any, path: str) -> tuple[Value, ...]:
        if place not in self._at.types:
            raise self._unknown_place(f"{path}[0]", place)
        of = self._at.types[place]
        if of == UNIT:
            if isinstance(data, int) and not isinstance(data, bool) and 0 <= data <= MAX_TOKENS:
                return (UNIT_VALUE,) * data
            raise self._no(
                f"{path}[1]", f"expected a number of tokens up to {MAX_TOKENS:,}, got {shorten(data)}"
            )
        if not isinstance(data, list):
            raise self._no(f"{path}[1]", f"expected an array of tokens, got {shorten(data)}")
        try:
            return tuple(from_json(v, of, f"{path}[1][{i}]") for i, v in enumerate(data))
        except TypeMismatch as error:
            raise self._no(error.field, f"expected {error.expected}, got {error.got}") from None
        except (OverflowError, ValueError) as error:
            raise self._no(f"{path}[1]", f"a token is out of range: {error}") from None

    def _expr(self, data: Any, path: str) -> Expr:
        if not isinstance(data, str):
            raise self._no(path, f"expected the text of an expression, got {shorten(data)}")
        try:
            return parse(data, self._at.scope, self._types.records, like=self._at.like)
        except ExprError as error:
            raise self._no(
                path, f"{error.where}: {error.message}" if error.where else error.message, error.hint
            ) from None

    def _trigger(self, data: Any, path: str) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("kind"), str):
            raise self._no(
                path, f"expected an object with a kind, got {shorten(data)}", f"kinds: {', '.join(TRIGGERS)}"
            )
        cls = TRIGGERS.get(data["kind"])
        if cls is None:
            raise self._no(
                f"{path}.kind",
                f"no such trigger: {shorten(data['kind'])}",
                did_you_mean(data["kind"][:40], TRIGGERS),
            )
        return self._object(cls, {key: value for key, value in data.items() if key != "kind"}, path)

    def _args(self, data: Any, path: str) -> Any:
        if not isinstance(data, list):
            raise self._no(path, f"expected an array, got {shorten(data)}")
        return tuple(self._arg(part, f"{path}[{i}]") for i, part in enumerate(data))

    def _arg(self, data: Any, path: str) -> tuple[str, Any]:
        if not has_keys(data, path, {"name"}, {"text", "int", "texts", "expr", "literals"}, self._wrong):
            raise _Bad
        kinds = [key for key in ("text", "int", "texts", "expr") if key in data]
        if len(kinds) != 1 or ("literals" in data and kinds != ["expr"]):
            raise self._no(path, "expected exactly one of text, int, texts, expr")
        name = self._load(Shape("text"), data["name"], f"{path}.name")
        (kind,) = kinds
        here = f"{path}.{kind}"
        if kind == "texts":
            return name, self._array(Shape("text"), data[kind], here)
        if kind != "expr":
            return name, self._load(Shape("text" if kind == "text" else "int"), data[kind], here)
        expr = self._expr(data[kind], here)
        return name, self._retyped(expr, data.get("literals", []), f"{path}.literals")

    def _retyped(self, expr: Expr, data: Any, path: str) -> Expr:
        """The expression with the literals' types that its text does not tell."""
        pairs = self._array(Shape("pair", parts=(Shape("int"), Shape("type"))), data, path)
        constants = _constants(expr)
        new: dict[int, Const] = {}
        for i, of in pairs:
            if not 0 <= i < len(constants):
                raise self._no(path, f"there is no literal {i}")
            value = constants[i].value
            try:
                check(value, of)
            except TypeMismatch as error:
                raise self._no(path, f"literal {i}: {error.message}") from None
            new[i] = Const(value, of)
        return _with_constants(expr, iter(range(len(constants))), new) if new else expr

    def _references(self, net: Net) -> None:
        """Names that lead nowhere: found here in linear time, before ``check_net`` seeks a match for each."""
        named = [(f"$.transitions[{i}].resets", p) for i, t in enumerate(net.transitions) for p in t.resets]
        named += [(f"$.entries[{i}].place", e.place) for i, e in enumerate(net.entries)]
        named += [(f"$.finals[{i}]", p) for i, final in enumerate(net.finals) for p, _ in final]
        named += [("$.resting", p) for p in net.resting]
        named += [(f"$.keys[{i}].place", k.place) for i, k in enumerate(net.keys)]
        named += [(f"$.ignored[{i}].unless", p) for i, part in enumerate(net.ignored) for p in part.unless]
        for i, s in enumerate(net.sagas):
            named += [(f"$.sagas[{i}].{key}", getattr(s, key)) for key in ("open", "aborting", "completing")]
        for path, place in named:
            if not net.has_place(place):
                self._unknown_place(path, place)
        if sum(len(tokens) for _, tokens in net.initial) > MAX_TOKENS:
            self._no("$.initial", f"more than {MAX_TOKENS:,} tokens in all")
        for i, t in enumerate(net.transitions):
            if isinstance(t.trigger, OnFailure) and not net.has_transition(t.trigger.of):
                self._no(f"$.transitions[{i}].trigger.of", f"no transition is called {shorten(t.trigger.of)}")

    def _unknown_place(self, path: str, place: str) -> _Bad:
        near = self._wrong.wants_more and len(self._at.types) < 2_000
        return self._no(
            path,
            f"no place is called {shorten(place)}",
            did_you_mean(place[:80], self._at.types) if near else "",
        )

    def _no(self, path: str, message: str, hint: str = "") -> _Bad:
        self._wrong.add(path, message, hint)
        return _Bad()


# Fields that are loaded before the others of their class: what the others may read follows from them.
_FIRST = {
    (Transition, "takes"),
    (Transition, "reads"),
    (Transition, "fresh"),
    (Put, "place"),
    (Entry, "place"),
    (CaseKey, "place"),
    (ContractInfo, "proposal"),
    (ContractInfo, "inputs"),
}
_SCOPES = {Transition, Put, Entry, CaseKey, ContractInfo}


def _part(cls: type, name: str) -> Shape:
    return next(p.shape for p in parts_of(cls) if p.name == name)


def _constants(expr: Expr) -> list[Const]:
    """The literals of an expression, in the order of its text."""
    if isinstance(expr, Const):
        return [expr]
    return [c for part in children(expr) for c in _constants(part)]


def _with_constants(expr: Expr, numbers: Any, new: Mapping[int, Const]) -> Expr:
    if isinstance(expr, Const):
        return new.get(next(numbers), expr)
    parts = tuple(_with_constants(part, numbers, new) for part in children(expr))
    if isinstance(expr, OneOf):
        return OneOf(parts[0], tuple(p for p in parts[1:] if isinstance(p, Const)))
    return with_children(expr, parts)


__all__ = [
    "FORMAT",
    "FormatError",
    "content_hash",
    "dumps",
    "loads",
    "net_from_json",
    "net_to_json",
    "pretty",
    "read_net",
    "short_hash",
    "write_net",
]

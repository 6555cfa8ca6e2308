"""Token values as canonical JSON text, compiled per type.

The text of a value is: no spaces, a record's fields in the order of its type, strings as UTF-8 with only
what JSON must escape. Equal values of one type have
equal texts (but for decimals that differ in trailing zeros only), so texts can be hashed. The data is that
of ``provenet.nets.schema.to_json``; a test holds the two equal.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC
from functools import lru_cache
from hashlib import sha256
from json.encoder import encode_basestring
from typing import Literal, NoReturn, TypeAlias

from pydantic_core import PydanticSerializationError, to_json

from provenet.nets import schema
from provenet.nets.schema import Type, Value, from_json, microseconds

Encoder: TypeAlias = Callable[[Value], str]
Decoder: TypeAlias = Callable[[str], Value]

quote: Encoder = encode_basestring
"""A string as JSON."""


@lru_cache(maxsize=4096)
def encoder(of: Type, *, personal: Literal["refused", "plain"] = "refused") -> Encoder:
    """A function from values of a type to their canonical JSON text.

    Args:
        of: The type.
        personal: What to do about personal fields, whose text is for ``provenet.engine.personal`` to make.
    """
    match of:
        case schema.UnitType():
            return lambda _: "null"
        case schema.BoolType():
            return lambda value: "true" if value else "false"
        case schema.IntType():
            return int.__repr__
        case schema.FloatType():
            return float.__repr__
        case schema.DecimalType():
            return lambda value: f'"{value}"'
        case schema.StrType():
            return _long_quote
        case schema.EnumType():
            texts = {v: json.dumps(v, ensure_ascii=False) for v in of.values}
            return texts.__getitem__
        case schema.DateTimeType():
            return lambda value: f'"{value.astimezone(UTC).isoformat()}"'
        case schema.DurationType():
            return lambda value: str(microseconds(value))
        case schema.OptionalType(item):
            inner = encoder(item, personal=personal)
            return lambda value: "null" if value is None else inner(value)
        case schema.ListType(item):
            each = encoder(item, personal=personal)
            return lambda value: "[" + ",".join(map(each, value)) + "]"
        case schema.RecordType(_, fields):
            return _record(fields, personal)


def _long_quote(text: str) -> str:
    """``quote``, by the faster of two ways: they give the same text, and a test holds them equal."""
    if len(text) < _LONG:
        return quote(text)
    try:
        return to_json(text).decode()
    except PydanticSerializationError:  # half characters, which no token holds
        return quote(text)


_LONG = 100


def decoder(of: Type) -> Decoder:
    """A function from JSON text to checked values of a type; see ``schema.from_json`` for what it raises."""
    return lambda text: from_json(json.loads(text), of)


def clean(text: str) -> str:
    """A text that can be written: half characters, as broken encodings leave them, and NUL become ``?``."""
    if "\0" in text:  # PostgreSQL has no such text
        text = text.replace("\0", "?")
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def text_hash(text: str) -> str:
    """SHA-256 of a canonical text, in hexadecimal."""
    return sha256(text.encode()).hexdigest()


plain: Callable[[object], str] = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), sort_keys=True
).encode
"""Any JSON data as canonical text, keys sorted."""


def _record(fields: tuple[schema.Field, ...], personal: Literal["refused", "plain"]) -> Encoder:
    if not fields:
        return lambda _: "{}"
    # One format string per record type: the text is put together by one C call.
    pattern = (
        "{{" + ",".join(quote(f.name).replace("{", "{{").replace("}", "}}") + ":{}" for f in fields) + "}}"
    )
    parts = [
        _refused if f.mark == "personal" and personal == "refused" else encoder(f.type, personal=personal)
        for f in fields
    ]
    fill = pattern.format
    if len(parts) == 1:
        only = parts[0]
        return lambda value: fill(only(value[0]))
    return lambda value: fill(*[part(v) for part, v in zip(parts, value, strict=True)])


def _refused(value: Value) -> NoReturn:
    raise AssertionError(f"a personal value of type {type(value).__name__} would be stored as it is")

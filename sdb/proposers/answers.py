"""Answers as JSON: the schema that a model is shown, and the strict reading of what it wrote.

The schema keeps to the keywords that strict structured output knows everywhere (``type``, ``properties``,
``required``, ``additionalProperties``, ``items``, ``enum``, ``anyOf``, ``description``); bounds are told in
descriptions, because some providers refuse ``minimum`` and its like. No bound is trusted to the provider:
every answer is checked against its token type here.
"""

from __future__ import annotations

import enum
import json
import re
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from pydantic import BaseModel

from provenet.nets import schema
from provenet.nets.errors import TypeMismatch
from provenet.nets.models import parse_answer, to_value
from provenet.nets.schema import Field, RecordType, Type, Value
from provenet.sdb.handlers import ProposalFault
from provenet.sdb.proposers.faults import fault, redact
from provenet.sdb.proposers.template import iso_duration

_FENCE = re.compile(r"\A\s*```[A-Za-z0-9_-]*[ \t]*\r?\n(.*?)\r?\n?[ \t]*```\s*\Z", re.DOTALL)


def answer_type(of: Type) -> RecordType:
    """The record that a model answers with: it has to be an object, so other types go into ``value``."""
    return of if isinstance(of, RecordType) else RecordType("Answer", (Field("value", of),))


def json_schema(of: Type) -> dict[str, Any]:
    """JSON Schema of a type's answers, in the subset that strict structured output takes."""
    match of:
        case schema.UnitType():
            return {"type": "null"}
        case schema.BoolType():
            return {"type": "boolean"}
        case schema.IntType(lo, hi):
            return _described({"type": "integer"}, _range(lo, hi))
        case schema.FloatType(lo, hi):
            return _described({"type": "number"}, _range(lo, hi))
        case schema.DecimalType(lo, hi, places):
            digits = "" if places is None else f"at most {places} digits after the point"
            return _described({"type": "string"}, 'a decimal number such as "12.50"', _range(lo, hi), digits)
        case schema.StrType(longest):
            return _described({"type": "string"}, "" if longest is None else f"at most {longest} characters")
        case schema.EnumType(_, values):
            kinds = {type(v) for v in values}
            named = {str: "string", int: "integer", bool: "boolean"}
            kind = {"type": named[kinds.pop()]} if len(kinds) == 1 else {}
            return {**kind, "enum": list(values)}
        case schema.DateTimeType():
            return _described(
                {"type": "string"}, "ISO 8601 date and time with its UTC offset, 2030-01-31T12:00:00Z"
            )
        case schema.DurationType():
            return _described(
                {"type": "string"}, "ISO 8601 duration in days and smaller units, such as P1DT12H"
            )
        case schema.OptionalType(item):
            return {"anyOf": [json_schema(item), {"type": "null"}]}
        case schema.ListType(item, longest):
            bound = "" if longest is None else f"at most {longest} items"
            return _described({"type": "array", "items": json_schema(item)}, bound)
        case schema.RecordType(_, fields):
            return {
                "type": "object",
                "properties": {f.name: json_schema(f.type) for f in fields},
                "required": [f.name for f in fields],
                "additionalProperties": False,
            }


def read_answer(text: str, of: Type) -> Value:
    """The value that a model's text stands for.

    A code fence around the whole text is taken off first; nothing else is repaired. Every field must be
    there once, none beside them, and numbers must be finite.

    Raises:
        ProposalFault: ``malformed`` where the text is not JSON, ``schema`` where it is not of the type.
    """
    fenced = _FENCE.match(text)
    text = fenced[1] if fenced else text
    try:
        data = json.loads(text, parse_constant=_not_a_number, object_pairs_hook=_no_twins)
    except _Unfit as error:
        raise fault(
            "schema", expected=error.expected, got=error.got, hint="answer with plain JSON values"
        ) from None
    except (ValueError, RecursionError) as error:
        raise fault(
            "malformed",
            expected="JSON and nothing else",
            got=redact(f"{type(error).__name__} in {schema.shorten(text)}"),
            hint="answer with the JSON object alone: no words around it",
        ) from None
    record = answer_type(of)
    try:
        _closed(data, record, "")
        value = parse_answer(text, record)
    except TypeMismatch as error:
        raise off_schema(error) from None
    except (ValueError, ArithmeticError, RecursionError) as error:  # what a user's own validators let through
        raise fault("schema", expected=schema.describe(of), got=redact(str(error))) from None
    return value if record is of else value[0]


def read_value(data: Any, of: Type) -> Value:
    """The value that code answered with: a model instance, plain values, JSON text, or a mapping of them.

    Raises:
        ProposalFault: It does not belong to the type.
    """
    try:
        return to_value(data, of)
    except (TypeMismatch, AttributeError, TypeError, ValueError) as error:
        mismatch = error if isinstance(error, TypeMismatch) else None
    if isinstance(of, RecordType) and isinstance(data, str | dict):
        text = data if isinstance(data, str) else _dump(data)
        if text is not None:
            return read_answer(text, of)
    if mismatch is None:
        mismatch = TypeMismatch(field="", expected=schema.describe(of), got=schema.shorten(data))
    raise off_schema(mismatch)


def off_schema(error: TypeMismatch) -> ProposalFault:
    """The fault of an answer that does not belong to its type."""
    return fault(
        "schema",
        field=error.field,
        expected=error.expected,
        got=redact(error.got),
        hint="give exactly the fields of the schema, each within its bounds",
    )


class _Unfit(Exception):
    """Well-formed text that JSON readers disagree on."""

    def __init__(self, *, expected: str, got: str) -> None:
        super().__init__(got)
        self.expected = expected
        self.got = got


def _not_a_number(text: str) -> Any:
    raise _Unfit(expected="a finite number", got=text)


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Unfit(expected="each field once", got="fields " + schema.shorten([k for k, _ in pairs]))
    return found


def _closed(data: Any, of: Type, path: str) -> None:
    """Every declared field, and only those, even where a user's model has defaults or ignores extras."""
    match of:
        case schema.OptionalType(item) if data is not None:
            _closed(data, item, path)
        case schema.ListType(item) if isinstance(data, list):
            for i, part in enumerate(data):
                _closed(part, item, f"{path}[{i}]")
        case schema.RecordType(_, fields) if isinstance(data, dict):
            missing = [f.name for f in fields if f.name not in data]
            unknown = [k for k in data if of.index(k) is None]
            if missing or unknown:
                name = (missing or unknown)[0]
                raise TypeMismatch(
                    field=f"{path}.{name}" if path else name,
                    expected=schema.describe(of),
                    got="nothing" if missing else f"an unknown field {schema.shorten(name)}",
                )
            for f in fields:
                _closed(data[f.name], f.type, f"{path}.{f.name}" if path else f.name)
        case schema.RecordType():
            raise TypeMismatch(field=path, expected=schema.describe(of), got=schema.shorten(data))


def _dump(data: Any) -> str | None:
    try:
        return json.dumps(data, default=_plain)
    except (TypeError, ValueError, RecursionError):
        return None


def _plain(part: object) -> Any:
    match part:
        case BaseModel():
            return part.model_dump()
        case Decimal():
            return str(part)
        case datetime():
            return part.isoformat()
        case timedelta():
            return iso_duration(part)
        case enum.Enum():
            return part.value
    raise TypeError


def _range(lo: Any, hi: Any) -> str:
    parts = [f"at least {lo}" if lo is not None else "", f"at most {hi}" if hi is not None else ""]
    return " and ".join(p for p in parts if p)


def _described(what: dict[str, Any], *notes: str) -> dict[str, Any]:
    text = "; ".join(n for n in notes if n)
    return {**what, "description": text} if text else what

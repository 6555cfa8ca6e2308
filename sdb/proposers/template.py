"""Prompt templates: ``{field}`` and ``{field.sub}`` of the payload, and nothing else.

``str.format`` would also follow attributes, indexes, conversions and format specifications; a template here
only names fields that the payload's type declares. Values go in as text in one pass: braces inside them mean
nothing.
"""

from __future__ import annotations

import json
from datetime import UTC, timedelta
from string import Formatter
from typing import Any

from provenet.nets import schema
from provenet.nets.errors import ProvenetError, did_you_mean
from provenet.nets.models import to_value
from provenet.nets.quick import dataclass
from provenet.nets.schema import Type, Value

WHOLE = "payload"
"""The name that stands for the whole payload, unless the payload has a field of that name."""


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed prompt template.

    Attributes:
        text: The template as written.
        parts: Literal text, and field paths between.
    """

    text: str
    parts: tuple[str | tuple[str, ...], ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        """Read a template; ``{{`` and ``}}`` are braces.

        Raises:
            ProvenetError: It holds something other than field names in braces.
        """
        parts: list[str | tuple[str, ...]] = []
        try:
            for literal, name, spec, conversion in Formatter().parse(text):
                if literal:
                    parts.append(literal)
                if name is None:
                    continue
                path = tuple(name.split("."))
                if spec or conversion or not all(p.isidentifier() and not p.startswith("__") for p in path):
                    written = name + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
                    raise _bad(f"prompt has {{{written}}}, which is not a field name")
                parts.append(path)
        except ValueError as error:
            raise _bad(f"prompt does not parse: {error}") from None
        return cls(text, tuple(parts))

    def check(self, payload: Type) -> None:
        """Check every field name against a payload type.

        Raises:
            ProvenetError: The payload has no such field.
        """
        for part in self.parts:
            if not isinstance(part, str):
                _follow(part, payload, None)

    def fill(self, payload: Any, of: Type) -> str:
        """The prompt for a payload.

        Raises:
            ProvenetError: A field does not exist, or the payload does not belong to its type.
        """
        value = to_value(payload, of)
        return "".join(p if isinstance(p, str) else _show(*_follow(p, of, value)) for p in self.parts)


def show(value: Value, of: Type) -> str:
    """A value as a prompt shows it: a string as it is, everything else as JSON with readable times."""
    return value if isinstance(value, str) else json.dumps(readable(value, of), ensure_ascii=False)


def readable(value: Value, of: Type) -> Any:
    """A value as JSON data for a model: as ``schema.to_json``, but durations in ISO 8601."""
    match of:
        case schema.DurationType():
            return iso_duration(value)
        case schema.DateTimeType():
            return value.astimezone(UTC).isoformat()
        case schema.OptionalType(item):
            return None if value is None else readable(value, item)
        case schema.ListType(item):
            return [readable(v, item) for v in value]
        case schema.RecordType(_, fields):
            return {f.name: readable(v, f.type) for f, v in zip(fields, value, strict=True)}
        case _:
            return schema.to_json(value, of)


def iso_duration(span: timedelta) -> str:
    """A duration in ISO 8601, such as ``P1DT3600S``; exact to the microsecond."""
    sign, span = ("-", -span) if span < timedelta(0) else ("", span)
    fraction = f".{span.microseconds:06d}" if span.microseconds else ""
    return f"{sign}P{span.days}DT{span.seconds}{fraction}S"


def _follow(path: tuple[str, ...], of: Type, value: Value) -> tuple[Value, Type]:
    """The type at a path, and the value there where one is given."""
    if path == (WHOLE,) and not (isinstance(of, schema.RecordType) and of.field(WHOLE)):
        return value, of
    for i, name in enumerate(path):
        if isinstance(of, schema.OptionalType):
            of = of.item
        where = ".".join(path[:i]) or "the payload"
        if not isinstance(of, schema.RecordType):
            raise _bad(
                f"prompt names {{{'.'.join(path)}}}, but {where} is {schema.describe(of)}, not a record"
            )
        index = of.index(name)
        if index is None:
            known = [f.name for f in of.fields] + ([WHOLE] if i == 0 else [])
            raise ProvenetError(
                f"prompt names {{{'.'.join(path)}}}, but {where} has no field {name!r}",
                hint=did_you_mean(name, known),
                code="SD311",
            )
        of = of.fields[index].type
        value = None if value is None else value[index]
    return value, of


def _show(value: Value, of: Type) -> str:
    if value is None and not isinstance(of, schema.UnitType):
        return "null"
    return show(value, of)


def _bad(message: str) -> ProvenetError:
    return ProvenetError(
        message,
        hint="write {field} or {field.sub} of the payload, {payload} for all of it, {{ }} for plain braces",
        code="SD310",
    )

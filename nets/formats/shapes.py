"""How the parts of a net are laid out in JSON: read off the dataclasses of ``provenet.nets.net`` themselves.

An object has a dataclass's fields as keys; a field that has its default is left out. A tuple is an array, a
role its word, a duration a number of microseconds, a trigger an object whose ``kind`` is its class in
``snake_case``, an expression its text, a type as in ``provenet.nets.formats.typetable``. So a field added
to a net's parts is in the format, in its JSON Schema and in the hash at once.
"""

from __future__ import annotations

import dataclasses
import enum
import re
import types
from collections.abc import Iterator
from dataclasses import MISSING
from datetime import timedelta
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from provenet.nets import net as net_parts
from provenet.nets.expr.ast import Expr
from provenet.nets.net import Net, Requirement, Trigger
from provenet.nets.quick import dataclass
from provenet.nets.schema import Type

Kind = Literal[
    "text",
    "int",
    "flag",
    "span",
    "word",
    "type",
    "expr",
    "trigger",
    "object",
    "array",
    "pair",
    "tokens",
    "args",
]


@dataclass(frozen=True, slots=True)
class Shape:
    """The layout of one field.

    Attributes:
        kind: What it is.
        null: Whether it may be null.
        words: For ``word``, the words there are.
        of: For ``object``, the dataclass; for ``word``, the enum.
        parts: For ``array``, the shape of its elements; for ``pair``, the shapes of its members.
    """

    kind: Kind
    null: bool = False
    words: tuple[str, ...] = ()
    of: type | None = None
    parts: tuple[Shape, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """A field of a dataclass, as a key in JSON."""

    name: str
    shape: Shape
    required: bool
    default: Any


def parts_of(cls: type) -> tuple[Part, ...]:
    """The fields of a part of a net that are its content, in order."""
    if cls not in _PARTS:
        _PARTS[cls] = tuple(_parts(cls))
    return _PARTS[cls]


def _parts(cls: type) -> Iterator[Part]:
    hints = get_type_hints(cls, vars(net_parts))
    for f in dataclasses.fields(cls):
        if not f.init or not f.compare:
            continue  # caches, and where something was written
        if (cls, f.name) == (Net, "initial"):
            shape = Shape("array", parts=(Shape("pair", parts=(Shape("text"), Shape("tokens"))),))
        elif (cls, f.name) == (Requirement, "args"):
            shape = Shape("args")
        else:
            shape = _shape(hints[f.name])
        yield Part(f.name, shape, f.default is MISSING, None if f.default is MISSING else f.default)


def trigger_kind(cls: type) -> str:
    """The ``kind`` of a trigger: ``OnFailure`` is ``on_failure``."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()


TRIGGERS: dict[str, type] = {trigger_kind(cls): cls for cls in get_args(Trigger)}


def _shape(hint: Any) -> Shape:
    if hint == Type:
        return Shape("type")
    if hint == Expr:
        return Shape("expr")
    if hint == Trigger:
        return Shape("trigger")
    if hint == Expr | None:
        return Shape("expr", null=True)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType) and len(arguments) == 2 and type(None) in arguments:
        inner = _shape(next(a for a in arguments if a is not type(None)))
        return dataclasses.replace(inner, null=True)
    if origin is Literal:
        return Shape("word", words=arguments)
    if origin is tuple:
        if arguments[-1] is ...:
            return Shape("array", parts=(_shape(arguments[0]),))
        return Shape("pair", parts=tuple(_shape(a) for a in arguments))
    if hint in _PLAIN:
        return Shape(_PLAIN[hint])
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return Shape("word", words=tuple(m.value for m in hint), of=hint)
    assert dataclasses.is_dataclass(hint), hint
    return Shape("object", of=hint)  # type: ignore[arg-type]


_PLAIN: dict[Any, Kind] = {str: "text", int: "int", bool: "flag", timedelta: "span"}
_PARTS: dict[type, tuple[Part, ...]] = {}

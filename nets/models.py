"""Bridge between pydantic models and token types.

``Token`` is the base of user token models: frozen, closed, strict. ``schema_of`` reads a Python annotation as a token type;
``to_value`` and ``from_value`` carry values across. pydantic is imported here and nowhere else in ``nets``.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import annotated_types
from pydantic import BaseModel, ConfigDict, Field as ModelField, ValidationError, create_model

from provenet.nets import schema
from provenet.nets.errors import ProvenetError, TypeMismatch
from provenet.nets.schema import Field, RecordType, Type, Value


class Token(BaseModel):
    """Base of token models: immutable, closed to unknown fields, no silent conversion, finite floats only."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


@lru_cache(maxsize=1024)
def schema_of(annotation: Any) -> Type:
    """The token type that a Python annotation or model stands for.

    Args:
        annotation: A pydantic model, a scalar type, ``Literal``, an ``Enum``, ``X | None``, ``list[X]``, ``tuple[X, ...]``, or any of
            them ``Annotated`` with bounds (``Field(ge=0, le=100)``).

    Raises:
        ProvenetError: The annotation has no token type.
    """
    if isinstance(annotation, schema.Type):
        return annotation
    origin = get_origin(annotation)
    if origin is Annotated:
        base, *notes = get_args(annotation)
        return _constrain(schema_of(base), notes)
    if origin is Literal:
        return schema.EnumType("choice", tuple(get_args(annotation)))
    if origin in (Union, types.UnionType):
        items = [a for a in get_args(annotation) if a is not type(None)]
        if len(items) == 1 and len(get_args(annotation)) == 2:
            return schema.OptionalType(schema_of(items[0]))
    elif origin in (list, tuple, Sequence):
        arguments = [a for a in get_args(annotation) if a is not ...]
        if len(arguments) == 1:
            return schema.ListType(schema_of(arguments[0]))
    elif annotation is None or annotation is type(None):
        return schema.UNIT
    elif isinstance(annotation, type):
        if issubclass(annotation, enum.Enum):
            return schema.EnumType(annotation.__name__, tuple(m.value for m in annotation))
        if issubclass(annotation, BaseModel):
            hints = get_type_hints(annotation, include_extras=True)
            fields = tuple(
                Field(name, _constrain(schema_of(hints[name]), info.metadata))
                for name, info in annotation.model_fields.items()
            )
            found = RecordType(annotation.__name__, fields)
            _MODELS.setdefault(found, annotation)
            return found
        if annotation in _SCALARS:
            return _SCALARS[annotation]
    raise ProvenetError(
        f"{annotation!r} has no token type",
        hint="use int, bool, str, Decimal, float, datetime, timedelta, Literal, Enum, X | None, list[X], or a Token model",
        code="PN301",
    )


def model_of(of: RecordType) -> type[BaseModel]:
    """The pydantic model behind a record type; one is made where the type came from a file."""
    if of not in _MODELS:
        fields: dict[str, Any] = {f.name: (annotation_of(f.type), ...) for f in of.fields}
        _MODELS[of] = create_model(of.name, __base__=Token, **fields)
    return _MODELS[of]


def annotation_of(of: Type) -> Any:
    """A Python annotation for a token type; the inverse of ``schema_of``."""
    match of:
        case schema.UnitType():
            return None
        case schema.IntType(lo, hi):
            return _annotated(int, lo, hi)
        case schema.DecimalType(lo, hi, places):
            return Annotated[Decimal, ModelField(ge=lo, le=hi, decimal_places=places)]
        case schema.FloatType(lo, hi):
            return _annotated(float, lo, hi)
        case schema.StrType(max_length):
            return str if max_length is None else Annotated[str, ModelField(max_length=max_length)]
        case schema.EnumType(_, values):
            return Literal[values]
        case schema.OptionalType(item):
            return annotation_of(item) | None if annotation_of(item) is not None else None
        case schema.ListType(item, max_length):
            base = tuple[annotation_of(item), ...]  # type: ignore[misc]
            return base if max_length is None else Annotated[base, ModelField(max_length=max_length)]
        case schema.RecordType():
            return model_of(of)
        case schema.BoolType():
            return bool
        case schema.DateTimeType():
            return datetime
        case schema.DurationType():
            return timedelta


def to_value(data: Any, of: Type) -> Value:
    """A token value from a model instance, a mapping of fields, or a scalar; checked.

    Raises:
        TypeMismatch: The data does not belong to the type.
    """
    value = _strip(data, of)
    schema.check(value, of)
    return value


def from_value(value: Value, of: Type) -> Any:
    """A value as user code wants it: a model instance for a record, a plain scalar otherwise."""
    match of:
        case schema.OptionalType(item):
            return None if value is None else from_value(value, item)
        case schema.ListType(item):
            return tuple(from_value(v, item) for v in value)
        case schema.RecordType(_, fields):
            parts = {f.name: from_value(v, f.type) for f, v in zip(fields, value, strict=True)}
            # Values were checked when they entered the marking; validating again would double the cost of a firing.
            return model_of(of).model_construct(**parts)
        case schema.UnitType():
            return None
        case _:
            return value


def parse_answer(data: Any, of: Type) -> Value:
    """A value from untrusted JSON-like data, such as a model's answer.

    Raises:
        TypeMismatch: With the field, what was expected and what came.
    """
    if isinstance(of, RecordType):
        try:
            data = (
                model_of(of).model_validate_json(data)
                if isinstance(data, str | bytes)
                else model_of(of)(**data)
            )
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            path = ".".join(str(part) for part in first["loc"])
            got = "invalid JSON" if first["type"] == "json_invalid" else schema.shorten(first["input"])
            raise TypeMismatch(field=path, expected=first["msg"], got=got) from None
        except TypeError:
            raise TypeMismatch(field="", expected=schema.describe(of), got=schema.shorten(data)) from None
    return to_value(data, of)


_SCALARS: dict[type, Type] = {
    bool: schema.BOOL,
    int: schema.INT,
    str: schema.STR,
    float: schema.FloatType(),
    Decimal: schema.DecimalType(),
    datetime: schema.DATETIME,
    timedelta: schema.DURATION,
}
# Which model a record type came from, so that handlers get their own class back.
_MODELS: dict[RecordType, type[BaseModel]] = {}


def _annotated(base: type, lo: Any, hi: Any) -> Any:
    return base if lo is None and hi is None else Annotated[base, ModelField(ge=lo, le=hi)]


def _constrain(of: Type, notes: Sequence[Any]) -> Type:
    """Apply annotated bounds; bounds that the language cannot hold are refused rather than forgotten."""
    for note in notes:
        for part in getattr(note, "metadata", None) or [note]:
            of = _constrain_one(of, part)
    return of


def _constrain_one(of: Type, note: Any) -> Type:
    match of, note:
        case schema.OptionalType(item), _:
            return schema.OptionalType(_constrain_one(item, note))
        case schema.IntType(lo, hi), annotated_types.Ge(ge=bound):
            return schema.IntType(bound, hi)
        case schema.IntType(lo, hi), annotated_types.Gt(gt=bound):
            return schema.IntType(bound + 1, hi)
        case schema.IntType(lo, hi), annotated_types.Le(le=bound):
            return schema.IntType(lo, bound)
        case schema.IntType(lo, hi), annotated_types.Lt(lt=bound):
            return schema.IntType(lo, bound - 1)
        case schema.DecimalType(lo, hi, places), annotated_types.Ge(ge=bound):
            return schema.DecimalType(Decimal(str(bound)), hi, places)
        case schema.DecimalType(lo, hi, places), annotated_types.Le(le=bound):
            return schema.DecimalType(lo, Decimal(str(bound)), places)
        case schema.FloatType(lo, hi), annotated_types.Ge(ge=bound):
            return schema.FloatType(float(bound), hi)
        case schema.FloatType(lo, hi), annotated_types.Le(le=bound):
            return schema.FloatType(lo, float(bound))
        case schema.StrType(), annotated_types.MaxLen(max_length=bound):
            return schema.StrType(bound)
        case schema.ListType(item), annotated_types.MaxLen(max_length=bound):
            return schema.ListType(item, bound)
        case schema.DecimalType(lo, hi), _ if getattr(note, "decimal_places", None) is not None:
            return schema.DecimalType(lo, hi, note.decimal_places)
    # A bound that pydantic enforces and the prover does not know makes proofs weaker, never wrong.
    return of


def _strip(data: Any, of: Type) -> Value:
    match of:
        case schema.UnitType():
            return () if data is None or data == () else data
        case schema.OptionalType(item):
            return None if data is None else _strip(data, item)
        case schema.ListType(item):
            if not isinstance(data, list | tuple):
                raise TypeMismatch(field="", expected=schema.describe(of), got=schema.shorten(data))
            return tuple(_strip(d, item) for d in data)
        case schema.RecordType(name, fields):
            if isinstance(data, BaseModel):
                data = {f.name: getattr(data, f.name) for f in fields if hasattr(data, f.name)}
            if isinstance(data, tuple):
                return data
            if not isinstance(data, dict):
                raise TypeMismatch(field="", expected=schema.describe(of), got=schema.shorten(data))
            missing = [f.name for f in fields if f.name not in data]
            unknown = [str(k) for k in data if of.index(k) is None]
            if missing or unknown:
                got = "; ".join([f"no {m}" for m in missing] + [f"unknown field {u}" for u in unknown])
                raise TypeMismatch(field=name, expected=schema.describe(of), got=got)
            return tuple(_strip(data[f.name], f.type) for f in fields)
        case _:
            return data.value if isinstance(data, enum.Enum) else data

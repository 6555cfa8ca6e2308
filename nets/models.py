"""Bridge between pydantic models and token types.

``Token`` is the base of user token models: frozen, closed, strict. ``schema_of`` reads a Python annotation
as a token type; ``to_value`` and ``from_value`` carry values across. pydantic is imported here and nowhere
else in ``nets``.
"""

from __future__ import annotations

import enum
import json
import math
import types
import warnings
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, Literal, Optional, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic import Field as ModelField
from pydantic_core import to_json

from provenet.nets import schema
from provenet.nets.errors import ProvenetError, TypeMismatch
from provenet.nets.schema import Field, RecordType, Type, Value
from provenet.nets.secrets import keeps_secrets


class Token(BaseModel):
    """Base of token models: immutable, closed to unknown fields, no silent conversion, finite floats only."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """What its text shows of it: nothing of secret fields."""
        fields = type(self).model_fields
        for name, value in super().__repr_args__():
            hidden = name in fields and _mark(fields[name].metadata) != ""
            yield name, schema.HIDDEN if hidden else value


class Secret:
    """Marks a token's field: ``card: Annotated[str, Secret]``; see ``provenet.nets.secrets``."""


class Personal:
    """Marks a token's field as data of a person: hidden like a secret, encrypted at rest, erasable."""


def schema_of(annotation: Any) -> Type:
    """The token type that a Python annotation or model stands for.

    Args:
        annotation: A pydantic model, a scalar type, ``Literal``, an ``Enum``, ``X | None``, ``list[X]``,
            ``tuple[X, ...]``, or any of them ``Annotated`` with bounds (``Field(ge=0, le=100)``).

    Raises:
        ProvenetError: The annotation has no token type.
    """
    if isinstance(annotation, schema.Type):
        return annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _record_of(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _constrain(schema_of(arguments[0]), arguments[1:])
    if origin is Literal:
        return _enum_of("choice", arguments)
    if origin in {Union, types.UnionType}:
        items = [a for a in arguments if a is not type(None)]
        if len(items) == 1 and len(arguments) == 2:
            item = schema_of(items[0])
            return item if isinstance(item, schema.OptionalType) else schema.OptionalType(item)
    elif origin in {list, tuple, Sequence}:
        if len(arguments) == (2 if origin is tuple else 1) and arguments[1:] in {(), (...,)}:
            return schema.ListType(schema_of(arguments[0]))
    elif annotation is None or annotation is type(None):
        return schema.UNIT
    elif isinstance(annotation, type):
        if issubclass(annotation, enum.Enum):
            return _enum_of(annotation.__name__, tuple(annotation))
        if annotation in _SCALARS:
            return _SCALARS[annotation]
    raise _no_type(
        repr(annotation),
        "use int, bool, str, Decimal, float, datetime, timedelta, Literal, Enum, X | None, list[X], "
        "or a Token model",
    )


def model_of(of: RecordType) -> type[BaseModel]:
    """The pydantic model behind a record type; one is made where the type came from a file."""
    if of not in _MODELS:
        fields: dict[str, Any] = {
            f.name: (
                Annotated[annotation_of(f.type), _MARKS[f.mark]] if f.mark else annotation_of(f.type),
                ...,
            )
            for f in of.fields
        }
        with warnings.catch_warnings():
            # A field of a net from elsewhere may be called like a method of pydantic's, which is harmless.
            warnings.simplefilter("ignore", UserWarning)
            _MODELS[of] = create_model(of.name, __base__=Token, **fields)
    return _MODELS[of]


def annotation_of(of: Type) -> Any:
    """A Python annotation for a token type; the inverse of ``schema_of``, but for the names of enums."""
    match of:
        case schema.UnitType():
            return None
        case schema.BoolType():
            return bool
        case schema.IntType(lo, hi):
            return _annotated(int, ge=lo, le=hi)
        case schema.DecimalType(lo, hi, places):
            return _annotated(Decimal, ge=lo, le=hi, decimal_places=places)
        case schema.FloatType(lo, hi):
            return _annotated(float, ge=lo, le=hi)
        case schema.StrType(max_length):
            return _annotated(str, max_length=max_length)
        case schema.EnumType(_, values):
            return Literal[values]
        case schema.DateTimeType():
            return datetime
        case schema.DurationType():
            return timedelta
        case schema.OptionalType(item):
            return Optional[annotation_of(item)]  # noqa: UP045 - built at run time; None has no |
        case schema.ListType(item, max_length):
            return _annotated(types.GenericAlias(tuple, (annotation_of(item), ...)), max_length=max_length)
        case schema.RecordType():
            return model_of(of)


def to_value(data: Any, of: Type) -> Value:
    """A token value from a model instance, a mapping of fields, or a scalar; checked.

    Raises:
        TypeMismatch: The data does not belong to the type.
    """
    value = _strip(data, of, "")
    schema.check(value, of)
    return value


def from_value(value: Value, of: Type) -> Any:
    """A value as user code wants it: a model instance for a record, a plain scalar otherwise."""
    return _rebuild(value, of, None)


def parse_answer(data: Any, of: Type) -> Value:
    """A value from untrusted JSON text or JSON-like data, such as a model's answer.

    A record is validated by its model in JSON mode, so that the model's own validators run too.

    Raises:
        TypeMismatch: With the field, what was expected and what came.
    """
    if not isinstance(of, RecordType):
        if isinstance(data, str | bytes) and not isinstance(of, schema.StrType | schema.EnumType):
            try:
                data = json.loads(data)
            except (ValueError, RecursionError):
                raise TypeMismatch(field="", expected=schema.describe(of), got=schema.shorten(data)) from None
        return schema.from_json(data, of)
    model = model_of(of)
    try:
        if isinstance(data, BaseModel):
            return to_value(data, of)
        text = data if isinstance(data, str | bytes) else to_json(data, inf_nan_mode="constants")
        return to_value(model.model_validate_json(text), of)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        if keeps_secrets(of):
            # A validator's own words may quote what it was given, and a record's input is all of it.
            raise TypeMismatch(
                field=path, expected=f"what {of} wants", got=f"{first['type']}: {schema.HIDDEN}"
            ) from None
        got = "no JSON" if first["type"] == "json_invalid" else schema.shorten(first["input"])
        raise TypeMismatch(field=path, expected=first["msg"], got=got) from None
    except (TypeError, ValueError, RecursionError):
        got = schema.HIDDEN if keeps_secrets(of) else schema.shorten(data)
        raise TypeMismatch(field="", expected=schema.describe(of), got=got) from None


_SCALARS: dict[type, Type] = {
    bool: schema.BOOL,
    int: schema.INT,
    str: schema.STR,
    float: schema.FloatType(),
    Decimal: schema.DecimalType(),
    datetime: schema.DATETIME,
    timedelta: schema.DURATION,
}
# Which model a record type came from, so that handlers get their own class back; the latest where two look
# alike.
_MODELS: dict[RecordType, type[BaseModel]] = {}


@lru_cache(maxsize=1024)
def _record_of(model: type[BaseModel]) -> RecordType:
    fields = []
    for name, info in model.model_fields.items():
        if info.alias or info.validation_alias:
            raise _no_type(f"{model.__name__}.{name}", "a token's field has one name: leave out the alias")
        try:
            notes = tuple(n for n in info.metadata if not _mark((n,)))
            fields.append(Field(name, _constrain(schema_of(info.annotation), notes), _mark(info.metadata)))
        except RecursionError:
            raise _no_type(model.__name__, "a token is finite: a model cannot hold itself") from None
    found = RecordType(model.__name__, tuple(fields))
    _MODELS[found] = model
    return found


_MARKS: dict[schema.Mark, type] = {"personal": Personal, "secret": Secret}


def _mark(notes: Sequence[Any]) -> schema.Mark:
    """How a field is marked; what is personal is hidden as a secret is, so both together are that."""
    for mark, of in _MARKS.items():
        if any(n is of or isinstance(n, of) for n in notes):
            return mark
    return ""


def _enum_of(name: str, members: tuple[Any, ...]) -> schema.EnumType:
    values = tuple(m.value if isinstance(m, enum.Enum) else m for m in members)
    if not values or any(isinstance(v, bool) or not isinstance(v, str | int) for v in values):
        raise _no_type(
            f"{name} with the values {values!r}", "values are strings or integers; for null write X | None"
        )
    return schema.EnumType(name, tuple(dict.fromkeys(values)))


def _no_type(what: str, hint: str) -> ProvenetError:
    return ProvenetError(f"{what} has no token type", hint=hint, code="PN301")


def _annotated(base: Any, **bounds: Any) -> Any:
    known = {name: bound for name, bound in bounds.items() if bound is not None}
    return Annotated[base, ModelField(**known)] if known else base


def _constrain(of: Type, notes: Sequence[Any]) -> Type:
    """Apply annotated bounds.

    A bound that pydantic enforces and the prover does not know makes proofs weaker, never wrong.
    """
    for note in notes:
        if mark := _mark((note,)):
            name = _MARKS[mark].__name__
            raise _no_type(f"{name} inside a type", f"mark the whole field: x: Annotated[list[str], {name}]")
        if isinstance(note, annotated_types.GroupedMetadata):
            of = _constrain(of, tuple(note))
        elif getattr(note, "metadata", None):
            of = _constrain(of, tuple(note.metadata))
        else:
            of = _constrain_one(of, note)
    return of


def _constrain_one(of: Type, note: Any) -> Type:
    if isinstance(of, schema.OptionalType):
        return schema.OptionalType(_constrain_one(of.item, note))
    bound: Any = next(
        (v for k in ("ge", "gt", "le", "lt") if (v := getattr(note, k, None)) is not None), None
    )
    match of, note:
        case schema.IntType(_, hi), annotated_types.Ge():
            return schema.IntType(math.ceil(bound), hi)
        case schema.IntType(_, hi), annotated_types.Gt():
            return schema.IntType(math.floor(bound) + 1, hi)
        case schema.IntType(lo, _), annotated_types.Le():
            return schema.IntType(lo, math.floor(bound))
        case schema.IntType(lo, _), annotated_types.Lt():
            return schema.IntType(lo, math.ceil(bound) - 1)
        # Of an open interval of decimals or floats the closed one is kept.
        case schema.DecimalType(_, hi, places), annotated_types.Ge() | annotated_types.Gt():
            return schema.DecimalType(Decimal(str(bound)), hi, places)
        case schema.DecimalType(lo, _, places), annotated_types.Le() | annotated_types.Lt():
            return schema.DecimalType(lo, Decimal(str(bound)), places)
        case schema.FloatType(_, hi), annotated_types.Ge() | annotated_types.Gt():
            return schema.FloatType(float(bound), hi)
        case schema.FloatType(lo, _), annotated_types.Le() | annotated_types.Lt():
            return schema.FloatType(lo, float(bound))
        case schema.StrType(), annotated_types.MaxLen(max_length=longest):
            return schema.StrType(longest)
        case schema.ListType(item), annotated_types.MaxLen(max_length=longest):
            return schema.ListType(item, longest)
        case schema.DecimalType(lo, hi), _ if getattr(note, "decimal_places", None) is not None:
            return schema.DecimalType(lo, hi, note.decimal_places)
    return of


def _strip(data: Any, of: Type, path: str) -> Value:
    """Plain data out of model instances, mappings and sequences; bounds are left to ``check``."""
    match of:
        case schema.UnitType():
            return () if data is None or data == () else data
        case schema.OptionalType(item):
            return None if data is None else _strip(data, item, path)
        case schema.ListType(item):
            if not isinstance(data, list | tuple):
                raise TypeMismatch(field=path, expected=schema.describe(of), got=schema.shorten(data))
            return tuple(_strip(d, item, f"{path}[{i}]") for i, d in enumerate(data))
        case schema.RecordType(name, fields):
            if isinstance(data, BaseModel):
                data = {f.name: getattr(data, f.name) for f in fields if hasattr(data, f.name)}
            if isinstance(data, tuple):
                return data
            if not isinstance(data, dict):
                got = schema.HIDDEN if keeps_secrets(of) else schema.shorten(data)
                raise TypeMismatch(field=path, expected=schema.describe(of), got=got)
            missing = [f.name for f in fields if f.name not in data]
            unknown = [str(k) for k in data if of.index(k) is None]
            if missing or unknown:
                got = "; ".join([f"no {m}" for m in missing] + [f"unknown field {u}" for u in unknown])
                raise TypeMismatch(field=path or name, expected=schema.describe(of), got=got)
            return tuple(_strip_field(data[f.name], f, path) for f in fields)
        case schema.DateTimeType() if isinstance(data, datetime) and data.utcoffset() is not None:
            # One zone for all: around a change of clocks, equal times of two zones do not always compare
            # equal.
            return data.astimezone(UTC)
        case _:
            return data.value if isinstance(data, enum.Enum) else data


def _strip_field(data: Any, field: Field, path: str) -> Value:
    try:
        return _strip(data, field.type, f"{path}.{field.name}" if path else field.name)
    except TypeMismatch as error:
        raise schema.hiding(error, field) from None


def _rebuild(value: Value, of: Type, annotation: Any) -> Any:
    """A value in the shape of the annotation that it is read through: models, lists, enums."""
    match of:
        case schema.RecordType(_, fields):
            model = model_of(of)
            parts = {
                f.name: v if plan is None else _rebuild(v, f.type, plan)
                for f, v, plan in zip(fields, value, _plan(model), strict=True)
            }
            # Values were checked when they entered the marking; validating again would double a firing's
            # cost.
            return model.model_construct(**parts)
        case schema.OptionalType(item):
            return None if value is None else _rebuild(value, item, annotation)
        case schema.ListType(item):
            bare = _bare(annotation)
            inner = next(iter(get_args(bare)), None)
            items = (_rebuild(v, item, inner) for v in value)
            return list(items) if get_origin(bare) is list else tuple(items)
        case schema.EnumType():
            bare = _bare(annotation)
            if isinstance(bare, type) and issubclass(bare, enum.Enum):
                return bare(value)
            members = (a for a in get_args(bare) if isinstance(a, enum.Enum))
            return next((m for m in members if m.value == value), value)
        case schema.UnitType():
            return None
        case _:
            return value


@lru_cache(maxsize=1024)
def _plan(model: type[BaseModel]) -> tuple[Any, ...]:
    """For each field its annotation, or ``None`` where its values stand as they are."""
    return tuple(
        None if _bare(info.annotation) in _SCALARS else info.annotation
        for info in model.model_fields.values()
    )


def _bare(annotation: Any) -> Any:
    """An annotation without its bounds and without null."""
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in {Union, types.UnionType}:
            annotation = next((a for a in get_args(annotation) if a is not type(None)), None)
        else:
            return annotation

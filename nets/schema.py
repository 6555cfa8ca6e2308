"""Token types and token values.

A token's value is plain immutable Python data whose meaning lies in the type of its place::

    type        value                         JSON
    Unit        ()                            null
    Bool        bool                          true / false
    Int         int                           number
    Decimal     decimal.Decimal, finite       string "12.50"
    Float       float, finite                 number
    Str         str                           string
    Enum        str or int, one of the values the value itself
    DateTime    datetime, aware               string, ISO 8601, UTC
    Duration    timedelta                     number of microseconds
    Optional    None or a value               null or the value
    List        tuple                         array
    Record      tuple, in the fields' order   object

Plain tuples keep markings hashable, comparable and quick to copy; a field access compiles to an index.
Types are data too, so a net file carries its own and loads without running anybody's code.
``provenet.nets.models`` bridges to pydantic models.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from provenet.nets.erased import Erased
from provenet.nets.errors import TypeMismatch
from provenet.nets.quick import dataclass

Value = Any
"""A token value or part of one: see the table in the module's docstring."""

UNIT_VALUE: tuple[()] = ()


@dataclass(frozen=True, slots=True)
class UnitType:
    """The type of a plain black token."""

    def __str__(self) -> str:
        return "unit"


@dataclass(frozen=True, slots=True)
class BoolType:
    """True or false."""

    def __str__(self) -> str:
        return "bool"


@dataclass(frozen=True, slots=True)
class IntType:
    """An integer, with inclusive bounds where they are declared."""

    lo: int | None = None
    hi: int | None = None

    def __str__(self) -> str:
        return "int" + _bounds(self.lo, self.hi)


@dataclass(frozen=True, slots=True)
class DecimalType:
    """A finite decimal number.

    Attributes:
        lo: Inclusive lower bound.
        hi: Inclusive upper bound.
        places: Most digits after the point; ``None`` for any.
    """

    lo: Decimal | None = None
    hi: Decimal | None = None
    places: int | None = None

    def __str__(self) -> str:
        return "decimal" + _bounds(self.lo, self.hi)


@dataclass(frozen=True, slots=True)
class FloatType:
    """A finite binary float: it may be compared, not computed with."""

    lo: float | None = None
    hi: float | None = None

    def __str__(self) -> str:
        return "float" + _bounds(self.lo, self.hi)


@dataclass(frozen=True, slots=True)
class StrType:
    """A string of code points, at most ``max_length`` long where it is declared."""

    max_length: int | None = None

    def __str__(self) -> str:
        return "str" if self.max_length is None else f"str[..{self.max_length}]"


@dataclass(frozen=True, slots=True)
class EnumType:
    """One of finitely many strings or integers; compared by value."""

    name: str
    values: tuple[str | int, ...]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(repr(v) for v in self.values)})"


@dataclass(frozen=True, slots=True)
class DateTimeType:
    """An aware point in time, to the microsecond."""

    def __str__(self) -> str:
        return "datetime"


@dataclass(frozen=True, slots=True)
class DurationType:
    """A span of time, to the microsecond."""

    def __str__(self) -> str:
        return "duration"


@dataclass(frozen=True, slots=True)
class OptionalType:
    """A value or null. A missing field is not null: the schema refuses it."""

    item: Type

    def __str__(self) -> str:
        return f"{self.item}?"


@dataclass(frozen=True, slots=True)
class ListType:
    """At most ``max_length`` values of one type; with no bound, the prover sees only its length."""

    item: Type
    max_length: int | None = None

    def __str__(self) -> str:
        return f"list[{self.item}]" + ("" if self.max_length is None else f"[..{self.max_length}]")


Mark: TypeAlias = Literal["", "secret", "personal"]
"""``secret`` is hidden wherever people read; ``personal`` is, and is encrypted where it is stored as well."""


@dataclass(frozen=True, slots=True)
class Field:
    """A named field of a record; the value of one that is marked is shown to nobody."""

    name: str
    type: Type
    mark: Mark = ""


@dataclass(frozen=True, slots=True)
class RecordType:
    """Named fields in a fixed order; equal by name and fields."""

    name: str
    fields: tuple[Field, ...]
    _index: dict[str, int] = field(init=False, repr=False, compare=False)
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_index", {f.name: i for i, f in enumerate(self.fields)})
        object.__setattr__(self, "_hash", hash((self.name, self.fields)))

    def __hash__(self) -> int:
        return self._hash

    def index(self, name: str) -> int | None:
        """Position of a field, or ``None`` where the record has no such field."""
        return self._index.get(name)

    def field(self, name: str) -> Field | None:
        """The field of that name, or ``None``."""
        i = self._index.get(name)
        return None if i is None else self.fields[i]

    def __str__(self) -> str:
        return self.name


Type: TypeAlias = (
    UnitType
    | BoolType
    | IntType
    | DecimalType
    | FloatType
    | StrType
    | EnumType
    | DateTimeType
    | DurationType
    | OptionalType
    | ListType
    | RecordType
)
"""Any token type."""

UNIT = UnitType()
BOOL = BoolType()
INT = IntType()
STR = StrType()
DATETIME = DateTimeType()
DURATION = DurationType()

HIDDEN = "***"
"""What is shown in place of a secret."""

# Bounds that keep arithmetic inside Python's calendar and decimals exact, so that evaluation agrees with
# the solver.
_MAX_DURATION = timedelta(days=400_000)
_MAX_DIGITS = 60
_MAX_INT_BITS = 1_024
_MAX_CODE_POINT = 0x2FFFF  # the solver's strings end here (SMT-LIB 2.6 theory of Unicode strings)


def check(value: Value, of: Type, path: str = "") -> None:
    """Check that a value belongs to a type.

    Args:
        value: A value in the form of this module's table.
        of: The type.
        path: Name to use for the value in the error.

    Raises:
        TypeMismatch: It does not; the error names the innermost field.
    """
    ok = False
    match of:
        case UnitType():
            ok = isinstance(value, tuple) and value == ()
        case BoolType():
            ok = isinstance(value, bool)
        case IntType(lo, hi):
            ok = isinstance(value, int) and not isinstance(value, bool) and _within(value, lo, hi)
            ok = ok and value.bit_length() <= _MAX_INT_BITS
        case DecimalType(lo, hi, places):
            ok = (
                isinstance(value, Decimal) and value.is_finite() and _modest(value) and _within(value, lo, hi)
            )
            ok = ok and (places is None or _places(value) <= places)
        case FloatType(lo, hi):
            ok = isinstance(value, float) and math.isfinite(value) and _within(value, lo, hi)
        case StrType(max_length):
            ok = isinstance(value, str) and (max_length is None or len(value) <= max_length)
            ok = ok and (value.isascii() or all(map(_representable, value)))
        case EnumType(_, values):
            ok = any(type(value) is type(v) and value == v for v in values)
        case DateTimeType():
            ok = isinstance(value, datetime) and value.utcoffset() is not None
            ok = ok and 1900 <= value.year < 3000 and 1900 <= value.astimezone(UTC).year < 3000
        case DurationType():
            ok = isinstance(value, timedelta) and abs(value) <= _MAX_DURATION
        case OptionalType(item):
            if value is not None:
                check(value, item, path)
            return
        case ListType(item, max_length):
            ok = isinstance(value, tuple) and (max_length is None or len(value) <= max_length)
            if ok:
                for i, element in enumerate(value):
                    check(element, item, f"{path}[{i}]")
        case RecordType(_, fields):
            ok = isinstance(value, tuple) and len(value) == len(fields)
            if ok:
                for f, part in zip(fields, value, strict=True):
                    if f.mark == "personal" and type(part) is Erased:
                        continue
                    try:
                        check(part, f.type, f"{path}.{f.name}" if path else f.name)
                    except TypeMismatch as error:
                        raise hiding(error, f) from None
            elif any(f.mark for f in fields):
                raise TypeMismatch(field=path, expected=describe(of), got=HIDDEN)
    if not ok:
        raise TypeMismatch(field=path, expected=describe(of), got=shorten(value))


def checker(of: Type) -> Callable[[Value], bool]:
    """Whether a value belongs to a type: a function made once for many values. ``check`` says what is wrong.

    A step of a case checks every token that it builds: walking the type anew each time was a third of a
    firing's cost.
    """
    match of:
        case StrType(max_length):
            most = math.inf if max_length is None else max_length
            return lambda v: (
                isinstance(v, str) and len(v) <= most and (v.isascii() or all(map(_representable, v)))
            )
        case BoolType():
            return lambda v: v is True or v is False
        case IntType(lo, hi):
            return lambda v: (
                type(v) is int
                and (lo is None or v >= lo)
                and (hi is None or v <= hi)
                and v.bit_length() <= _MAX_INT_BITS
            )
        case OptionalType(item):
            inner = checker(item)
            return lambda v: v is None or inner(v)
        case ListType(item, max_length):
            element, longest = checker(item), math.inf if max_length is None else max_length
            return lambda v: isinstance(v, tuple) and len(v) <= longest and all(map(element, v))
        case RecordType(_, fields):
            parts = [_or_erased(f.type) if f.mark == "personal" else checker(f.type) for f in fields]
            size = len(parts)

            def record(v: Value) -> bool:
                if not isinstance(v, tuple) or len(v) != size:
                    return False
                for fits, part in zip(parts, v, strict=True):  # noqa: SIM110  all() makes a generator each time
                    if not fits(part):
                        return False
                return True

            return record
        case _:
            return lambda v: _belongs(v, of)


def _belongs(value: Value, of: Type) -> bool:
    try:
        check(value, of)
    except TypeMismatch:
        return False
    return True


def describe(of: Type) -> str:
    """A type in words, for error messages."""
    match of:
        case DateTimeType():
            return "an aware datetime between 1900 and 3000"
        case EnumType(_, values):
            return "one of " + ", ".join(repr(v) for v in values)
        case RecordType(name, fields):
            return f"{name} with fields " + ", ".join(f.name for f in fields)
        case FloatType():
            return f"a finite {of}"
        case _:
            return str(of)


def shorten(value: object, limit: int = 80) -> str:
    """A value for an error message: its repr, cut at ``limit`` characters."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # lists in lists in lists; a number of thousands of digits
        text = f"a {type(value).__name__} too deep or too long to show"
    return text if len(text) <= limit else text[: limit - 3] + "..."


def to_json(value: Value, of: Type) -> Any:
    """A value as JSON data, by the module's table; the inverse of ``from_json``."""
    match of:
        case UnitType():
            return None
        case OptionalType(item):
            return None if value is None else to_json(value, item)
        case DecimalType():
            return str(value)
        case DateTimeType():
            return value.astimezone(UTC).isoformat()
        case DurationType():
            return microseconds(value)
        case ListType(item):
            return [to_json(v, item) for v in value]
        case RecordType(_, fields):
            return {f.name: to_json(v, f.type) for f, v in zip(fields, value, strict=True)}
        case _:
            return value


def from_json(data: Any, of: Type, path: str = "") -> Value:
    """A value from JSON data, checked against its type.

    Raises:
        TypeMismatch: The data has another shape, misses a field or has one too many, or breaks a bound.
    """
    value = _parse(data, of, path)
    check(value, of, path)
    return value


def microseconds(span: timedelta) -> int:
    """A duration as a whole number of microseconds."""
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds


def plainest(of: Type) -> Value:
    """Some value of the type, the plainest: fills slots that nothing reads, and parts of witnesses."""
    match of:
        case UnitType():
            return ()
        case BoolType():
            return False
        case IntType(lo, hi):
            return _nearest_zero(lo, hi, 0)
        case DecimalType(lo, hi):
            return _nearest_zero(lo, hi, Decimal(0))
        case FloatType(lo, hi):
            return _nearest_zero(lo, hi, 0.0)
        case StrType():
            return ""
        case EnumType(_, values):
            return values[0]
        case DateTimeType():
            return datetime(1970, 1, 1, tzinfo=UTC)
        case DurationType():
            return timedelta(0)
        case OptionalType():
            return None
        case ListType():
            return ()
        case RecordType(_, fields):
            return tuple(plainest(f.type) for f in fields)


def _parse(data: Any, of: Type, path: str) -> Value:
    """JSON shape to value shape; bounds are left to ``check``."""
    try:
        match of:
            case UnitType() if data is None:
                return ()
            case DecimalType() if isinstance(data, str):
                return Decimal(data)
            case DecimalType() if isinstance(data, int) and not isinstance(data, bool):
                return Decimal(data)
            case FloatType() if isinstance(data, int | float) and not isinstance(data, bool):
                return float(data)
            case DateTimeType() if isinstance(data, str):
                moment = datetime.fromisoformat(data)
                return moment if moment.utcoffset() is None else moment.astimezone(UTC)
            case DurationType() if isinstance(data, int) and not isinstance(data, bool):
                return timedelta(microseconds=data)
            case BoolType() | IntType() | StrType() | EnumType():
                return data
            case OptionalType(item):
                return None if data is None else _parse(data, item, path)
            case ListType(item) if isinstance(data, list | tuple):
                return tuple(_parse(d, item, f"{path}[{i}]") for i, d in enumerate(data))
            case RecordType(name, fields) if isinstance(data, dict):
                unknown = [str(k) for k in data if of.index(k) is None]
                missing = [f.name for f in fields if f.name not in data]
                if unknown or missing:
                    parts = [f"no {m}" for m in missing] + [f"unknown field {shorten(u)}" for u in unknown]
                    raise TypeMismatch(field=path or name, expected=describe(of), got="; ".join(parts))
                return tuple(_parse_field(data[f.name], f, path) for f in fields)
            case RecordType(_, fields) if any(f.mark for f in fields):
                raise TypeMismatch(field=path, expected=describe(of), got=HIDDEN)
    except (ArithmeticError, ValueError):
        pass
    raise TypeMismatch(field=path, expected=describe(of), got=shorten(data))


def _or_erased(of: Type) -> Callable[[Value], bool]:
    fits = checker(of)
    return lambda v: type(v) is Erased or fits(v)


def _parse_field(data: Any, field: Field, path: str) -> Value:
    if field.mark == "personal" and type(data) is Erased:
        return data
    try:
        return _parse(data, field.type, f"{path}.{field.name}" if path else field.name)
    except TypeMismatch as error:
        raise hiding(error, field) from None


def hiding(error: TypeMismatch, field: Field) -> TypeMismatch:
    """What does not fit into a field, without its value where that is secret."""
    if not field.mark:
        return error
    return TypeMismatch(field=error.field, expected=error.expected, got=HIDDEN)


def _within(value: Any, lo: Any, hi: Any) -> bool:
    return (lo is None or value >= lo) and (hi is None or value <= hi)


def _nearest_zero(lo: Any, hi: Any, zero: Any) -> Any:
    if lo is not None and lo > zero:
        return lo
    return hi if hi is not None and hi < zero else zero


def _places(value: Decimal) -> int:
    return max(0, -_trimmed(value)[1])


def _modest(value: Decimal) -> bool:
    """Few enough digits, and an exponent small enough, that sums and products stay exact and cheap."""
    digits, exponent = _trimmed(value)
    return digits <= _MAX_DIGITS and abs(exponent) <= _MAX_DIGITS


def _trimmed(value: Decimal) -> tuple[int, int]:
    """Digits and exponent without trailing zeros: equal values belong to the same types."""
    _, digits, exponent = value.as_tuple()
    count = len(digits)
    while count and not digits[count - 1]:
        count -= 1
    return (count, int(exponent) + len(digits) - count) if count else (0, 0)


def _representable(c: str) -> bool:
    return ord(c) <= _MAX_CODE_POINT and not 0xD800 <= ord(c) <= 0xDFFF


def _bounds(lo: object, hi: object) -> str:
    if lo is None and hi is None:
        return ""
    return f"[{'' if lo is None else lo}..{'' if hi is None else hi}]"

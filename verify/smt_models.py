"""Values of models: what a solver's numbers and codes are as parts of token values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from string import ascii_lowercase

import z3

from provenet.nets.errors import ProvenetError
from provenet.nets.schema import (
    BoolType,
    DateTimeType,
    DecimalType,
    DurationType,
    EnumType,
    FloatType,
    IntType,
    ListType,
    OptionalType,
    RecordType,
    StrType,
    Type,
    UnitType,
    Value,
    plainest,
    shorten,
)
from provenet.verify.smt_text import text_of
from provenet.verify.smt_values import Strings, SymList, SymOptional, SymValue

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SHORT = 13
"""Codes beyond the constants' that stand for one letter."""

_MAX_PLAIN = 10_000


@dataclass(slots=True)
class Codes:
    """Integers that stand for values which are only compared."""

    _codes: dict[tuple[str, Value], int] = field(default_factory=dict)
    _meanings: list[tuple[str, Value]] = field(default_factory=list)

    def of(self, kind: str, value: Value) -> int:
        """The code of a constant, the next free one where it is new."""
        key = (kind, value)
        code = self._codes.get(key)
        if code is None:
            code = self._codes[key] = len(self._meanings)
            self._meanings.append(key)
        return code

    def member(self, value: str | int, of: EnumType) -> int:
        """The integer that stands for a member of an enum; enums of ints are written as those."""
        if isinstance(value, str):
            return self.of("str", value)
        return value if all(isinstance(v, int) for v in of.values) else self.of("int", value)

    def __len__(self) -> int:
        return len(self._meanings)

    def known(self, kind: str) -> list[tuple[int, Value]]:
        """All constants of a kind, with their codes."""
        return [(code, value) for (k, value), code in self._codes.items() if k == kind]

    def meaning(self, kind: str, code: int) -> Value | None:
        """The constant of a kind that has this code, if one has."""
        found = self._meanings[code] if 0 <= code < len(self._meanings) else ("", None)
        return found[1] if found[0] == kind else None

    def other(self, code: int) -> str:
        """A text for a code of no constant: none of the constants, and different for different codes."""
        beyond = code - len(self._meanings)
        text = _letters(2 * beyond if beyond >= 0 else -2 * code - 1)
        while ("str", text) in self._codes:
            text += "'"
        return text


class Unrepresentable(ProvenetError):
    """A model's value that no token has, such as 1/3 for a decimal; ``Encoding.representable`` avoids it."""

    code = "PN601"


def concretize(model: z3.ModelRef, value: SymValue, of: Type, strings: Strings, codes: Codes) -> Value:
    """The value of a type's structure that a model gives; its bounds are left to the caller.

    Raises:
        Unrepresentable: No token has it.
    """
    match of:
        case UnitType():
            return ()
        case BoolType():
            return z3.is_true(model.eval(value, model_completion=True))
        case IntType():
            return read_int(model, value)
        case DecimalType():
            return as_decimal(read_real(model, value))
        case FloatType():
            return as_float(read_real(model, value))
        case StrType(max_length):
            if strings == "theory":
                return text_of(model.eval(value, model_completion=True))
            return read_text(read_int(model, value), max_length, codes)
        case EnumType(_, values):
            code = read_int(model, value)
            for v in values:
                if codes.member(v, of) == code:
                    return v
            raise Unrepresentable(f"a model's value is none of {of}")
        case DateTimeType():
            return as_datetime(read_int(model, value))
        case DurationType():
            return as_duration(read_int(model, value))
        case OptionalType(item):
            if isinstance(item, OptionalType):
                return concretize(model, value, item, strings, codes)
            assert isinstance(value, SymOptional)
            present = z3.is_true(model.eval(value.present, model_completion=True))
            return concretize(model, value.value, item, strings, codes) if present else None
        case ListType(item):
            assert isinstance(value, SymList)
            length = read_int(model, value.length)
            if value.items is not None:
                return tuple(
                    concretize(model, v, item, strings, codes) for v in value.items[: max(length, 0)]
                )
            return read_list(read_int(model, value.code), length, item, codes)
        case RecordType(_, fields):
            assert isinstance(value, tuple)
            return tuple(
                concretize(model, v, f.type, strings, codes) for f, v in zip(fields, value, strict=True)
            )


def texts_of(value: SymValue, of: Type) -> Iterator[z3.ArithRef]:
    """The codes of the texts in a value, but for those in lists."""
    match of:
        case StrType() if isinstance(value, z3.ArithRef):
            yield value
        case OptionalType(item) if isinstance(value, SymOptional):
            yield from texts_of(value.value, item)
        case RecordType(_, fields) if isinstance(value, tuple):
            for f, v in zip(fields, value, strict=True):
                yield from texts_of(v, f.type)
        case _:
            return


def read_text(code: int, max_length: int | None, codes: Codes) -> str:
    """The text that a code stands for: its constant, or one of its own."""
    known = codes.meaning("str", code)
    text = codes.other(code) if known is None else str(known)
    if max_length is not None and len(text) > max_length:
        raise Unrepresentable(f"no other text of at most {max_length} characters stands for {shorten(text)}")
    return text


def read_list(code: int, length: int, item: Type, codes: Codes) -> Value:
    """A list that a code and a length stand for: the constant, or one of the plainest elements."""
    known = codes.meaning("list", code)
    if known is not None and len(known) == length:
        return known
    if not 0 <= length <= _MAX_PLAIN:
        raise Unrepresentable(f"a model's list has {length} elements")
    return (plainest(item),) * length


def read_int(model: z3.ModelRef, value: SymValue) -> int:
    """The integer that a model gives to a term."""
    return int(model.eval(value, model_completion=True).as_long())


def read_real(model: z3.ModelRef, value: SymValue) -> Fraction:
    """The rational number that a model gives to a term."""
    found = model.eval(value, model_completion=True)
    if not z3.is_rational_value(found):
        raise Unrepresentable(f"a model's number is irrational: {shorten(found)}")
    return Fraction(found.numerator_as_long(), found.denominator_as_long())


def as_decimal(value: Fraction) -> Decimal:
    """A rational number as a decimal with as few digits as it takes."""
    places, rest = 0, value.denominator
    for prime in (2, 5):
        power = 0
        while rest % prime == 0:
            rest, power = rest // prime, power + 1
        places = max(places, power)
    if rest != 1:
        raise Unrepresentable(f"{value} has no finite decimal form")
    coefficient = value.numerator * (10**places // value.denominator)
    digits = tuple(int(d) for d in str(abs(coefficient)))
    return Decimal((int(coefficient < 0), digits, -places))


def as_float(value: Fraction) -> float:
    """A rational number as the float that is equal to it."""
    try:
        found = float(value)
    except OverflowError:
        raise Unrepresentable(f"{shorten(value)} is too large for a float") from None
    if Fraction(found) != value:
        raise Unrepresentable(f"{value} is no binary float")
    return found


def as_datetime(value: int) -> datetime:
    """Microseconds since 1970 as a point in time."""
    try:
        return EPOCH + timedelta(microseconds=value)
    except OverflowError:
        raise Unrepresentable(f"{value} microseconds from 1970 leave the calendar") from None


def as_duration(value: int) -> timedelta:
    """Microseconds as a duration."""
    try:
        return timedelta(microseconds=value)
    except OverflowError:
        raise Unrepresentable(f"{value} microseconds are too long a duration") from None


def _letters(number: int) -> str:
    """Different short words for different numbers from 0: a, b, ..., z, aa, ab, ..."""
    word = ""
    number += 1
    while number > 0:
        number, letter = divmod(number - 1, 26)
        word = ascii_lowercase[letter] + word
    return word

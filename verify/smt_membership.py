"""Membership of symbolic values in token types: the solver's ``provenet.nets.schema.check``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

import z3

from provenet.nets.errors import TypeMismatch
from provenet.nets.quick import dataclass
from provenet.nets.schema import (
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
    Value,
    check,
    microseconds,
)
from provenet.verify.smt_models import EPOCH, Codes
from provenet.verify.smt_text import no_surrogates
from provenet.verify.smt_values import (
    Strings,
    SymList,
    SymOptional,
    SymValue,
    absent,
    all_of,
    any_of,
    bound,
    flatten,
    implies,
    integer,
    less,
    negation,
    real,
    same,
    scalars,
)

Reading: TypeAlias = Literal["assume", "prove"]
"""Which way to err where a code hides what a bound is about; see ``Encoding.inhabits``."""

_FIRST = microseconds(datetime(1900, 1, 1, tzinfo=UTC) - EPOCH)
_LAST = microseconds(datetime(3000, 1, 1, tzinfo=UTC) - EPOCH) - 1
_ZONE = 86_400_000_000 - 1
_MAX_SPAN = microseconds(timedelta(days=400_000))
_SPARE = 12
_MAX_PLACES = 30


@dataclass(frozen=True, slots=True)
class Membership:
    """What it takes to belong to a type, in one encoding.

    Attributes:
        strings: How strings are written.
        codes: The codes of constants.
    """

    strings: Strings
    codes: Codes

    def holds(self, value: SymValue, of: Type, reading: Reading) -> z3.BoolRef:
        """See ``Encoding.inhabits``."""
        parts: list[z3.BoolRef] = []
        self._inhabits(value, of, reading, parts)
        return all_of(parts)

    def representable(self, value: SymValue, of: Type) -> z3.BoolRef:
        """See ``Encoding.representable``."""
        parts: list[z3.BoolRef] = []
        self._representable(value, of, parts)
        return all_of(parts)

    def _inhabits(self, value: SymValue, of: Type, reading: Reading, out: list[z3.BoolRef]) -> None:
        match of:
            case IntType(lo, hi):
                bound(value, None if lo is None else integer(lo), None if hi is None else integer(hi), out)
            case DecimalType(lo, hi, places):
                bound(value, None if lo is None else real(lo), None if hi is None else real(hi), out)
                if places is not None:
                    out.append(z3.IsInt(value * real(10**places)))
                if reading == "prove":
                    self._few_digits(value, of, out)
            case FloatType(lo, hi):
                bound(value, None if lo is None else real(lo), None if hi is None else real(hi), out)
            case StrType(max_length) if max_length is not None:
                self._short(value, max_length, reading, out)
            case EnumType(_, values):
                out.append(any_of([same(value, integer(self.codes.member(v, of))) for v in values]))
            case DateTimeType():
                # The year also counts in the value's own time zone, a day less a microsecond off UTC at most.
                slack = 0 if reading == "assume" else _ZONE
                bound(value, integer(_FIRST + slack), integer(_LAST - slack), out)
            case DurationType():
                bound(value, integer(-_MAX_SPAN), integer(_MAX_SPAN), out)
            case OptionalType(item):
                if isinstance(item, OptionalType):
                    self._inhabits(value, item, reading, out)
                    return
                assert isinstance(value, SymOptional)
                inner = self.holds(value.value, item, reading)
                out.append(self._guarded(value.present, inner, value.value, item))
            case ListType():
                assert isinstance(value, SymList)
                self._inhabits_list(value, of, reading, out)
            case RecordType(_, fields):
                assert isinstance(value, tuple)
                for f, part in zip(fields, value, strict=True):
                    self._inhabits(part, f.type, reading, out)
            case _:
                pass

    def _inhabits_list(self, value: SymList, of: ListType, reading: Reading, out: list[z3.BoolRef]) -> None:
        limit = None if of.max_length is None else integer(of.max_length)
        bound(value.length, integer(0), limit, out)
        if value.items is not None:
            for i, item in enumerate(value.items):
                there = less(integer(i), value.length)
                out.append(self._guarded(there, self.holds(item, of.item, reading), item, of.item))
            return
        assert value.code is not None
        known = [(integer(c), v) for c, v in self.codes.known("list")]
        out.extend(implies(same(value.code, c), same(value.length, integer(len(v)))) for c, v in known)
        if reading == "prove":
            out.append(any_of([same(value.code, c) for c, v in known if _belongs(v, of)]))
        else:
            out.append(
                same(same(value.length, integer(0)), same(value.code, integer(self.codes.of("list", ()))))
            )

    def _guarded(self, there: z3.BoolRef, inside: z3.BoolRef, value: SymValue, of: Type) -> z3.BoolRef:
        """``inside`` where something is there, canonical leaves where it is not."""
        defaults = flatten(absent(of, self.strings))
        empty = all_of([same(leaf, d) for leaf, d in zip(flatten(value), defaults, strict=True)])
        return all_of([implies(there, inside), any_of([there, empty])])

    def _short(self, value: z3.ExprRef, limit: int, reading: Reading, out: list[z3.BoolRef]) -> None:
        if self.strings == "theory":
            out.append(z3.Length(value) <= integer(limit))
            return
        if limit == 0:
            out.append(same(value, integer(self.codes.of("str", ""))))
            return
        known = [(integer(c), v) for c, v in self.codes.known("str")]
        if reading == "prove":
            out.append(any_of([same(value, c) for c, v in known if len(v) <= limit]))
        else:
            out.extend(negation(same(value, c)) for c, v in known if len(v) > limit)

    def _few_digits(self, value: z3.ExprRef, of: DecimalType, out: list[z3.BoolRef]) -> None:
        """A decimal carries at most 60 digits, so one that is computed must be shown to keep within them."""
        places = of.places if of.places is not None and of.places <= _MAX_PLACES else _MAX_PLACES
        if places != of.places:
            out.append(z3.IsInt(value * real(10**places)))
        if of.lo is None or of.hi is None or max(abs(of.lo), abs(of.hi)) >= 10 ** (60 - places):
            edge = 10 ** (60 - places) - 1
            bound(value, real(-edge), real(edge), out)

    def _representable(self, value: SymValue, of: Type, out: list[z3.BoolRef]) -> None:
        self._inhabits(value, of, "assume", out)
        for leaf, kind in scalars(value, of):
            match kind:
                case DecimalType():
                    places = 9 if kind.places is None else kind.places
                    if kind.places is None:
                        out.append(z3.IsInt(leaf * real(10**places)))
                    edge = 10 ** (50 - min(places, 40))
                    bound(leaf, real(-edge), real(edge), out)
                case FloatType():
                    out.append(z3.IsInt(leaf * real(2**10)))
                    bound(leaf, real(-(2**40)), real(2**40), out)
                case StrType() if self.strings == "theory":
                    out.append(z3.InRe(leaf, no_surrogates()))
                case StrType():
                    bound(leaf, integer(-_SPARE), integer(len(self.codes) + _SPARE), out)


def _belongs(value: Value, of: Type) -> bool:
    try:
        check(value, of)
    except TypeMismatch:
        return False
    return True

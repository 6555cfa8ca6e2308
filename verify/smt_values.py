"""Symbolic token values: bundles of solver terms in the shape of a token type.

::

    type                     leaves
    Unit                     none
    Bool                     Bool
    Int, Enum of ints        Int
    Decimal, Float           Real
    Enum of strings          Int: a code for each constant
    Str                      Int code ("identity") or String ("theory")
    DateTime, Duration       Int: microseconds (since 1970 UTC)
    Optional                 Bool (present), then the item; canonical leaves where absent
    List, at most 8 long     Int (length), then the items; canonical leaves beyond the length
    other List               Int (length), Int code (which list it is)
    Record                   the fields', in order
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import z3
from z3 import z3core

from provenet.nets.quick import dataclass
from provenet.nets.schema import (
    BoolType,
    DecimalType,
    FloatType,
    ListType,
    OptionalType,
    RecordType,
    StrType,
    Type,
    UnitType,
)
from provenet.verify.smt_text import Opaque

Strings: TypeAlias = Literal["identity", "theory"]
"""How strings are written: ``identity`` where they are only compared, ``theory`` for the rest."""

MAX_ITEMS = 8
"""Lists that may be longer have no leaves for their elements."""
_MAX_LEAVES = 64

TRUE = z3.BoolVal(True)
FALSE = z3.BoolVal(False)


@dataclass(frozen=True, slots=True)
class SymOptional:
    """A symbolic value or null."""

    present: z3.BoolRef
    value: SymValue


@dataclass(frozen=True, slots=True)
class SymList:
    """A symbolic list.

    Attributes:
        length: Its length.
        items: Its elements and, beyond its length, canonical leaves; ``None`` where they are not known.
        code: Which list it is, where that is known.
    """

    length: z3.ArithRef
    items: tuple[SymValue, ...] | None
    code: z3.ArithRef | None = None


SymValue: TypeAlias = "z3.ExprRef | tuple[SymValue, ...] | SymOptional | SymList"
"""A symbolic token value; its structure follows the token type, Unit and Record are tuples."""


def flatten(value: SymValue) -> list[z3.ExprRef]:
    """The leaves of a value in a fixed order."""
    out: list[z3.ExprRef] = []
    _flatten(value, out)
    return out


def _flatten(value: SymValue, out: list[z3.ExprRef]) -> None:
    match value:
        case tuple():
            for part in value:
                _flatten(part, out)
        case SymOptional(present, inner):
            out.append(present)
            _flatten(inner, out)
        case SymList(length, items, code):
            out.append(length)
            if items is None:
                out.append(code)
            else:
                for item in items:
                    _flatten(item, out)
        case _:
            out.append(value)


def take(of: Type, leaves: Iterator[z3.ExprRef]) -> SymValue:
    """The next leaves as a value of a type."""
    match of:
        case UnitType():
            return ()
        case OptionalType(item):
            if isinstance(item, OptionalType):
                return take(item, leaves)
            return SymOptional(next(leaves), take(item, leaves))
        case ListType(item, max_length):
            length = next(leaves)
            if not is_bounded(of):
                return SymList(length, None, next(leaves))
            return SymList(length, tuple(take(item, leaves) for _ in range(max_length or 0)))
        case RecordType(_, fields):
            return tuple(take(f.type, leaves) for f in fields)
        case _:
            return next(leaves)


@lru_cache(maxsize=1024)
def leaf_sorts(of: Type, strings: Strings) -> tuple[z3.SortRef, ...]:
    """The sorts of a type's leaves."""
    match of:
        case UnitType():
            return ()
        case OptionalType(item):
            inner = leaf_sorts(item, strings)
            return inner if isinstance(item, OptionalType) else (z3.BoolSort(), *inner)
        case ListType(item, max_length):
            if not is_bounded(of):
                return (z3.IntSort(), z3.IntSort())
            return (z3.IntSort(), *(leaf_sorts(item, strings) * (max_length or 0)))
        case RecordType(_, fields):
            return tuple(s for f in fields for s in leaf_sorts(f.type, strings))
        case _:
            return (scalar_sort(of, strings),)


def scalar_sort(of: Type, strings: Strings) -> z3.SortRef:
    """The sort of a scalar type."""
    match of:
        case BoolType():
            return z3.BoolSort()
        case DecimalType() | FloatType():
            return z3.RealSort()
        case StrType() if strings == "theory":
            return z3.StringSort()
        case _:
            return z3.IntSort()


@lru_cache(maxsize=1024)
def absent(of: Type, strings: Strings) -> SymValue:
    """The canonical leaves of what is not there."""
    defaults = {z3.Z3_BOOL_SORT: FALSE, z3.Z3_INT_SORT: integer(0), z3.Z3_REAL_SORT: real(Fraction(0))}
    leaves = [defaults.get(s.kind(), _EMPTY) for s in leaf_sorts(of, strings)]
    return take(of, iter(leaves))


@lru_cache(maxsize=1024)
def is_bounded(of: ListType) -> bool:
    """Whether the elements of a list have leaves of their own."""
    if of.max_length is None or of.max_length > MAX_ITEMS:
        return False
    return of.max_length * len(leaf_sorts(of.item, "identity")) <= _MAX_LEAVES


def strip(of: OptionalType) -> OptionalType:
    """An optional of an optional is an optional: there is only one null."""
    while isinstance(of.item, OptionalType):
        of = of.item
    return of


def scalars(value: SymValue, of: Type) -> Iterator[tuple[z3.ExprRef, Type]]:
    """The leaves of scalar types with their types."""
    match of:
        case OptionalType(item):
            if isinstance(value, SymOptional):
                value = value.value
            yield from scalars(value, strip(of).item if isinstance(item, OptionalType) else item)
        case ListType(item):
            assert isinstance(value, SymList)
            for part in value.items or ():
                yield from scalars(part, item)
        case RecordType(_, fields):
            assert isinstance(value, tuple)
            for f, part in zip(fields, value, strict=True):
                yield from scalars(part, f.type)
        case UnitType():
            pass
        case _:
            yield value, of


# Terms: constants are shared, what is trivially true or false is not built, and the operators of z3's Python
# layer, which look for casts at every step, are left out: encoding is most of the time of an easy proof.

_CONTEXT = z3.main_ctx()
_REF = _CONTEXT.ref()


@lru_cache(maxsize=4096)
def integer(value: int) -> z3.IntNumRef:
    """A constant of sort Int."""
    return z3.IntVal(int(value))


@lru_cache(maxsize=4096)
def real(value: Fraction | Decimal | float) -> z3.RatNumRef:
    """A number as a constant of sort Real, exactly."""
    value = Fraction(value)
    return z3.RealVal(f"{value.numerator}/{value.denominator}")


_EMPTY = z3.StringVal("")


def same(a: z3.ExprRef, b: z3.ExprRef) -> z3.BoolRef:
    """That two leaves of one sort are equal."""
    return z3.BoolRef(z3core.Z3_mk_eq(_REF, a.ast, b.ast), _CONTEXT)


def at_most(a: z3.ArithRef, b: z3.ArithRef) -> z3.BoolRef:
    """That of two numbers of one sort the first is not the greater."""
    return z3.BoolRef(z3core.Z3_mk_le(_REF, a.ast, b.ast), _CONTEXT)


def less(a: z3.ArithRef, b: z3.ArithRef) -> z3.BoolRef:
    """That of two numbers of one sort the first is less."""
    return z3.BoolRef(z3core.Z3_mk_lt(_REF, a.ast, b.ast), _CONTEXT)


def negation(of: z3.BoolRef) -> z3.BoolRef:
    """That a formula does not hold."""
    if of is TRUE or of is FALSE:
        return FALSE if of is TRUE else TRUE
    return z3.BoolRef(z3core.Z3_mk_not(_REF, of.ast), _CONTEXT)


def implies(a: z3.BoolRef, b: z3.BoolRef) -> z3.BoolRef:
    """That where one formula holds, the other does."""
    if a is TRUE or b is TRUE:
        return b
    return z3.BoolRef(z3core.Z3_mk_implies(_REF, a.ast, b.ast), _CONTEXT)


def all_of(parts: Sequence[z3.BoolRef]) -> z3.BoolRef:
    """That all formulas hold."""
    parts = [p for p in parts if p is not TRUE]
    if any(p is FALSE for p in parts):
        return FALSE
    if len(parts) < 2:
        return parts[0] if parts else TRUE
    return z3.BoolRef(z3core.Z3_mk_and(_REF, len(parts), _array(parts)), _CONTEXT)


def any_of(parts: Sequence[z3.BoolRef]) -> z3.BoolRef:
    """That some formula holds."""
    parts = [p for p in parts if p is not FALSE]
    if any(p is TRUE for p in parts):
        return TRUE
    if len(parts) < 2:
        return parts[0] if parts else FALSE
    return z3.BoolRef(z3core.Z3_mk_or(_REF, len(parts), _array(parts)), _CONTEXT)


def bound(value: z3.ArithRef, lo: z3.ArithRef | None, hi: z3.ArithRef | None, out: list[z3.BoolRef]) -> None:
    """Add the inclusive bounds of a number to ``out``."""
    if lo is not None:
        out.append(at_most(lo, value))
    if hi is not None:
        out.append(at_most(value, hi))


def _array(parts: Sequence[z3.BoolRef]) -> Any:
    return (z3.Ast * len(parts))(*[p.ast for p in parts])


def equal(a: SymValue, b: SymValue) -> z3.BoolRef:
    """That two symbolic values of one type are equal; see ``Encoding.equal``."""
    if a is b:
        return TRUE
    match a, b:
        case tuple(), tuple():
            return all_of([equal(x, y) for x, y in zip(a, b, strict=True)])
        case SymOptional(p, x), SymOptional(q, y):
            if p is FALSE or q is FALSE:
                return negation(q if p is FALSE else p)
            alike = equal(x, y)
            if p is TRUE or q is TRUE:
                return all_of([q if p is TRUE else p, alike])
            return all_of([same(p, q), implies(p, alike)])
        case SymList(n, xs, c), SymList(m, ys, d):
            if c is not None and d is not None:
                return all_of([equal(n, m), equal(c, d)])
            if xs is None or ys is None:
                raise Opaque(
                    "a list of known elements is compared with one of unknown elements",
                    hint=f"give both lists a max_length of at most {MAX_ITEMS}",
                )
            pairs = enumerate(zip(xs, ys, strict=False))
            alike = [implies(less(integer(i), n), equal(x, y)) for i, (x, y) in pairs]
            return all_of([equal(n, m), *alike])
        case _:
            return same(a, b)


def ite(condition: z3.BoolRef, a: SymValue, b: SymValue) -> SymValue:
    """``a`` where the condition holds, else ``b``; see ``Encoding.ite``."""
    if a is b or condition is TRUE:
        return a
    if condition is FALSE:
        return b
    match a, b:
        case tuple(), tuple():
            return tuple(ite(condition, x, y) for x, y in zip(a, b, strict=True))
        case SymOptional(p, x), SymOptional(q, y):
            return SymOptional(ite(condition, p, q), ite(condition, x, y))
        case SymList(n, xs, c), SymList(m, ys, d):
            code = None if c is None or d is None else ite(condition, c, d)
            items = None
            if xs is not None and ys is not None and len(xs) == len(ys):
                items = tuple(ite(condition, x, y) for x, y in zip(xs, ys, strict=True))
            if code is None and items is None:
                raise Opaque(
                    "one branch is a list of known elements, the other one of unknown elements",
                    hint=f"give both lists a max_length of at most {MAX_ITEMS}",
                )
            return SymList(ite(condition, n, m), items, code)
        case _:
            return z3.If(condition, a, b)

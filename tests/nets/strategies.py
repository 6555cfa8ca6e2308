"""Hypothesis strategies for types, values and well-typed expressions, shared by all tests of expressions.

``SCOPE`` has a variable of every type. ``expressions(of)`` draws well-typed expressions over it, in normal
form; ``environments()`` draws values for its variables.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from provenet.nets.expr.ast import (
    And,
    Arith,
    Build,
    Compare,
    Const,
    Each,
    Expr,
    Get,
    If,
    IsNull,
    Len,
    Matches,
    Not,
    OneOf,
    Or,
    OrElse,
    TextTest,
    Var,
)
from provenet.nets.expr.normal import normal
from provenet.nets.expr.typing import widen
from provenet.nets.schema import (
    BOOL,
    DATETIME,
    DURATION,
    INT,
    STR,
    UNIT,
    BoolType,
    DateTimeType,
    DecimalType,
    DurationType,
    EnumType,
    Field,
    FloatType,
    IntType,
    ListType,
    OptionalType,
    RecordType,
    StrType,
    Type,
    UnitType,
    Value,
)

DECIMAL = DecimalType()
FLOAT = FloatType()
TIER = EnumType("Tier", ("gold", "silver", "new"))
LEVEL = EnumType("Level", (1, 2, 5))
LINE = RecordType("Line", (Field("sku", STR), Field("qty", IntType(0, 9))))
ORDER = RecordType(
    "Order",
    (
        Field("paid", BOOL),
        Field("count", IntType(-5, 50)),
        Field("price", DecimalType(Decimal(-10), Decimal(1000), 2)),
        Field("rate", FloatType(0.0, 1.0)),
        Field("name", StrType(8)),
        Field("tier", TIER),
        Field("level", LEVEL),
        Field("when", DATETIME),
        Field("wait", DURATION),
        Field("note", OptionalType(STR)),
        Field("limit", OptionalType(IntType(0, 20))),
        Field("cap", OptionalType(DECIMAL)),
        Field("best", OptionalType(TIER)),
        Field("codes", ListType(INT, 3)),
        Field("lines", ListType(LINE, 2)),
        Field("first", LINE),
        Field("in", INT),  # a keyword
        Field("length", INT),  # a method of the proxies
    ),
)
SCOPE: Mapping[str, Type] = {
    "o": ORDER,
    "n": INT,
    "small": IntType(0, 3),
    "p": DECIMAL,
    "b": BOOL,
    "s": STR,
    "t": DATETIME,
    "d": DURATION,
    "f": FLOAT,
    "e": TIER,
    "m": OptionalType(INT),
    "xs": ListType(INT, 3),
    "u": UNIT,
    "not": INT,
}
SCALARS: tuple[Type, ...] = (BOOL, INT, DECIMAL, FLOAT, STR, TIER, LEVEL, DATETIME, DURATION, UNIT)
PATTERNS = ("", "a*", "[a-c]+", "(ab|c){1,2}", "a?b.", r"\d{2,}", "[^a]*x")

_NUMBERS: tuple[Type, ...] = (INT, DECIMAL)
_NULLABLES: tuple[OptionalType, ...] = (OptionalType(INT), OptionalType(STR))
_MEMBERS: tuple[Type, ...] = (INT, STR, TIER, DECIMAL, OptionalType(INT), LINE)
_TEXTS = st.text(alphabet=st.sampled_from('abcx019 "\\`é\n\U0001f600'), max_size=6)


def values(of: Type) -> SearchStrategy[Value]:
    """Values of a type; small, so that comparisons come out both ways."""
    match of:
        case UnitType():
            return st.just(())
        case BoolType():
            return st.booleans()
        case IntType(lo, hi):
            lowest = -12 if lo is None else lo
            return st.integers(lowest, max(lowest, 12) if hi is None else hi)
        case DecimalType(lo, hi, places):
            return st.decimals(
                Decimal(-20) if lo is None else lo,
                Decimal(20) if hi is None else hi,
                places=2 if places is None else min(places, 2),
            )
        case FloatType(lo, hi):
            return st.floats(
                -5.0 if lo is None else lo, 5.0 if hi is None else hi, allow_nan=False, allow_infinity=False
            )
        case StrType(longest):
            return _TEXTS if longest is None else _TEXTS.map(lambda s: s[:longest])
        case EnumType(_, members):
            return st.sampled_from(members)
        case DateTimeType():
            return st.builds(
                lambda n: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=n),
                st.integers(-(10**15), 10**15) | st.integers(-3, 3),
            )
        case DurationType():
            return st.builds(
                lambda n, size: timedelta(microseconds=n * size),
                st.integers(-5, 5),
                st.sampled_from((1, 1_000_000, 60_000_000, 86_400_000_000)),
            )
        case OptionalType(item):
            return st.none() | values(item)
        case ListType(item, longest):
            return st.lists(values(item), max_size=3 if longest is None else longest).map(tuple)
        case RecordType(_, fields):
            return st.tuples(*(values(f.type) for f in fields))


def environments(scope: Mapping[str, Type] = SCOPE) -> SearchStrategy[dict[str, Value]]:
    """Values for all variables of a scope."""
    return st.fixed_dictionaries({name: values(of) for name, of in scope.items()})


def types(*, depth: int = 2) -> SearchStrategy[Type]:
    """Well-formed token types; records have distinct names for distinct fields only by chance."""
    scalars = st.sampled_from(
        (*SCALARS, IntType(0, 100), DecimalType(Decimal(0), Decimal(5), 2), StrType(4), FLOAT)
    )
    if depth == 0:
        return scalars
    inner = types(depth=depth - 1)
    optional = inner.filter(lambda t: not isinstance(t, OptionalType | UnitType)).map(OptionalType)
    lists = st.builds(ListType, inner, st.none() | st.integers(0, 3))
    names = st.lists(st.sampled_from(("a", "b", "copy", "in", "x_1")), min_size=1, max_size=3, unique=True)
    records = st.builds(
        lambda name, fields, parts: RecordType(name, tuple(map(Field, fields, parts))),
        st.sampled_from(("R", "S", "T")),
        names,
        st.lists(inner, min_size=3, max_size=3),
    )
    return scalars | optional | lists | records


@st.composite
def expressions(
    draw: DrawFn,
    of: Type = BOOL,
    scope: Mapping[str, Type] = SCOPE,
    depth: int = 3,
    *,
    like: Type | None = None,
) -> Expr:
    """Well-typed expressions of a type, in normal form.

    Args:
        draw: Given by Hypothesis.
        of: The type.
        scope: Types of the variables.
        depth: How deep operations nest.
        like: Type of the place that the expression is for, if any.
    """
    return normal(draw(_any(of, scope, depth)), scope, like)


def _any(of: Type, scope: Mapping[str, Type], depth: int) -> SearchStrategy[Expr]:
    return _shared(of, tuple(scope.items()), depth)


@cache  # one strategy for each type, scope and depth: Hypothesis walks through all that it can reach
def _shared(of: Type, variables: tuple[tuple[str, Type], ...], depth: int) -> SearchStrategy[Expr]:
    scope = dict(variables)
    leaves = _leaves(of, scope)
    return leaves if depth <= 0 else leaves | st.deferred(lambda: _compound(of, scope, depth - 1))


def _leaves(of: Type, scope: Mapping[str, Type]) -> SearchStrategy[Expr]:
    wide = widen(of)
    constants: SearchStrategy[Expr] = values(of).map(lambda v: Const(v, wide))
    paths = [e for e, t in _paths(scope) if widen(t) == wide]
    return constants | st.sampled_from(paths) if paths else constants


def _nullable(of: Type, scope: Mapping[str, Type], depth: int) -> SearchStrategy[Expr]:
    """What may be asked whether it is null: no literal, since its text does not say that it could be."""
    paths = st.sampled_from([e for e, t in _paths(scope) if t == of or _widen_item(t) == of])
    return paths | st.builds(If, _any(BOOL, scope, depth - 1), paths, _any(of, scope, depth - 1))


def _widen_item(of: Type) -> Type:
    """An optional type with its item's bounds left out."""
    return OptionalType(widen(of.item)) if isinstance(of, OptionalType) else of


def _paths(scope: Mapping[str, Type]) -> list[tuple[Expr, Type]]:
    """Variables, their fields, and their fields' fields."""
    out: list[tuple[Expr, Type]] = [(Var(name), of) for name, of in scope.items()]
    for expr, of in out:
        if isinstance(of, RecordType):
            out.extend((Get(expr, f.name), f.type) for f in of.fields)
    return out


def _compound(of: Type, scope: Mapping[str, Type], depth: int) -> SearchStrategy[Expr]:
    def sub(t: Type, s: Mapping[str, Type] = scope) -> SearchStrategy[Expr]:
        return _any(t, s, depth)

    options: list[SearchStrategy[Expr]] = [st.builds(If, sub(BOOL), sub(of), sub(of))]
    match of:
        case BoolType():
            options += _bool(scope, sub, depth)
        case IntType():
            small = st.integers(-3, 9).map(lambda n: Const(n, INT))
            divisor = st.integers(1, 7).map(lambda n: Const(n, INT))
            options += [
                st.builds(Arith, st.sampled_from(("+", "-")), sub(INT), sub(INT)),
                st.builds(Arith, st.just("*"), sub(INT), small)
                | st.builds(Arith, st.just("*"), small, sub(INT)),
                st.builds(Arith, st.sampled_from(("//", "%")), sub(INT), divisor),
                st.builds(Len, sub(STR) | sub(ListType(INT, 3))),
                st.builds(OrElse, _nullable(OptionalType(INT), scope, depth), sub(INT)),
            ]
        case DecimalType():
            number = st.sampled_from(_NUMBERS).flatmap(lambda t: _any(t, scope, depth))
            options += [
                st.builds(Arith, st.sampled_from(("+", "-")), sub(DECIMAL), number),
                st.builds(Arith, st.sampled_from(("+", "-")), number, sub(DECIMAL)),
                st.builds(Arith, st.just("*"), sub(DECIMAL), _leaves(DECIMAL, {})),
            ]
            options += [st.builds(OrElse, _nullable(OptionalType(DECIMAL), scope, depth), sub(DECIMAL))]
        case DurationType():
            times = st.integers(-3, 3).map(lambda n: Const(n, INT))
            options += [
                st.builds(Arith, st.sampled_from(("+", "-")), sub(DURATION), sub(DURATION)),
                st.builds(Arith, st.just("-"), sub(DATETIME), sub(DATETIME)),
                st.builds(Arith, st.just("*"), sub(DURATION), times),
            ]
        case DateTimeType():
            options += [
                st.builds(Arith, st.sampled_from(("+", "-")), sub(DATETIME), sub(DURATION)),
                st.builds(Arith, st.just("+"), sub(DURATION), sub(DATETIME)),
            ]
        case StrType():
            options += [st.builds(OrElse, _nullable(OptionalType(STR), scope, depth), sub(STR))]
        case RecordType(_, fields):
            options += [st.builds(Build, st.just(of), st.tuples(*(sub(f.type) for f in fields)))]
    return st.one_of(options)


def _bool(scope: Mapping[str, Type], sub: Any, depth: int) -> list[SearchStrategy[Expr]]:
    several = st.lists(sub(BOOL), min_size=2, max_size=3) | st.lists(sub(BOOL), max_size=1)
    text = _TEXTS.filter(lambda s: len(s) < 3)
    equal = st.sampled_from(("==", "!="))
    ordered = st.sampled_from(("<", "<=", ">", ">="))
    comparable: tuple[Type, ...] = (
        *SCALARS,
        OptionalType(INT),
        OptionalType(TIER),
        ListType(INT, 3),
        LINE,
    )
    items = {**scope, "i": INT}
    lines = {**scope, "l": LINE}
    return [
        st.builds(Not, sub(BOOL)),
        st.builds(lambda p: And(tuple(p)), several),
        st.builds(lambda p: Or(tuple(p)), several),
        st.sampled_from(comparable).flatmap(lambda t: st.builds(Compare, equal, sub(t), sub(t))),
        st.sampled_from(((INT, DECIMAL), (TIER, STR), (LEVEL, INT), (OptionalType(INT), INT))).flatmap(
            lambda t: st.builds(Compare, equal, sub(t[0]), sub(t[1]))
        ),
        st.sampled_from((INT, DECIMAL, FLOAT, DATETIME, DURATION)).flatmap(
            lambda t: st.builds(Compare, ordered, sub(t), sub(t))
        ),
        st.sampled_from(_MEMBERS).flatmap(
            lambda t: st.builds(
                lambda e, vs: OneOf(e, tuple(Const(v, widen(t)) for v in vs)),
                sub(t),
                st.lists(values(t), max_size=3),
            )
        ),
        st.sampled_from(_NULLABLES).flatmap(lambda t: st.builds(IsNull, _nullable(t, scope, depth))),
        st.builds(TextTest, st.sampled_from(("starts_with", "ends_with", "contains")), sub(STR), text),
        st.builds(Matches, sub(STR), st.sampled_from(PATTERNS)),
        st.builds(
            Each, st.sampled_from(("all", "any")), sub(ListType(INT, 3)), st.just("i"), sub(BOOL, items)
        ),
        st.builds(
            Each,
            st.sampled_from(("all", "any")),
            st.just(Get(Var("o"), "lines")),
            st.just("l"),
            sub(BOOL, lines),
        ),
    ]

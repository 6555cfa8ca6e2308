"""Normal form: literals take the type of what they meet.

The text ``"gold"`` may mean a string or a value of an enum, ``2`` an int or a decimal, ``[]`` any empty list.
One rule decides, the same for text and for Python: a literal takes the type of the other side of its
comparison or sum, of the other branch of its ``if``, of the field that it fills, or of the place that it is
put into; alone it is plain. A record whose parts are all constants is a constant. ``normal`` forgets what
literals were before it applies the rule, so it is idempotent and depends only on the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal

from provenet.nets.errors import ExprError
from provenet.nets.expr.ast import (
    Arith,
    Build,
    Compare,
    Const,
    Each,
    Expr,
    If,
    OneOf,
    OrElse,
    children,
    with_children,
)
from provenet.nets.expr.typing import NULL_TYPE, assignable, join, type_of
from provenet.nets.schema import (
    BOOL,
    DATETIME,
    DURATION,
    INT,
    STR,
    UNIT,
    DecimalType,
    EnumType,
    FloatType,
    ListType,
    OptionalType,
    RecordType,
    Type,
    Value,
)


def normal(expr: Expr, scope: Mapping[str, Type], like: Type | None = None) -> Expr:
    """The expression with every literal typed by what it meets.

    Args:
        expr: Any expression.
        scope: Types of the variables it may read.
        like: Type that the whole should have; a literal takes it where it can.

    Raises:
        ExprError: A part does not type-check.
    """
    found = _normal(expr, scope)
    return found if like is None else fit(found, like)


def plain(value: Value, of: Type) -> Const:
    """A value as the literal that its text alone stands for."""
    if isinstance(of, OptionalType) and value is not None:
        return plain(value, of.item)
    if isinstance(of, RecordType) and value is not None:
        return Const(value, of)
    if isinstance(of, ListType) and value is not None:
        return plain_list([plain(v, of.item) for v in value])
    for kind, plain_type in _PLAIN:
        if isinstance(value, kind):
            return Const(value, plain_type)
    return Const(None, NULL_TYPE) if value is None else Const((), UNIT)


def plain_list(items: list[Const]) -> Const:
    """A list of literals that nothing else gives a type to.

    Raises:
        ExprError: The items have no type in common.
    """
    if not items:
        return Const((), ListType(UNIT))
    item = items[0].type
    lists = [i for i in items if isinstance(i.type, ListType)]
    if len(lists) == len(items):
        # An empty one among them is of the others' type: what they hold together decides.
        item = plain_list([plain(v, i.type.item) for i in lists for v in i.value]).type  # type: ignore[union-attr]
        return Const(tuple(fit_const(i, item).value for i in items), ListType(item))
    for other in items[1:]:
        joined = join(item, other.type)
        if joined is None:
            raise ExprError(f"a list holds values of one type, not {item} and {other.type}")
        item = joined
    return Const(tuple(fit_const(i, item).value for i in items), ListType(item))


def fit(expr: Expr, like: Type) -> Expr:
    """The expression with the literals that decide its type read as values of another, where possible."""
    match expr:
        case Const():
            return fit_const(expr, like)
        case If(condition, then, otherwise):
            return If(condition, fit(then, like), fit(otherwise, like))
        case OrElse(of, default):
            return OrElse(of, fit(default, like.item if isinstance(like, OptionalType) else like))
        case _:
            return expr


def fit_const(const: Const, like: Type) -> Const:
    """A constant read as a value of another type where that is possible, else unchanged."""
    value = const.value
    if isinstance(like, OptionalType):
        return Const(None, like) if value is None else fit_const(const, like.item)
    if isinstance(value, bool) or value is None:
        return const
    match like:
        case EnumType(_, values) if any(type(v) is type(value) and v == value for v in values):
            return Const(value, like)
        case DecimalType() if isinstance(value, int):
            return Const(Decimal(value), DecimalType())
        case DecimalType() if isinstance(value, float):
            return Const(Decimal(repr(value)), DecimalType())
        case FloatType() if isinstance(value, int) and abs(value) <= 2**53:
            return Const(float(value), FloatType())
        # Of an empty list, which holds units as far as its text says, nothing can be learned.
        case ListType(item) if isinstance(const.type, ListType) and item != UNIT:
            fitted = [fit_const(plain(v, const.type.item), item) for v in value]
            if all(assignable(f.type, item) for f in fitted):
                return Const(tuple(f.value for f in fitted), like)
    return const


def fold(of: RecordType, parts: tuple[Expr, ...]) -> Build | Const:
    """A record from its parts, each fitted to its field; a constant where all parts are."""
    fitted = tuple(fit(p, f.type) for p, f in zip(parts, of.fields, strict=True))
    constants = [p for p in fitted if isinstance(p, Const)]
    if len(constants) == len(fitted) and all(
        assignable(c.type, f.type) for c, f in zip(constants, of.fields, strict=True)
    ):
        return Const(tuple(c.value for c in constants), of)
    return Build(of, fitted)


def _normal(expr: Expr, scope: Mapping[str, Type]) -> Expr:
    match expr:
        case Const(value, of):
            return plain(value, of)
        case Compare(op, left, right):
            return Compare(op, *_meet(left, right, scope))
        case Arith(op, left, right):
            return Arith(op, *_meet(left, right, scope))
        case If(condition, then, otherwise):
            return If(_normal(condition, scope), *_meet(then, otherwise, scope))
        case OneOf(of, values):
            inner = _normal(of, scope)
            item = type_of(inner, scope)
            return OneOf(inner, tuple(fit_const(plain(v.value, v.type), item) for v in values))
        case OrElse(of, default):
            inner = _normal(of, scope)
            found = type_of(inner, scope)
            return OrElse(
                inner, fit(_normal(default, scope), found.item if isinstance(found, OptionalType) else found)
            )
        case Build(of, parts) if len(parts) == len(of.fields):
            return fold(of, tuple(_normal(p, scope) for p in parts))
        case Each(quantifier, of, var, body):
            inner = _normal(of, scope)
            items = type_of(inner, scope)
            if not isinstance(items, ListType):
                raise ExprError(f"{quantifier} is asked of a {items}, which is not a list")
            return Each(quantifier, inner, var, _normal(body, {**scope, var: items.item}))
        case _:
            return with_children(expr, tuple(_normal(p, scope) for p in children(expr)))


def _meet(left: Expr, right: Expr, scope: Mapping[str, Type]) -> tuple[Expr, Expr]:
    left, right = _normal(left, scope), _normal(right, scope)
    one = fit(left, type_of(right, scope)) if _open(left) else left
    two = fit(right, type_of(left, scope)) if _open(right) else right
    return one, two


def _open(expr: Expr) -> bool:
    """Whether a literal decides the expression's type."""
    match expr:
        case Const():
            return True
        case If(_, then, otherwise):
            return _open(then) or _open(otherwise)
        case OrElse(_, default):
            return _open(default)
        case _:
            return False


_PLAIN: tuple[tuple[type, Type], ...] = (
    (bool, BOOL),
    (int, INT),
    (str, STR),
    (Decimal, DecimalType()),
    (float, FloatType()),
    (datetime, DATETIME),
    (timedelta, DURATION),
)

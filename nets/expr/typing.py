"""Type rules of expressions: what makes sense, said before anything runs.

Every expression has exactly one type, found bottom-up from the types of its variables. Division,
multiplication and float arithmetic are restricted so that evaluation cannot fail and proofs stay decidable
(DESIGN: "where Python and the solver differ, a proof would lie").
"""

from __future__ import annotations

from collections.abc import Mapping

from provenet.nets.errors import ExprError, did_you_mean
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
from provenet.nets.expr.regex import check_pattern
from provenet.nets.schema import (
    BOOL,
    DATETIME,
    DURATION,
    INT,
    STR,
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
    shorten,
)

_DECIMAL = DecimalType()
_FLOAT = FloatType()


def type_of(expr: Expr, scope: Mapping[str, Type]) -> Type:
    """The type of an expression; numbers and strings come back without their bounds.

    Args:
        expr: The expression.
        scope: Types of the variables it may read.

    Raises:
        ExprError: A name is unknown or an operation does not fit its parts.
    """
    match expr:
        case Const(_, of):
            return widen(of)
        case Var(name):
            if name not in scope:
                raise ExprError(f"unknown name {name!r}", hint=did_you_mean(name, scope))
            return widen(scope[name])
        case Get(of, field):
            record = type_of(of, scope)
            if isinstance(record, OptionalType):
                raise ExprError(
                    f"{field!r} is asked of a value that may be null",
                    hint="test it with is_null, or give a default with or_else",
                )
            if not isinstance(record, RecordType):
                raise ExprError(f"{field!r} is asked of a {record}, which has no fields")
            found = record.field(field)
            if found is None:
                raise ExprError(
                    f"{record.name} has no field {field!r}",
                    hint=did_you_mean(field, (f.name for f in record.fields)),
                )
            return widen(found.type)
        case Not(of):
            _need_bool(of, scope, "not")
            return BOOL
        case And(parts) | Or(parts):
            for part in parts:
                _need_bool(part, scope, "and / or")
            return BOOL
        case Compare(op, left, right):
            return _compare(op, type_of(left, scope), type_of(right, scope))
        case Arith(op, left, right):
            return _arith(expr, type_of(left, scope), type_of(right, scope))
        case If(condition, then, otherwise):
            _need_bool(condition, scope, "if")
            joined = join(type_of(then, scope), type_of(otherwise, scope))
            if joined is None:
                raise ExprError("the two branches of an if have different types")
            return joined
        case OneOf(of, values):
            item = type_of(of, scope)
            for value in values:
                if join(item, type_of(value, scope)) is None:
                    raise ExprError(f"{shorten(value.value)} can never equal a {item}")
            return BOOL
        case IsNull(of):
            if not isinstance(type_of(of, scope), OptionalType):
                raise ExprError("is_null is asked of a value that is never null")
            return BOOL
        case OrElse(of, default):
            optional = type_of(of, scope)
            if not isinstance(optional, OptionalType):
                raise ExprError("or_else is asked of a value that is never null")
            joined = join(optional.item, type_of(default, scope))
            if joined is None or isinstance(joined, OptionalType):
                raise ExprError(f"the default of an or_else must be a {optional.item}")
            return joined
        case Len(of):
            if not isinstance(type_of(of, scope), StrType | ListType):
                raise ExprError("len is asked of something that is neither a string nor a list")
            return INT
        case TextTest(op, of, _):
            if not isinstance(type_of(of, scope), StrType):
                raise ExprError(f"{op} is asked of something that is not a string")
            return BOOL
        case Matches(of, pattern):
            if not isinstance(type_of(of, scope), StrType):
                raise ExprError("matches is asked of something that is not a string")
            check_pattern(pattern)
            return BOOL
        case Each(quantifier, of, var, body):
            items = type_of(of, scope)
            if not isinstance(items, ListType):
                raise ExprError(f"{quantifier} is asked of something that is not a list")
            _need_bool(body, {**scope, var: items.item}, quantifier)
            return BOOL
        case Build(of, parts):
            if len(parts) != len(of.fields):
                raise ExprError(f"{of.name} has {len(of.fields)} fields, {len(parts)} are given")
            for f, part in zip(of.fields, parts, strict=True):
                given = type_of(part, scope)
                if not assignable(given, f.type):
                    raise ExprError(f"{of.name}.{f.name} is a {f.type}, not a {given}")
            return widen(of)


def widen(of: Type) -> Type:
    """The type without bounds at its top level: what arithmetic and comparison look at."""
    match of:
        case IntType():
            return INT
        case DecimalType():
            return _DECIMAL
        case FloatType():
            return _FLOAT
        case StrType():
            return STR
        case _:
            return of


def join(a: Type, b: Type) -> Type | None:
    """The type that holds the values of both, or ``None``."""
    a, b = widen(a), widen(b)
    if a == b:
        return a
    if isinstance(a, OptionalType) or isinstance(b, OptionalType):
        if _is_null(a):
            return b if isinstance(b, OptionalType) else OptionalType(b)
        if _is_null(b):
            return a if isinstance(a, OptionalType) else OptionalType(a)
        inner = join(_item(a), _item(b))
        return None if inner is None else OptionalType(inner)
    match a, b:
        case (IntType(), DecimalType()) | (DecimalType(), IntType()):
            return _DECIMAL
        case (EnumType(_, values), StrType() as base) | (StrType() as base, EnumType(_, values)):
            return base if all(isinstance(v, str) for v in values) else None
        case (EnumType(_, values), IntType() as base) | (IntType() as base, EnumType(_, values)):
            return base if all(isinstance(v, int) for v in values) else None
        case EnumType(_, left), EnumType(_, right):
            kinds = {type(v) for v in (*left, *right)}
            return (STR if kinds == {str} else INT) if len(kinds) == 1 else None
        case ListType(left_item), ListType(right_item):
            item = join(left_item, right_item)
            return None if item is None else ListType(item)
        case _:
            return None


def assignable(given: Type, wanted: Type) -> bool:
    """Whether a value of one type may be put where another is wanted, bounds left to the run-time check."""
    given, wanted = widen(given), widen(wanted)
    if given == wanted:
        return True
    match given, wanted:
        case _, OptionalType(item):
            return _is_null(given) or assignable(_item(given), item)
        case (StrType(), EnumType(_, values)):
            return all(isinstance(v, str) for v in values)
        case (IntType(), EnumType(_, values)):
            return all(isinstance(v, int) for v in values)
        case (EnumType(), StrType() | IntType() | EnumType()):
            return join(given, wanted) is not None
        case (ListType(a), ListType(b)):
            return assignable(a, b)
        case (RecordType(_, a), RecordType(_, b)):
            return [f.name for f in a] == [f.name for f in b] and all(
                assignable(x.type, y.type) for x, y in zip(a, b, strict=True)
            )
        case _:
            return False


NULL_TYPE = OptionalType(UnitType())
"""The type of the literal null, before anything is known of it."""


def _is_null(of: Type) -> bool:
    return of == NULL_TYPE


def _item(of: Type) -> Type:
    return of.item if isinstance(of, OptionalType) else of


def _need_bool(expr: Expr, scope: Mapping[str, Type], what: str) -> None:
    found = type_of(expr, scope)
    if not isinstance(found, BoolType):
        raise ExprError(f"{what} needs a bool, got a {found}")


def _compare(op: str, left: Type, right: Type) -> Type:
    if join(left, right) is None:
        raise ExprError(f"a {left} cannot be compared with a {right}")
    if op in ("==", "!="):
        return BOOL
    ordered = IntType | DecimalType | FloatType | DateTimeType | DurationType
    if not isinstance(left, ordered) or not isinstance(right, ordered):
        hint = (
            "test is_null first, or give a default with or_else"
            if OptionalType in map(type, (left, right))
            else ""
        )
        raise ExprError(f"{left} and {right} have no order", hint=hint)
    return BOOL


def _arith(expr: Arith, left: Type, right: Type) -> Type:
    op = expr.op
    if isinstance(left, FloatType) or isinstance(right, FloatType):
        raise ExprError(
            "floats may be compared but not computed with", hint="declare the field as int or Decimal"
        )
    match op, left, right:
        case ("+" | "-" | "*", IntType(), IntType()):
            result: Type = INT
        case ("+" | "-" | "*", IntType() | DecimalType(), IntType() | DecimalType()):
            result = _DECIMAL
        case ("+" | "-", DurationType(), DurationType()):
            result = DURATION
        case ("+" | "-", DateTimeType(), DurationType()) | ("+", DurationType(), DateTimeType()):
            result = DATETIME
        case ("-", DateTimeType(), DateTimeType()):
            result = DURATION
        case ("*", DurationType(), IntType()) | ("*", IntType(), DurationType()):
            result = DURATION
        case ("//" | "%", IntType(), IntType()):
            divisor = expr.right
            if not (isinstance(divisor, Const) and isinstance(divisor.value, int) and divisor.value > 0):
                raise ExprError(f"the divisor of {op} must be a positive constant")
            result = INT
        case _:
            raise ExprError(f"{left} {op} {right} is not defined")
    if op == "*" and not (isinstance(expr.left, Const) or isinstance(expr.right, Const)):
        raise ExprError("one side of * must be a constant", hint="products of two fields cannot be proved")
    return result

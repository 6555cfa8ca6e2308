"""Typed proxies that build expressions in Python.

A ``Term`` stands for a value of a known type. Operators and methods on it build the expression; mistakes
(an unknown field, two types that cannot be compared) are raised on the spot, with the line that the author
wrote in the traceback::

    within = lambda offer: (offer.discount_pct <= 30) & offer.term_months.one_of(12, 24, 36)

Such a lambda runs once, when the net is defined, never on a model's output. ``and``, ``or``, ``not``,
``in`` and chained comparisons cannot be recorded by Python; terms refuse to be used as a bool and say to
write ``&``, ``|``, ``~`` and ``one_of``.
"""

# ruff: noqa: SLF001 - the functions of this module read what terms hide from attribute access

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any, NoReturn

from provenet.nets.errors import ExprError, did_you_mean
from provenet.nets.expr.ast import (
    And,
    Arith,
    ArithOp,
    Build,
    Compare,
    CompareOp,
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
from provenet.nets.expr.normal import fit_const, normal
from provenet.nets.expr.typing import NULL_TYPE, assignable, type_of
from provenet.nets.schema import (
    BOOL,
    DATETIME,
    DURATION,
    INT,
    STR,
    UNIT,
    DecimalType,
    FloatType,
    ListType,
    OptionalType,
    RecordType,
    Type,
    check,
    shorten,
)


class Term:
    """A value of a known type, recorded as an expression.

    Attributes are the record's fields, and win over the methods below; ``term["field"]`` always means the
    field. ``expr_of(term)`` and ``type_of_term(term)`` give what is recorded (as functions, so that no field
    name is taken).
    """

    __slots__ = ("_expr", "_scope", "_type")
    __hash__ = None  # type: ignore[assignment]  # == builds an expression, so a term cannot be a key

    def __init__(self, expr: Expr, of: Type, scope: Mapping[str, Type]) -> None:
        self._expr = expr
        self._type = of
        self._scope = scope

    def __getattribute__(self, name: str) -> Any:
        # A record's field wins over a method of the same name: `order.length` is the field.
        if not name.startswith("_"):
            of = self._type
            if isinstance(of, RecordType) and of.index(name) is not None:
                return self[name]
        return super().__getattribute__(name)

    def __getattr__(self, name: str) -> Term:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Term:
        if not isinstance(name, str):
            raise ExprError(
                f"an element of a {self._type} was asked for by its position",
                hint="say it of all or of some elements: every(lambda i: ...), some(lambda i: ...)",
            )
        return self._make(Get(self._expr, name))

    def __iter__(self) -> NoReturn:
        raise ExprError(
            "a token's field was looped over", hint="write every(lambda i: ...), some(lambda i: ...)"
        )

    def __contains__(self, value: object) -> NoReturn:
        raise ExprError(
            "in was asked of a token's field", hint='write some(lambda i: i == ...), contains("...")'
        )

    def __eq__(self, other: object) -> Term:  # type: ignore[override]
        return self._compare("==", other)

    def __ne__(self, other: object) -> Term:  # type: ignore[override]
        return self._compare("!=", other)

    def __lt__(self, other: object) -> Term:
        return self._compare("<", other)

    def __le__(self, other: object) -> Term:
        return self._compare("<=", other)

    def __gt__(self, other: object) -> Term:
        return self._compare(">", other)

    def __ge__(self, other: object) -> Term:
        return self._compare(">=", other)

    def __and__(self, other: object) -> Term:
        return self._make(And((*_flat(And, self._expr), *_flat(And, self._lift(other)))), other)

    def __or__(self, other: object) -> Term:
        return self._make(Or((*_flat(Or, self._expr), *_flat(Or, self._lift(other)))), other)

    __rand__ = __and__
    __ror__ = __or__

    def __invert__(self) -> Term:
        return self._make(Not(self._expr))

    def implies(self, other: object) -> Term:
        """True where this is false or the other is true."""
        return self._make(Or((Not(self._expr), self._lift(other))), other)

    def __add__(self, other: object) -> Term:
        return self._arith("+", self, other)

    def __radd__(self, other: object) -> Term:
        return self._arith("+", other, self)

    def __sub__(self, other: object) -> Term:
        return self._arith("-", self, other)

    def __rsub__(self, other: object) -> Term:
        return self._arith("-", other, self)

    def __mul__(self, other: object) -> Term:
        return self._arith("*", self, other)

    def __rmul__(self, other: object) -> Term:
        return self._arith("*", other, self)

    def __floordiv__(self, other: object) -> Term:
        return self._arith("//", self, other)

    def __mod__(self, other: object) -> Term:
        return self._arith("%", self, other)

    def one_of(self, *values: object) -> Term:
        """Membership in a finite set."""
        return self._make(OneOf(self._expr, tuple(literal(v, like=self._type) for v in values)))

    def is_null(self) -> Term:
        """Whether an optional is null."""
        return self._make(IsNull(self._expr))

    def or_else(self, default: object) -> Term:
        """The optional's value, or a default where it is null."""
        item = self._type.item if isinstance(self._type, OptionalType) else self._type
        return self._make(OrElse(self._expr, lift(default, like=item)), default)

    def length(self) -> Term:
        """Length of a string in code points, or of a list."""
        return self._make(Len(self._expr))

    def starts_with(self, text: str) -> Term:
        """Whether a string begins with a constant text."""
        return self._make(TextTest("starts_with", self._expr, text))

    def ends_with(self, text: str) -> Term:
        """Whether a string ends with a constant text."""
        return self._make(TextTest("ends_with", self._expr, text))

    def contains(self, text: str) -> Term:
        """Whether a string has a constant text within."""
        return self._make(TextTest("contains", self._expr, text))

    def matches(self, pattern: str) -> Term:
        """Whether the whole string matches a pattern of the regular subset."""
        return self._make(Matches(self._expr, pattern))

    def every(self, condition: Callable[[Term], object]) -> Term:
        """Whether a condition holds for every element of a list."""
        return self._each("all", condition)

    def some(self, condition: Callable[[Term], object]) -> Term:
        """Whether a condition holds for some element of a list."""
        return self._each("any", condition)

    def with_(self, **changes: object) -> Term:
        """The same record with some fields replaced."""
        if not isinstance(self._type, RecordType):
            raise ExprError(f"with_ is asked of a {self._type}, which has no fields")
        unknown = [name for name in changes if self._type.index(name) is None]
        if unknown:
            raise ExprError(
                f"{self._type.name} has no field {unknown[0]!r}",
                hint=did_you_mean(unknown[0], (f.name for f in self._type.fields)),
            )
        parts = tuple(
            lift(changes[f.name], like=f.type) if f.name in changes else Get(self._expr, f.name)
            for f in self._type.fields
        )
        return self._make(Build(self._type, parts), *changes.values())

    def __bool__(self) -> NoReturn:
        raise ExprError(
            "a condition on token fields was used as a Python bool",
            hint="write & | ~ with parentheses for and, or, not; one_of(...) for in; no chained comparison",
        )

    def __repr__(self) -> str:
        from provenet.nets.expr.show import show

        return f"<{show(self._expr)} : {self._type}>"

    def _make(self, expr: Expr, *others: object) -> Term:
        scope = _merged(self, *others)
        return Term(expr, type_of(expr, scope), scope)

    def _lift(self, other: object) -> Expr:
        return lift(other, like=self._type)

    def _compare(self, op: CompareOp, other: object) -> Term:
        return self._make(Compare(op, self._expr, self._lift(other)), other)

    def _arith(self, op: ArithOp, left: object, right: object) -> Term:
        return self._make(Arith(op, self._lift(left), self._lift(right)), left, right)

    def _each(self, quantifier: Any, condition: Callable[[Term], object]) -> Term:
        if not isinstance(self._type, ListType):
            raise ExprError(f"every / some is asked of a {self._type}, which is not a list")
        # The names of enclosing elements are taken even where this list knows nothing of them.
        outer = _ELEMENTS.get()
        name = next(n for i in count() if (n := f"item{i}") not in self._scope and n not in outer)
        scope = {**self._scope, name: self._type.item}
        token = _ELEMENTS.set((*outer, name))
        try:
            found = condition(Term(Var(name), self._type.item, scope))
        finally:
            _ELEMENTS.reset(token)
        inner = _merged(found)
        scope = {n: t for n, t in {**inner, **self._scope}.items() if n != name}
        expr = Each(quantifier, self._expr, name, lift(found, like=BOOL))
        return Term(expr, type_of(expr, scope), scope)


def expr_of(term: Term) -> Expr:
    """The expression that a term has recorded."""
    return term._expr


def type_of_term(term: Term) -> Type:
    """The type of a term's value."""
    return term._type


def term(name: str, of: Type, scope: Mapping[str, Type] | None = None) -> Term:
    """A term for a variable."""
    return Term(Var(name), of, scope or {name: of})


def record(make: Callable[..., Expr | Term], scope: Mapping[str, Type], *, like: Type | None = None) -> Expr:
    """Run a lambda once on terms for its parameters, and keep what it builds.

    Args:
        make: A function whose parameters are named after variables in scope.
        scope: Types of the variables.
        like: Type that the result should have; constants are read as values of it.

    Raises:
        ExprError: A parameter names no variable, or the body does not type-check.
    """
    names = list(inspect.signature(make).parameters)
    for name in names:
        if name not in scope:
            raise ExprError(f"the parameter {name!r} names no variable", hint=did_you_mean(name, scope))
    made = lift(make(**{name: Term(Var(name), scope[name], scope) for name in names}), like=like)
    return normal(made, scope, like)


def lift(value: object, *, like: Type | None = None) -> Expr:
    """A term's expression, or a constant; constants take the type of what they meet."""
    if isinstance(value, Term):
        return value._expr
    if isinstance(value, Expr):
        return value
    return literal(value, like=like)


def literal(value: object, *, like: Type | None = None) -> Const:
    """A constant, read as a value of the type ``like`` where that is possible.

    Raises:
        ExprError: The value has no type in the language.
    """
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(like, OptionalType):
        return Const(None, like) if value is None else literal(value, like=like.item)
    if isinstance(value, datetime) and value.utcoffset() is not None:
        value = value.astimezone(UTC)
    for of, kind in _LITERALS:
        if isinstance(value, kind):
            check(value, of)
            found = Const(value, of)
            return found if like is None else fit_const(found, like)
    if value is None:
        return Const(None, NULL_TYPE)
    if value == () and (like is None or like == UNIT):
        return Const((), UNIT)
    if isinstance(value, list | tuple) and isinstance(like, ListType):
        return Const(tuple(literal(v, like=like.item).value for v in value), like)
    if isinstance(like, RecordType):
        from provenet.nets.models import to_value

        return Const(to_value(value, like), like)
    raise ExprError(
        f"{shorten(value)} has no type in the expression language",
        hint="use int, Decimal, str, bool, datetime, timedelta, an enum member, or None",
    )


_LITERALS: tuple[tuple[Type, type], ...] = (
    (BOOL, bool),
    (INT, int),
    (STR, str),
    (DecimalType(), Decimal),
    (FloatType(), float),
    (DATETIME, datetime),
    (DURATION, timedelta),
)


def make(of: RecordType | type, /, **parts: object) -> Term:
    """A record built from its parts: the right-hand side of an inscription.

    Args:
        of: A record type or a token model.
        **parts: One term or constant for each field.

    Raises:
        ExprError: A field is missing, unknown or of another type.
    """
    if not isinstance(of, RecordType):
        from provenet.nets.models import schema_of

        found = schema_of(of)
        assert isinstance(found, RecordType)
        of = found
    names = [f.name for f in of.fields]
    for name in parts:
        if name not in names:
            raise ExprError(f"{of.name} has no field {name!r}", hint=did_you_mean(name, names))
    missing = [name for name in names if name not in parts]
    if missing:
        raise ExprError(f"{of.name} needs {', '.join(missing)}")
    scope = _merged(*parts.values())
    expr = Build(of, tuple(lift(parts[f.name], like=f.type) for f in of.fields))
    return Term(expr, type_of(expr, scope), scope)


def choose(condition: Term, then: object, otherwise: object) -> Term:
    """``then`` where the condition holds, else ``otherwise``."""
    like = next((t._type for t in (then, otherwise) if isinstance(t, Term)), None)
    expr = If(condition._expr, lift(then, like=like), lift(otherwise, like=like))
    scope = _merged(condition, then, otherwise)
    return Term(expr, type_of(expr, scope), scope)


def _merged(*terms: object) -> dict[str, Type]:
    """The variables that some terms may read."""
    scope: dict[str, Type] = {}
    for t in terms:
        if isinstance(t, Term):
            scope.update(t._scope)
    return scope


# Names of the elements whose conditions are being recorded right now, outermost first.
_ELEMENTS: ContextVar[tuple[str, ...]] = ContextVar("_ELEMENTS", default=())


def _flat(kind: type[And | Or], expr: Expr) -> tuple[Expr, ...]:
    return expr.parts if isinstance(expr, kind) else (expr,)


__all__ = [
    "Term",
    "assignable",
    "choose",
    "expr_of",
    "lift",
    "literal",
    "make",
    "record",
    "term",
    "type_of_term",
]

"""The meaning of expressions on values.

An expression is compiled once, against the types of its variables, into nested Python closures (never into
source text), and then called with an environment from names to values. Evaluation is total: arithmetic is
exact, the types rule out division by zero, and a null is never looked into.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Context, Decimal, Inexact
from operator import eq, ge, gt, le, lt, ne
from typing import Any, TypeAlias

from provenet.nets.errors import ExprError
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
from provenet.nets.expr.regex import full_match
from provenet.nets.expr.typing import type_of
from provenet.nets.schema import ListType, RecordType, Type, Value

Env: TypeAlias = Mapping[str, Value]
Compiled: TypeAlias = Callable[[Env], Any]

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {"==": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}
# Values carry at most 60 significant digits and constants the same, so this precision is exact for any tree
# within the size limit; the trap turns a violation into an error instead of a rounded lie.
_EXACT = Context(prec=20_000, Emax=999_999, Emin=-999_999, traps=[Inexact])


def evaluate(expr: Expr, env: Env, scope: Mapping[str, Type]) -> Value:
    """The value of an expression; for repeated use, ``compile_expr`` once.

    Raises:
        ExprError: The expression does not type-check against ``scope``, or a date leaves the calendar.
    """
    return compile_expr(expr, scope)(env)


def compile_expr(expr: Expr, scope: Mapping[str, Type]) -> Compiled:
    """A function from environments to the expression's value.

    Args:
        expr: The expression.
        scope: Types of the variables it may read.

    Raises:
        ExprError: The expression does not type-check.
    """
    type_of(expr, scope)
    return _compile(expr, scope)


def _compile(expr: Expr, scope: Mapping[str, Type]) -> Compiled:
    match expr:
        case Const(value, _):
            return lambda _: value
        case Var(name):
            return lambda env: env[name]
        case Get(of, field):
            return _compile_get(of, field, scope)
        case Not(of):
            inner = _compile(of, scope)
            return lambda env: not inner(env)
        case And(parts):
            conjuncts = [_compile(p, scope) for p in parts]
            return lambda env: all(c(env) for c in conjuncts)
        case Or(parts):
            disjuncts = [_compile(p, scope) for p in parts]
            return lambda env: any(d(env) for d in disjuncts)
        case Compare(op, left, Const(value, _)):
            compare, one = _COMPARE[op], _compile(left, scope)
            return lambda env: compare(one(env), value)
        case Compare(op, left, right):
            compare, one, two = _COMPARE[op], _compile(left, scope), _compile(right, scope)
            return lambda env: compare(one(env), two(env))
        case Arith():
            return _compile_arith(expr, scope)
        case If(condition, then, otherwise):
            test, yes, no = (_compile(e, scope) for e in (condition, then, otherwise))
            return lambda env: yes(env) if test(env) else no(env)
        case OneOf(of, values):
            inner, members = _compile(of, scope), tuple(v.value for v in values)
            return lambda env: inner(env) in members
        case IsNull(of):
            inner = _compile(of, scope)
            return lambda env: inner(env) is None
        case OrElse(of, default):
            inner, fallback = _compile(of, scope), _compile(default, scope)
            return lambda env: fallback(env) if (found := inner(env)) is None else found
        case Len(of):
            inner = _compile(of, scope)
            return lambda env: len(inner(env))
        case TextTest(op, of, text):
            inner = _compile(of, scope)
            if op == "starts_with":
                return lambda env: inner(env).startswith(text)
            if op == "ends_with":
                return lambda env: inner(env).endswith(text)
            return lambda env: text in inner(env)
        case Matches(of, pattern):
            inner = _compile(of, scope)
            return lambda env: full_match(pattern, inner(env))
        case Each(quantifier, of, var, body):
            items = type_of(of, scope)
            assert isinstance(items, ListType)
            inner, test = _compile(of, scope), _compile(body, {**scope, var: items.item})
            over = all if quantifier == "all" else any
            return lambda env: over(test({**env, var: element}) for element in inner(env))
        case Build(_, parts):
            builders = [_compile(p, scope) for p in parts]
            return lambda env: tuple([b(env) for b in builders])


def _compile_get(of: Expr, field: str, scope: Mapping[str, Type]) -> Compiled:
    record = type_of(of, scope)
    assert isinstance(record, RecordType)
    index = record.index(field)
    assert index is not None
    if isinstance(of, Var):
        name = of.name
        return lambda env: env[name][index]
    inner = _compile(of, scope)
    return lambda env: inner(env)[index]


def _compile_arith(expr: Arith, scope: Mapping[str, Type]) -> Compiled:
    one, two = _compile(expr.left, scope), _compile(expr.right, scope)
    op = expr.op
    if op == "//":
        return lambda env: one(env) // two(env)
    if op == "%":
        return lambda env: one(env) % two(env)

    def run(env: Env) -> Value:
        a, b = one(env), two(env)
        if isinstance(a, Decimal) or isinstance(b, Decimal):
            a, b = Decimal(a), Decimal(b)
            return (_EXACT.add if op == "+" else _EXACT.subtract if op == "-" else _EXACT.multiply)(a, b)
        try:
            return a + b if op == "+" else a - b if op == "-" else a * b
        except OverflowError:
            raise ExprError(
                f"{a} {op} {b} leaves the calendar",
                hint=f"datetimes end with the year 9999; durations with {timedelta.max}",
            ) from None

    return run

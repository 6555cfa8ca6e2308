"""Expressions as text: the one form that people read and that net files store.

The grammar is that of ``provenet.nets.expr.parse``, loosest first::

    a if c else b
    a or b
    a and b
    not a
    a == b   a != b   a < b   a <= b   a > b   a >= b   a in {1, 2}   a not in {1}   a is null   a is not null
    a + b    a - b
    a * b    a // b   a % b
    a.field

Parentheses are written only where the tree needs them. ``parse(show(e), scope, types) == e`` for every
well-typed ``e`` in normal form (``provenet.nets.expr.normal``), which is what the proxies and the parser
build.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

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
from provenet.nets.schema import STR, ListType, OptionalType, RecordType, Type, Value, microseconds

KEYWORDS = frozenset(("and", "or", "not", "in", "is", "if", "else", "null", "true", "false", "unit"))
"""Words that are no names; a name spelled like one is written in backticks."""

UNITS: tuple[tuple[str, int], ...] = (
    ("days", 86_400_000_000),
    ("hours", 3_600_000_000),
    ("minutes", 60_000_000),
    ("seconds", 1_000_000),
    ("microseconds", 1),
)
"""Duration literals, largest first, in microseconds."""

_IF, _OR, _AND, _NOT, _COMPARE, _SUM, _PRODUCT, _ATOM = range(8)


def show(expr: Expr) -> str:
    """An expression as text, with as few parentheses as the tree allows.

    >>> from provenet.nets.expr.ast import Compare, Const, Get, Var
    >>> from provenet.nets.schema import INT
    >>> show(Compare("<=", Get(Var("offer"), "discount_pct"), Const(30, INT)))
    'offer.discount_pct <= 30'
    """
    return _show(expr, _IF)


def show_value(value: Value, of: Type) -> str:
    """A value as a literal of the language."""
    match of:
        case OptionalType(item) if value is not None:
            return show_value(value, item)
        case ListType(item):
            return "[" + ", ".join(show_value(v, item) for v in value) + "]"
        case RecordType(name, fields):
            parts = (
                f"{name_text(f.name)}: {show_value(v, f.type)}" for f, v in zip(fields, value, strict=True)
            )
            return f"{name_text(name)}{{{', '.join(parts)}}}"
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case Decimal():
            return f"{value}d"
        case str():
            return json.dumps(str(value), ensure_ascii=False)
        case datetime():
            return f'time("{_utc(value)}")'
        case timedelta():
            total = microseconds(value)
            unit, size = next((u, s) for u, s in UNITS if total % s == 0)
            return f"{unit}({total // size})"
        case ():
            return "unit"
        case _:
            return repr(value)


def name_text(name: str) -> str:
    """A name as it is written: in backticks where it is a keyword or no plain identifier."""
    if name.isascii() and name.isidentifier() and name not in KEYWORDS:
        return name
    return f"`{json.dumps(name, ensure_ascii=False)[1:-1].replace('`', chr(92) + 'u0060')}`"


def _show(expr: Expr, around: int) -> str:
    text, level = _text(expr)
    return f"({text})" if level < around else text


def _text(expr: Expr) -> tuple[str, int]:
    """The text of a node and how tightly its outermost operator binds."""
    match expr:
        case Const(value, of):
            return show_value(value, of), _ATOM
        case Var(name):
            return name_text(name), _ATOM
        case Get(of, field):
            return f"{_show(of, _ATOM)}.{name_text(field)}", _ATOM
        case Not(OneOf(of, values)):
            return f"{_show(of, _SUM)} not in {_members(values)}", _COMPARE
        case Not(IsNull(of)):
            return f"{_show(of, _SUM)} is not null", _COMPARE
        case Not(of):
            return f"not {_show(of, _NOT)}", _NOT
        case And(parts) if len(parts) >= 2:
            return " and ".join(_show(p, _NOT) for p in parts), _AND
        case Or(parts) if len(parts) >= 2:
            return " or ".join(_show(p, _AND) for p in parts), _OR
        case And(parts):
            return f"all_of({', '.join(map(show, parts))})", _ATOM
        case Or(parts):
            return f"any_of({', '.join(map(show, parts))})", _ATOM
        case Compare(op, left, right):
            return f"{_show(left, _SUM)} {op} {_show(right, _SUM)}", _COMPARE
        case Arith(("+" | "-") as op, left, right):
            return f"{_show(left, _SUM)} {op} {_show(right, _PRODUCT)}", _SUM
        case Arith(op, left, right):
            return f"{_show(left, _PRODUCT)} {op} {_show(right, _ATOM)}", _PRODUCT
        case If(condition, then, otherwise):
            return f"{_show(then, _OR)} if {_show(condition, _OR)} else {_show(otherwise, _IF)}", _IF
        case OneOf(of, values):
            return f"{_show(of, _SUM)} in {_members(values)}", _COMPARE
        case IsNull(of):
            return f"{_show(of, _SUM)} is null", _COMPARE
        case OrElse(of, default):
            return f"or_else({show(of)}, {show(default)})", _ATOM
        case Len(of):
            return f"len({show(of)})", _ATOM
        case TextTest(op, of, text):
            return f"{op}({show(of)}, {show_value(text, STR)})", _ATOM
        case Matches(of, pattern):
            return f"matches({show(of)}, {show_value(pattern, STR)})", _ATOM
        case Each(quantifier, of, var, body):
            return f"{quantifier}({name_text(var)} in {show(of)}: {show(body)})", _ATOM
        case Build(of, parts):
            fields = (f"{name_text(f.name)}: {show(p)}" for f, p in zip(of.fields, parts, strict=True))
            return f"{name_text(of.name)}{{{', '.join(fields)}}}", _ATOM


def _members(values: tuple[Const, ...]) -> str:
    return "{" + ", ".join(show(v) for v in values) + "}"


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")

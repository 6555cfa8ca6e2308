"""Random runs of a net: enabled firings, with values from outside drawn from their types.

Values are drawn so that policies are met at their edges: from the constants that the net's own expressions
compare with, one above and one below, besides anything within the bounds of the type.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from provenet.nets.errors import FiringError, TypeMismatch
from provenet.nets.expr.ast import Const, Expr, children
from provenet.nets.expr.evaluate import compile_expr
from provenet.nets.firing import Firing, NetRule
from provenet.nets.marking import Marking
from provenet.nets.net import Entry, Explain, Net, Role, Transition
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
    check,
    plainest,
)

_TRIES = 200
_RARE = {Role.KILL: 0.03}


class Sampler:
    """Random firings of one net.

    Args:
        net: A net without mistakes.
        draw: Where luck comes from.
    """

    def __init__(self, net: Net, draw: random.Random) -> None:
        self.net, self.draw, self.rule = net, draw, NetRule(net)
        self._constants = _constants(net)

    def entry(self, entry: Entry) -> Value:
        """A token for an entry place that its condition lets in."""
        of = self.net.place(entry.place).type
        condition = None if entry.where is None else compile_expr(entry.where, {"it": of})
        for _ in range(_TRIES):
            token = self.value(of, [])
            if condition is None or condition({"it": token}):
                return token
        return plainest(of)

    def step(self, marking: Marking) -> tuple[Firing, Marking] | None:
        """One enabled firing, at random, and the marking after it; ``None`` where nothing can fire."""
        open_ones = list(self.rule.enabled(marking))
        self.draw.shuffle(open_ones)
        open_ones.sort(
            key=lambda f: self.draw.random() >= _RARE.get(self.net.transition(f.transition).role, 1.0)
        )
        for firing in open_ones:
            t = self.net.transition(firing.transition)
            for _ in range(8):
                binding = {**firing.binding, **self._outside(t, marking)}
                try:
                    return Firing(t.name, binding), self.rule.fire(marking, t.name, binding)
                except FiringError:
                    continue
        return None

    def _outside(self, t: Transition, marking: Marking) -> dict[str, Value]:
        about = _strings([v for held in marking for v in marking[held]])
        if isinstance(t.trigger, Explain):
            return {f.var: _signal(t, f.type, plainest(f.type)) for f in t.fresh}
        return {f.var: self.value(f.type, about) for f in t.fresh}

    def value(self, of: Type, texts: list[str]) -> Value:
        """A value of a type."""
        for _ in range(_TRIES):
            made = self._value(of, texts)
            try:
                check(made, of, "value")
            except TypeMismatch:
                continue  # a constant of the net that this type does not allow
            return made
        return plainest(of)

    def _value(self, of: Type, texts: list[str]) -> Value:
        draw = self.draw
        match of:
            case UnitType():
                return ()
            case BoolType():
                return draw.random() < 0.5
            case EnumType(_, values):
                return draw.choice(values)
            case IntType(lo, hi):
                return self._number(lo, hi)
            case DecimalType(lo, hi):
                return Decimal(self._number(lo, hi))
            case FloatType(lo, hi):
                return float(self._number(lo, hi))
            case StrType():
                known = [c for c in self._constants if isinstance(c, str)]
                # What a case speaks of comes up again: most policies compare it with what was proposed.
                pool = texts * 4 + known + ["a", "b"]
                return draw.choice(pool)
            case DateTimeType():
                return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=draw.randrange(365))
            case DurationType():
                return timedelta(hours=draw.randrange(24 * 90))
            case OptionalType(item):
                return None if draw.random() < 0.3 else self._value(item, texts)
            case ListType(item):
                return tuple(self._value(item, texts) for _ in range(draw.randrange(3)))
            case RecordType(_, fields):
                return tuple(self._value(f.type, texts) for f in fields)

    def _number(self, lo: Any, hi: Any) -> int:
        low = int(lo) if lo is not None else -1_000 if hi is None else int(hi) - 1_000
        high = int(hi) if hi is not None else max(low, 0) + 10_000
        if self.draw.random() < 0.5:
            near = [
                int(c) + d
                for c in self._constants
                if isinstance(c, int | Decimal) and not isinstance(c, bool)
                for d in (-1, 0, 1)
                if low <= int(c) + d <= high
            ]
            if near:
                return self.draw.choice(near)
        return self.draw.randint(low, high)


def _signal(t: Transition, of: Type, value: Value) -> Value:
    if not isinstance(of, RecordType) or of.index("rule") is None:
        return value
    told = list(value)
    told[of.index("rule") or 0] = t.contract or t.name
    return tuple(told)


def _strings(values: list[Value]) -> list[str]:
    found: list[str] = []
    for value in values:
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, tuple):
            found += _strings(list(value))
    return found[:20]


def _constants(net: Net) -> list[Any]:
    found: dict[Any, None] = {}
    for t in net.transitions:
        for expr in (t.guard, t.ensures, t.requires):
            if expr is not None:
                found |= dict.fromkeys(_walk(expr))
    for c in net.contracts:
        for rule in c.rules:
            found |= dict.fromkeys(_walk(rule.expr))
    return list(found)


def _walk(expr: Expr) -> Iterator[Any]:
    if isinstance(expr, Const):
        if isinstance(expr.value, int | str | Decimal):
            yield expr.value
        return
    for part in children(expr):
        yield from _walk(part)

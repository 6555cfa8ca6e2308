"""Seeing every transition fire: replayed runs that together fire as many transitions as possible.

Cheap random walks first, with outside values taken from around the constants of the net's guards; then, for each transition left, a path of the state
graph with its data solved for.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from provenet.nets import schema
from provenet.nets.errors import ProvenetError, TypeMismatch
from provenet.nets.expr.ast import Const, OneOf, walk
from provenet.nets.firing import NetRule
from provenet.nets.marking import initial_marking
from provenet.nets.net import Net, Role
from provenet.nets.schema import Type, Value
from provenet.verify.context import Context, Proved, Refuted, transition_expressions
from provenet.verify.graph import Graph
from provenet.verify.questions import Question

_IDLE_WALKS = 25
_ECHO = 0.7
_STEPS = 120


def fire_everything(ctx: Context, graph: Graph) -> tuple[int, list[str], list[str]]:
    """Fire every transition in some run.

    Args:
        ctx: The net.
        graph: A complete state graph of it.

    Returns:
        How many runs it took; the transitions that no run fires; those for which neither is known.
    """
    net = ctx.net
    first = {t.name: found[0][0] for t in net.transitions if (found := graph.firings(t.name))}
    dead = [t.name for t in net.transitions if t.name not in first]
    left = {t.name for t in net.transitions} - set(dead)
    runs = 0
    rng = random.Random(1)  # noqa: S311  seeded on purpose: the same net gives the same runs
    pool = Pool(net)
    idle = 0
    while left and idle < _IDLE_WALKS:
        new = left & set(walk_once(net, ctx.rule, pool, rng, left))
        idle = 0 if new else idle + 1
        runs += bool(new)
        left -= new
    # The deepest first: a run that gets there fires many others on its way.
    for name in sorted(left, key=lambda n: (-first[n], n)):
        if name not in left:
            continue
        answer = ctx.fires(name)
        if isinstance(answer, Refuted):
            runs += 1
            left -= {s.transition for s in answer.trace.steps}
            continue
        guard = net.transition(name).guard
        if guard is not None and isinstance(ctx.never_fires([Question(name, guard)]), Proved):
            dead.append(name)
            left.discard(name)
    return runs, dead, [t.name for t in net.transitions if t.name in left]


def walk_once(net: Net, rule: NetRule, pool: Pool, rng: random.Random, wanted: set[str]) -> Iterator[str]:
    """Names of the transitions that one random run fires; transitions still wanted are preferred."""
    marking = None
    for _ in range(20):
        try:
            inputs = {e.place: pool.draw(net.place(e.place).type, rng) for e in net.entries}
            if all(
                e.where is None or _holds(e.where, inputs[e.place], net.place(e.place).type)
                for e in net.entries
            ):
                marking = initial_marking(net, inputs)
                break
        except TypeMismatch:
            continue
    if marking is None:
        return
    for _ in range(_STEPS):
        firings = list(rule.enabled(marking))
        if not firings:
            return
        eager = [f for f in firings if f.transition in wanted]
        # The kill switch is enabled everywhere and would cut most walks short.
        calm = [f for f in firings if net.transition(f.transition).role is not Role.KILL]
        chosen = rng.choice(eager if eager and rng.random() < 0.5 else calm or firings)
        t = net.transition(chosen.transition)
        try:
            near = list(_scalars(tuple(chosen.binding.values())))
            binding = {**chosen.binding, **{f.var: pool.draw(f.type, rng, near) for f in t.fresh}}
            marking = rule.fire(marking, t.name, binding)
        except ProvenetError:
            continue
        yield t.name


class Pool:
    """Values worth trying: the constants of the net and their neighbours."""

    def __init__(self, net: Net) -> None:
        self._constants: dict[type, list[Any]] = {}
        for t in net.transitions:
            for expr in transition_expressions(t):
                for node in walk(expr):
                    for const in node.values if isinstance(node, OneOf) else [node]:
                        if isinstance(const, Const) and const.value is not None:
                            self._add(const.value)

    def draw(self, of: Type, rng: random.Random, near: Sequence[Value] = ()) -> Value:
        """A value of a type; often one of the scalars at hand, since policies compare proposals with inputs."""
        match of:
            case schema.BoolType():
                return rng.random() < 0.5
            case schema.EnumType(_, values):
                same = [v for v in near if v in values and isinstance(v, str)]
                return rng.choice(same) if same and rng.random() < _ECHO else rng.choice(values)
            case schema.OptionalType(item):
                return None if rng.random() < 0.3 else self.draw(item, rng, near)
            case schema.RecordType(_, fields):
                return tuple(self.draw(f.type, rng, near) for f in fields)
            case schema.ListType(item, most):
                return tuple(
                    self.draw(item, rng, near) for _ in range(rng.randint(0, min(3, 3 if most is None else most)))
                )
            case schema.UnitType():
                return ()
        kind = {
            schema.IntType: int,
            schema.StrType: str,
            schema.DecimalType: Decimal,
            schema.FloatType: float,
            schema.DateTimeType: datetime,
            schema.DurationType: timedelta,
        }[type(of)]
        known = self._constants.get(kind, [])
        tried = rng.sample(known, min(4, len(known)))
        same = [v for v in near if type(v) is kind]
        if same and rng.random() < _ECHO:
            tried.insert(0, rng.choice(same))
        for candidate in tried:
            try:
                schema.check(candidate, of)
            except TypeMismatch:
                continue
            return candidate
        return schema.plainest(of)

    def _add(self, value: Any) -> None:
        found = self._constants.setdefault(type(value), [])
        near: list[Any] = [value]
        if isinstance(value, int | Decimal) and not isinstance(value, bool):
            near += [value - 1, value + 1, 0]
        for v in near:
            if v not in found:
                found.append(v)


def _scalars(value: Value) -> Iterator[Value]:
    """The scalars that a value is made of."""
    if isinstance(value, tuple):
        for part in value:
            yield from _scalars(part)
    elif value is not None:
        yield value


def _holds(where: Any, value: Value, of: Type) -> bool:
    from provenet.nets.expr.evaluate import evaluate

    return bool(evaluate(where, {"it": value}, {"it": of}))

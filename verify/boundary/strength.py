"""How strong a check is: asked of the solver, so that a rule which only looks like one counts for nothing.

Of a guard, each part of its conjunction is a rule. A rule *checks* some content if there are two contents of
which one passes and the other does not, all else being equal. It is a *business rule* if, besides, there is a
content that passes with some inputs or state and not with others: then it relates the content to what the net
knows. Else it is a *policy*, over the content alone. Both are two copies of the rule in one small query.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping

import z3

from provenet.nets.expr.ast import And, Expr, Get, Var, children, with_children
from provenet.nets.net import Net, Transition
from provenet.nets.quick import dataclass
from provenet.nets.schema import OptionalType, StrType, Type, UnitType
from provenet.verify.abstraction import Path
from provenet.verify.properties.control import declared_type
from provenet.verify.smt import Encoding, Opaque, SymValue
from provenet.verify.taint import Paths

_SOLVER_MS = 2_000


class Strength(enum.IntEnum):
    """How much a check asks of content; each includes the one before."""

    NONE = 0
    SCHEMA = 1
    POLICY = 2
    BUSINESS_RULE = 3

    def __str__(self) -> str:
        """As people say it."""
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True, slots=True)
class Looked:
    """What a condition does with some content.

    Attributes:
        strength: Of its strongest rule; ``NONE`` where none of them checks the content.
        opaque: Rules that the prover cannot look into, which count for nothing.
    """

    strength: Strength
    opaque: tuple[str, ...] = ()


def schema_strength(of: Type) -> Strength:
    """Whether the type of what is proposed asks anything of it: free text and nothing at all do not."""
    match of:
        case UnitType() | StrType(None):
            return Strength.NONE
        case OptionalType(item):
            return schema_strength(item)
        case _:
            return Strength.SCHEMA


def looked_at(net: Net, t: Transition, condition: Expr, content: Mapping[str, Paths]) -> Looked:
    """How a transition's condition checks content.

    Args:
        net: The net.
        t: The transition.
        condition: Its guard, or what it ensures.
        content: Which parts of its variables are the content.
    """
    best, opaque = Strength.NONE, []
    for part in _parts(condition):
        try:
            best = max(best, _of_rule(net, t, part, content))
        except Opaque as why:
            opaque.append(str(why))
    return Looked(best, tuple(dict.fromkeys(opaque)))


def _of_rule(net: Net, t: Transition, rule: Expr, content: Mapping[str, Paths]) -> Strength:
    names: dict[Expr, str] = {}
    scope = net.scope(t)
    plain = _named(rule, scope, names)
    types = {name: declared_type(net, t, read) for read, name in names.items()}
    ours = {name for read, name in names.items() if _is_content(read, content)}
    if not ours:
        return Strength.NONE
    enc = Encoding.for_exprs([(plain, types)])
    one = {n: enc.fresh(f"one.{n}", of) for n, of in types.items()}
    two = {n: enc.fresh(f"two.{n}", of) for n, of in types.items()}
    known = [enc.inhabits(env[n], of) for env in (one, two) for n, of in types.items()]

    def tells(changing: set[str]) -> bool:
        """Whether it can pass and not pass with only these changed."""
        other: dict[str, SymValue] = {n: two[n] if n in changing else one[n] for n in types}
        passes, fails = enc.encode_bool(plain, one, types), enc.encode_bool(plain, other, types)
        return bool(enc.check([*known, passes, z3.Not(fails)], _SOLVER_MS) == z3.sat)

    if not tells(ours):
        return Strength.NONE
    return Strength.BUSINESS_RULE if tells(set(types) - ours) else Strength.POLICY


def _parts(condition: Expr) -> Iterator[Expr]:
    if isinstance(condition, And):
        for part in condition.parts:
            yield from _parts(part)
    else:
        yield condition


def _named(expr: Expr, scope: Mapping[str, Type], names: dict[Expr, str]) -> Expr:
    """The expression with a variable for each field that it reads."""
    if _root(expr) in scope:
        return Var(names.setdefault(expr, f"r{len(names)}"))
    return with_children(expr, tuple(_named(part, scope, names) for part in children(expr)))


def _root(expr: Expr) -> str | None:
    while isinstance(expr, Get):
        expr = expr.of
    return expr.name if isinstance(expr, Var) else None


def _is_content(read: Expr, content: Mapping[str, Paths]) -> bool:
    path: list[str] = []
    while isinstance(read, Get):
        path.insert(0, read.field)
        read = read.of
    assert isinstance(read, Var)
    found: Path = tuple(path)
    mine = content.get(read.name, frozenset())
    return any(p[: len(found)] == found or found[: len(p)] == p for p in mine)

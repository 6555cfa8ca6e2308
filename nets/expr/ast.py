"""The abstract syntax of Provenet's expressions: one tree, three meanings.

Guards, policies, inscriptions and properties are trees of the nodes below. ``evaluate`` gives their meaning
on values, ``provenet.verify.smt`` in Z3, ``show`` for people; property-based tests hold the three equal.
Nodes are immutable, hashable and compared structurally. There are no loops, no calls of foreign code and no
recursion, so the work of evaluating is linear in the size of the tree and of the lists that it looks at.

Build trees with ``provenet.nets.expr.build`` (typed proxies for Python) or ``parse`` (text), not by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

from provenet.nets.quick import dataclass
from provenet.nets.schema import RecordType, Type, Value

CompareOp: TypeAlias = Literal["==", "!=", "<", "<=", ">", ">="]
ArithOp: TypeAlias = Literal["+", "-", "*", "//", "%"]
TextOp: TypeAlias = Literal["starts_with", "ends_with", "contains"]
Quantifier: TypeAlias = Literal["all", "any"]


@dataclass(frozen=True, slots=True)
class Const:
    """A literal. Its type is kept, since ``1`` may be an int, a decimal or an enum's value."""

    value: Value
    type: Type


@dataclass(frozen=True, slots=True)
class Var:
    """A variable bound by an arc or by a transition's outcome."""

    name: str


@dataclass(frozen=True, slots=True)
class Get:
    """A field of a record."""

    of: Expr
    field: str


@dataclass(frozen=True, slots=True)
class Not:
    """Negation."""

    of: Expr


@dataclass(frozen=True, slots=True)
class And:
    """Conjunction; true when empty. Evaluated left to right, stopping at the first false part."""

    parts: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Disjunction; false when empty. Evaluated left to right, stopping at the first true part."""

    parts: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Compare:
    """A comparison; ``==`` and ``!=`` on any type, the others on ordered ones."""

    op: CompareOp
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Arith:
    """Arithmetic on int, decimal, datetime and duration.

    ``//`` and ``%`` are for ints, follow Python (round towards minus infinity), and ask for a constant
    positive divisor. ``*`` asks for one constant side, which keeps proofs linear.
    """

    op: ArithOp
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class If:
    """``then`` where the condition holds, else ``otherwise``; both of one type."""

    condition: Expr
    then: Expr
    otherwise: Expr


@dataclass(frozen=True, slots=True)
class OneOf:
    """Membership in a finite set of constants."""

    of: Expr
    values: tuple[Const, ...]


@dataclass(frozen=True, slots=True)
class IsNull:
    """Whether an optional is null."""

    of: Expr


@dataclass(frozen=True, slots=True)
class OrElse:
    """The value of an optional, or ``default`` where it is null."""

    of: Expr
    default: Expr


@dataclass(frozen=True, slots=True)
class Len:
    """Length of a string in code points, or of a list."""

    of: Expr


@dataclass(frozen=True, slots=True)
class TextTest:
    """A test of a string against a constant text."""

    op: TextOp
    of: Expr
    text: str


@dataclass(frozen=True, slots=True)
class Matches:
    """Whether a whole string matches a pattern of the regular subset (see ``provenet.nets.expr.regex``)."""

    of: Expr
    pattern: str


@dataclass(frozen=True, slots=True)
class Each:
    """A condition on all elements, or on some element, of a list; ``var`` names the element in ``body``."""

    quantifier: Quantifier
    of: Expr
    var: str
    body: Expr


@dataclass(frozen=True, slots=True)
class Build:
    """A record built from its parts, in the order of the type's fields."""

    type: RecordType
    parts: tuple[Expr, ...]


Expr: TypeAlias = (
    Const
    | Var
    | Get
    | Not
    | And
    | Or
    | Compare
    | Arith
    | If
    | OneOf
    | IsNull
    | OrElse
    | Len
    | TextTest
    | Matches
    | Each
    | Build
)
"""Any expression."""


def children(expr: Expr) -> tuple[Expr, ...]:
    """The direct parts of an expression."""
    match expr:
        case Const() | Var():
            return ()
        case Get(of, _) | Not(of) | IsNull(of) | Len(of) | TextTest(_, of, _) | Matches(of, _):
            return (of,)
        case And(parts) | Or(parts) | Build(_, parts):
            return parts
        case Compare(_, left, right) | Arith(_, left, right) | OrElse(left, right):
            return (left, right)
        case If(condition, then, otherwise):
            return (condition, then, otherwise)
        case OneOf(of, values):
            return (of, *values)
        case Each(_, of, _, body):
            return (of, body)


def with_children(expr: Expr, parts: tuple[Expr, ...]) -> Expr:
    """The same node over other parts; the inverse of ``children``."""
    match expr:
        case Const() | Var():
            return expr
        case Get(_, field):
            return Get(parts[0], field)
        case Not():
            return Not(parts[0])
        case IsNull():
            return IsNull(parts[0])
        case Len():
            return Len(parts[0])
        case TextTest(op, _, text):
            return TextTest(op, parts[0], text)
        case Matches(_, pattern):
            return Matches(parts[0], pattern)
        case And():
            return And(parts)
        case Or():
            return Or(parts)
        case Build(of, _):
            return Build(of, parts)
        case Compare(op, _, _):
            return Compare(op, *parts)
        case Arith(op, _, _):
            return Arith(op, *parts)
        case OrElse():
            return OrElse(*parts)
        case If():
            return If(*parts)
        case OneOf(_, values):
            return OneOf(parts[0], values)
        case Each(quantifier, _, var, _):
            return Each(quantifier, parts[0], var, parts[1])


def walk(expr: Expr) -> Iterator[Expr]:
    """The expression and all its parts, outermost first."""
    stack = [expr]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(children(node)))


def free_variables(expr: Expr) -> frozenset[str]:
    """Names of the variables that an expression reads from its surroundings."""
    match expr:
        case Var(name):
            return frozenset((name,))
        case Each(_, of, var, body):
            return free_variables(of) | (free_variables(body) - {var})
        case _:
            return frozenset().union(*(free_variables(part) for part in children(expr)))


def substitute(expr: Expr, by: dict[str, Expr]) -> Expr:
    """Replace free variables; a variable bound by ``Each`` shadows a replacement of its name."""
    match expr:
        case Var(name):
            return by.get(name, expr)
        case Each(quantifier, of, var, body):
            inner = {name: e for name, e in by.items() if name != var}
            return Each(quantifier, substitute(of, by), var, substitute(body, inner))
        case _:
            parts = children(expr)
            return with_children(expr, tuple(substitute(p, by) for p in parts)) if parts else expr


def direct(expr: Expr) -> Expr:
    """The expression in which a field of a record that is built on the spot is the part itself."""
    parts = children(expr)
    made = with_children(expr, tuple(map(direct, parts))) if parts else expr
    if isinstance(made, Get) and isinstance(made.of, Build):
        index = made.of.type.index(made.field)
        return made if index is None else made.of.parts[index]
    return made


MAX_NODES = 5_000
MAX_DEPTH = 60


def too_large(expr: Expr) -> str:
    """Why an expression exceeds the limits on its size; empty where it does not."""
    nodes, stack = 0, [(expr, 1)]
    while stack:
        node, depth = stack.pop()
        nodes += 1
        if nodes > MAX_NODES:
            return f"the expression has more than {MAX_NODES} parts"
        if depth > MAX_DEPTH:
            return f"the expression nests deeper than {MAX_DEPTH} levels"
        stack.extend((child, depth + 1) for child in children(node))
    return ""


def conjunction(*parts: Expr | None) -> Expr | None:
    """The conjunction of those parts that are there; ``None`` where none is."""
    there = [p for p in parts if p is not None]
    if not there:
        return None
    return there[0] if len(there) == 1 else And(tuple(there))

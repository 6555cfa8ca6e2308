"""Partial values: what the state graph knows of tokens.

A token's *abstract value* keeps some of its fields and forgets the rest (``ANY``). Which fields are kept is a
``Mask`` for each place, closed under dependence: a kept field can be computed from kept fields wherever a
token is built (program slicing, Weiser 1981, on token fields). Evaluating an expression on partial values
gives its value, or ``ANY`` where it depends on what was forgotten; so every concrete run is a run of the
abstraction (an over-approximation), and where everything needed is known the abstraction is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import product
from typing import Any, Final, TypeAlias

from provenet.nets.expr.ast import (
    And,
    Build,
    Compare,
    Const,
    Each,
    Expr,
    Get,
    If,
    IsNull,
    Not,
    OneOf,
    Or,
    OrElse,
    Var,
    children,
    direct,
    walk,
)
from provenet.nets.expr.evaluate import compile_expr
from provenet.nets.expr.typing import type_of
from provenet.nets.net import Net, Put, Transition
from provenet.nets.schema import BoolType, EnumType, IntType, OptionalType, RecordType, Type, Value
from provenet.verify.questions import inputs_of


class _Any:
    """The one instance means: not known."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "ANY"


ANY: Final = _Any()
"""A value that the abstraction has forgotten."""

Path: TypeAlias = tuple[str, ...]
"""Field names from a token down to one of its parts; empty for the whole token."""

Paths: TypeAlias = frozenset[Path]

Partial: TypeAlias = Callable[[Mapping[str, Any]], Any]
"""An expression compiled for partial values."""

_LARGEST_DOMAIN = 16


def compile_partial(expr: Expr, scope: Mapping[str, Type]) -> Partial:
    """A function from environments of partial values to the expression's value, or ``ANY``."""
    match expr:
        case Const(value, _):
            return lambda _: value
        case Var(name):
            return lambda env: env[name]
        case Get(of, field):
            record = type_of(of, scope)
            assert isinstance(record, RecordType)
            index, inner = record.index(field), compile_partial(of, scope)
            assert index is not None
            return lambda env: ANY if (v := inner(env)) is ANY else v[index]
        case Not(of):
            inner = compile_partial(of, scope)
            return lambda env: ANY if (v := inner(env)) is ANY else not v
        case And(parts) | Or(parts):
            return _connective([compile_partial(p, scope) for p in parts], decided_by=isinstance(expr, Or))
        case If(condition, then, otherwise):
            test, yes, no = (compile_partial(e, scope) for e in (condition, then, otherwise))

            def branch(env: Mapping[str, Any]) -> Any:
                taken = test(env)
                if taken is not ANY:
                    return yes(env) if taken else no(env)
                a, b = yes(env), no(env)
                return a if is_known(a) and is_known(b) and a == b else ANY

            return branch
        case IsNull(of):
            inner = compile_partial(of, scope)
            return lambda env: ANY if (v := inner(env)) is ANY else v is None
        case OrElse(of, default):
            inner, fallback = compile_partial(of, scope), compile_partial(default, scope)
            return lambda env: fallback(env) if (v := inner(env)) is None else v
        case Build(_, parts):
            builders = [compile_partial(p, scope) for p in parts]
            return lambda env: tuple([b(env) for b in builders])
        case Compare(op, left, right) if op in ("==", "!="):
            one, two = compile_partial(left, scope), compile_partial(right, scope)
            wanted = op == "=="

            def compare(env: Mapping[str, Any]) -> Any:
                a, b = one(env), two(env)
                return (a == b) is wanted if is_known(a) and is_known(b) else ANY

            return compare
        case Each():
            return _strict(expr, scope, ())
        case _:
            return _strict(expr, scope, children(expr))


def is_known(value: Any) -> bool:
    """Whether nothing of a value is forgotten."""
    if value is ANY:
        return False
    return all(is_known(v) for v in value) if isinstance(value, tuple) else True


class Masks:
    """Which fields each place keeps, closed under dependence.

    Args:
        net: The net.
        seeds: Fields to keep, as (place, path).
    """

    def __init__(self, net: Net, seeds: Iterable[tuple[str, Path]]) -> None:
        self.net = net
        self.places: dict[str, set[Path]] = {}
        self.fresh: dict[tuple[str, str], set[Path]] = {}
        self.seeds = tuple(sorted(set(seeds)))
        self.into: dict[str, list[tuple[Transition, Put]]] = {}
        for t in net.transitions:
            for put in t.puts:
                self.into.setdefault(put.place, []).append((t, put))
        # Fields that values from outside are known to flow into, and fields that none does.
        self._outside: set[tuple[str, Path]] = set()
        self._inside: set[tuple[str, Path]] = set()
        stack = list(self.seeds)
        while stack:
            place, path = stack.pop()
            path = _within_records(net.place(place).type, path)
            kept = self.places.setdefault(place, set())
            if any(path[: len(k)] == k for k in kept):
                continue
            kept.add(path)
            for transition, put in self.into.get(place, ()):
                if put.expr is None:
                    continue
                arcs = {a.var: a.place for a in inputs_of(transition) if a.var is not None}
                for var, source in sources(put.expr, path):
                    if var in arcs:
                        stack.append((arcs[var], source))
                    else:
                        of = next(f.type for f in transition.fresh if f.var == var)
                        self.fresh.setdefault((transition.name, var), set()).add(_within_records(of, source))

    def project(self, place: str, value: Any) -> Any:
        """What a place keeps of a token."""
        kept = self.places.get(place)
        return ANY if kept is None else _project(value, self.net.place(place).type, frozenset(kept))

    def fresh_values(self, transition: str, var: str, of: Type) -> list[Any]:
        """The partial values that a variable from outside may take."""
        kept = self.fresh.get((transition, var))
        return [ANY] if not kept else list(_domain(of, frozenset(kept)))

    def entry_values(self, place: str) -> list[Any]:
        """The partial values that a case's input may take."""
        kept = self.places.get(place)
        return [ANY] if not kept else list(_domain(self.net.place(place).type, frozenset(kept)))

    def without_outside(self, place: str, path: Path) -> bool:
        """Whether a field is computed from constants alone.

        No proposal, event or case input flows into it.
        """
        start = (place, _within_records(self.net.place(place).type, path))
        entries = {e.place for e in self.net.entries}
        seen: set[tuple[str, Path]] = set()
        stack = [start]
        while stack:
            node = stack.pop()
            if node in seen or node in self._inside:
                continue
            seen.add(node)
            from_outside = node in self._outside or node[0] in entries
            for transition, put in self.into.get(node[0], ()):
                if put.expr is None or from_outside:
                    continue
                arcs = {a.var: a.place for a in inputs_of(transition) if a.var is not None}
                for var, source in sources(put.expr, node[1]):
                    if var not in arcs:
                        from_outside = True
                        break
                    stack.append((arcs[var], _within_records(self.net.place(arcs[var]).type, source)))
            if from_outside:
                self._outside.add(start)
                return False
        self._inside |= seen
        return True


def sources(expr: Expr, path: Path) -> Iterator[tuple[str, Path]]:
    """The variables, with paths, that the part of an expression's value at ``path`` depends on."""
    match expr:
        case Var(name):
            yield name, path
        case Get(of, field):
            yield from sources(of, (field, *path))
        case Build(of, parts) if path:
            index = of.index(path[0])
            if index is not None:
                yield from sources(parts[index], path[1:])
        case If(condition, then, otherwise):
            yield from sources(condition, ())
            yield from sources(then, path)
            yield from sources(otherwise, path)
        case OrElse(of, default):
            yield from sources(of, path)
            yield from sources(default, path)
        case Each(_, of, var, body):
            yield from sources(of, ())
            yield from ((n, p) for n, p in sources(body, ()) if n != var)
        case _:
            for part in children(expr):
                yield from sources(part, ())


def read_fields(transition: Transition, expr: Expr) -> Iterator[tuple[str, Path]]:
    """The fields of places that a condition of a transition reads."""
    arcs = {a.var: a.place for a in inputs_of(transition) if a.var is not None}
    for var, path in sources(expr, ()):
        if var in arcs:
            yield arcs[var], path


def small(of: Type) -> bool:
    """Whether a type has few enough values to track them one by one."""
    match of:
        case BoolType():
            return True
        case EnumType(_, values):
            return len(values) <= _LARGEST_DOMAIN
        case IntType(lo, hi):
            return lo is not None and hi is not None and hi - lo < _LARGEST_DOMAIN
        case OptionalType(item):
            return small(item)
        case _:
            return False


def type_at(of: Type, path: Path) -> Type | None:
    """The type of a part of a token; ``None`` where the path leads through an optional."""
    for name in path:
        if not isinstance(of, RecordType) or (field := of.field(name)) is None:
            return None
        of = field.type
    return of


def _within_records(of: Type, path: Path) -> Path:
    """A path cut where it would lead into an optional: that is kept whole or not at all."""
    for i, name in enumerate(path):
        if not isinstance(of, RecordType) or (field := of.field(name)) is None:
            return path[:i]
        of = field.type
    return path


def control_fields(net: Net) -> list[tuple[str, Path]]:
    """The fields that guards read and that are computed from constants alone.

    Counters, flags and steps of the control flow; but no version numbers, of which there may be any number.
    """
    return _guarding(net)[0]


def version_fields(net: Net) -> list[tuple[str, Path]]:
    """Counters of which guards ask only whether two are the same: each value means no more than the next."""
    return _guarding(net)[1]


def _guarding(net: Net) -> tuple[list[tuple[str, Path]], list[tuple[str, Path]]]:
    """The fields that guards read and that are computed from constants alone: others, and versions."""
    everything = Masks(net, ())
    found = []
    for t in net.transitions:
        if t.guard is not None:
            for place, path in dict.fromkeys(read_fields(t, t.guard)):
                of = type_at(net.place(place).type, path)
                if (
                    of is not None
                    and not isinstance(of, RecordType)
                    and everything.without_outside(place, path)
                ):
                    found.append((place, path))
    versions, fields = _versions(net, everything), list(dict.fromkeys(found))
    return [f for f in fields if f not in versions], [f for f in fields if f in versions]


def _versions(net: Net, masks: Masks) -> set[tuple[str, Path]]:
    """See ``version_fields``."""
    kin: dict[tuple[str, Path], set[tuple[str, Path]]] = {}
    told: set[tuple[str, Path]] = set()
    """Fields of which something else is asked: how high they are, say."""
    for t in net.transitions:
        for part in () if t.guard is None else _conditions(t.guard):
            fields = [list(read_fields(t, e)) for e in children(part)] if isinstance(part, Compare) else []
            plain = len(fields) == 2 and all(_is_path(e) for e in children(part))
            if plain and isinstance(part, Compare) and part.op in ("==", "!=") and all(fields):
                (one,), (other,) = fields
                _join(kin, one, other)
            else:
                told.update(read_fields(t, part))
    grows: set[tuple[str, Path]] = set()
    todo = list(kin)
    for place, path in todo:
        for t, put in masks.into.get(place, ()):
            arcs = {a.var: a.place for a in inputs_of(t) if a.var is not None}
            made = None if put.expr is None else _at(put.expr, path)
            for var, source in sources(made, ()) if made is not None else ():
                if var in arcs and made is not None:
                    if (arcs[var], source) not in kin:
                        todo.append((arcs[var], source))
                    _join(kin, (place, path), (arcs[var], source))
                    grows |= set() if _is_path(made) else {(place, path)}
    return {f for f, family in kin.items() if family & grows and not family & told}


def _join(kin: dict[tuple[str, Path], set[tuple[str, Path]]], one: Any, other: Any) -> None:
    family = kin.setdefault(one, {one}) | kin.setdefault(other, {other})
    kin.update(dict.fromkeys(family, family))


def _conditions(guard: Expr) -> Iterator[Expr]:
    """The conditions that a guard is made of by and, or and not."""
    if isinstance(guard, And | Or | Not):
        for part in children(guard):
            yield from _conditions(part)
    else:
        yield guard


def _at(expr: Expr, path: Path) -> Expr:
    """A part of what an expression builds."""
    for name in path:
        expr = Get(expr, name)
    return direct(expr)


def _is_path(expr: Expr) -> bool:
    return isinstance(expr, Var) or (isinstance(expr, Get) and _is_path(expr.of))


def small_fields(net: Net, transition: Transition) -> list[tuple[str, Path]]:
    """The fields of few values that a transition's guard reads.

    What to keep when the abstraction was too coarse there.
    """
    if transition.guard is None:
        return []
    return [
        (place, path)
        for place, path in dict.fromkeys(read_fields(transition, transition.guard))
        if (of := type_at(net.place(place).type, path)) is not None and small(of)
    ]


def _connective(parts: list[Partial], *, decided_by: bool) -> Partial:
    def run(env: Mapping[str, Any]) -> Any:
        result: Any = not decided_by
        for part in parts:
            value = part(env)
            if value is decided_by:
                return decided_by
            if value is ANY:
                result = ANY
        return result

    return run


def _strict(expr: Expr, scope: Mapping[str, Type], parts: tuple[Expr, ...]) -> Partial:
    """Exact where all that the expression reads is known, else ``ANY``."""
    # A record built on the spot may hold parts that are not known beside the one that is read.
    exact = compile_expr(direct(expr), scope)
    if isinstance(expr, OneOf):
        parts = (expr.of,)
    needed = [compile_partial(p, scope) for p in parts]
    if not needed:
        names = [n.name for n in walk(expr) if isinstance(n, Var) and n.name in scope]
        needed = [compile_partial(Var(n), scope) for n in names]

    def run(env: Mapping[str, Any]) -> Any:
        return exact(env) if all(is_known(p(env)) for p in needed) else ANY

    return run


def _project(value: Any, of: Type, kept: Paths) -> Any:
    if () in kept or value is ANY or value is None:
        return value
    if isinstance(of, OptionalType):
        return _project(value, of.item, kept)
    if not isinstance(of, RecordType):
        return ANY
    below = _below(kept)
    return tuple(
        _project(v, f.type, below[f.name]) if f.name in below else ANY
        for f, v in zip(of.fields, value, strict=True)
    )


def _domain(of: Type, kept: Paths) -> Iterator[Any]:
    """All partial values of a type that differ in what is kept.

    A kept part with too many values is forgotten after all.
    """
    if () in kept or not isinstance(of, RecordType):
        yield from (_values(of) if () in kept and small(of) else [ANY])
        return
    below = _below(kept)
    yield from product(*(_domain(f.type, below[f.name]) if f.name in below else [ANY] for f in of.fields))


def _values(of: Type) -> list[Value]:
    match of:
        case BoolType():
            return [False, True]
        case EnumType(_, values):
            return list(values)
        case IntType(int(lo), int(hi)):
            return list(range(lo, hi + 1))
        case OptionalType(item):
            return [None, *_values(item)]
        case _:
            return [ANY]


def _below(kept: Paths) -> dict[str, Paths]:
    out: dict[str, set[Path]] = {}
    for path in kept:
        out.setdefault(path[0], set()).add(path[1:])
    return {name: frozenset(paths) for name, paths in out.items()}

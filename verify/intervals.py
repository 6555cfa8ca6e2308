"""Between which numbers the whole-number fields of a place's tokens stay.

Interval analysis (Cousot & Cousot, "Abstract interpretation", POPL 1977): each field of each place has an
interval, which grows with what transitions put there, under their guards; one that keeps growing is widened
to the next constant that the net names. What comes out is only a guess until it is checked: ``bounds``
hands it to the solver as facts, place by place, and gives back nothing that was not found inductive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from provenet.nets.expr.ast import And, Arith, Compare, Const, Expr, Get, If, Not, Var, walk
from provenet.nets.net import Net, Transition
from provenet.nets.quick import dataclass
from provenet.nets.schema import INT, IntType, RecordType, Type, Value
from provenet.verify.abstraction import Path, type_at
from provenet.verify.backward import Lemmas, PlaceFacts, holds, simplify
from provenet.verify.questions import IT, inputs_of

Field: TypeAlias = tuple[str, Path]
"""A field of the tokens of a place."""

_ROUNDS = 4
"""How often an interval grows step by step before it is widened."""

_OPPOSITE = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}


@dataclass(frozen=True, slots=True)
class Interval:
    """The whole numbers from ``lo`` to ``hi``; ``None`` is no end."""

    lo: int | None
    hi: int | None

    def joined(self, other: Interval) -> Interval:
        """The smallest interval with both."""
        lo = None if self.lo is None or other.lo is None else min(self.lo, other.lo)
        hi = None if self.hi is None or other.hi is None else max(self.hi, other.hi)
        return Interval(lo, hi)

    def within(self, other: Interval) -> Interval | None:
        """What both have; ``None`` where that is nothing."""
        los = [x for x in (self.lo, other.lo) if x is not None]
        his = [x for x in (self.hi, other.hi) if x is not None]
        lo, hi = max(los, default=None), min(his, default=None)
        return None if lo is not None and hi is not None and lo > hi else Interval(lo, hi)


ANYTHING = Interval(None, None)


def bounds(net: Net, lemmas: Lemmas, *, timeout_ms: int) -> tuple[dict[Field, Interval], PlaceFacts]:
    """The intervals of the fields of places, and the same as facts that were found inductive.

    Args:
        net: The net.
        lemmas: What follows from its transitions' conditions.
        timeout_ms: For each question to the solver.

    Returns:
        Every whole-number field that is not behind an optional, and the facts; fields whose interval does
        not hold have only what their type says.
    """
    found = _Analysis(net).run()
    facts = _facts(net, found)
    if facts.places and not holds(net, (), None, facts, lemmas, timeout_ms=timeout_ms):
        facts = PlaceFacts()
        return {field: _of_type(net, field) for field in found}, facts
    return found, facts


def path_of(expr: Expr) -> tuple[str, Path] | None:
    """The variable and the fields below it that an expression names, if it is no more than that."""
    path: list[str] = []
    while isinstance(expr, Get):
        path.append(expr.field)
        expr = expr.of
    return (expr.name, tuple(reversed(path))) if isinstance(expr, Var) else None


def linear(expr: Expr) -> tuple[dict[tuple[str, Path], int], int] | None:
    """An expression as fields of variables, each with a factor, and a constant; ``None`` where it is none."""
    match expr:
        case Const(int(value), _) if not isinstance(value, bool):
            return {}, value
        case Arith("+" | "-" as op, left, right):
            one, two = linear(left), linear(right)
            if one is None or two is None:
                return None
            sign = 1 if op == "+" else -1
            terms = dict(one[0])
            for term, factor in two[0].items():
                terms[term] = terms.get(term, 0) + sign * factor
            return terms, one[1] + sign * two[1]
        case Var() | Get() if (named := path_of(expr)) is not None:
            return {named: 1}, 0
        case _:
            return None


def at_firing(net: Net, t: Transition, found: Mapping[Field, Interval]) -> Callable[[str, Path], Interval]:
    """Between which numbers a field of a variable is whenever a transition fires.

    Args:
        net: The net.
        t: The transition.
        found: Between which numbers the fields of tokens stay.
    """
    places = {a.var: a.place for a in inputs_of(t) if a.var is not None}
    stated = [c for e in (t.guard, t.ensures, t.requires) for c in _conditions(e, positive=True)]
    alike = equalities(t.guard)
    scope = net.scope(t)

    def alone(var: str, path: Path) -> Interval:
        if var in places:
            field = (places[var], path)
            given = found.get(field, _of_type(net, field))
        else:
            of = type_at(scope[var], path) if var in scope else None
            given = Interval(of.lo, of.hi) if isinstance(of, IntType) else ANYTHING
        return _refined(given, (var, path), stated) or given

    def known(var: str, path: Path) -> Interval:
        given = alone(var, path)
        for one, other in alike:
            if (var, path) in (one, other):
                given = given.within(alone(*(other if (var, path) == one else one))) or given
        return given

    return known


def whole_fields(of: Type) -> Iterator[Path]:
    """The paths to the whole numbers in a type, those behind optionals and lists aside."""
    match of:
        case IntType():
            yield ()
        case RecordType(_, fields):
            for f in fields:
                yield from ((f.name, *rest) for rest in whole_fields(f.type))
        case _:
            return


def taken(expr: Expr, path: Path) -> Expr:
    """The part of an expression at a path."""
    for name in path:
        expr = Get(expr, name)
    return expr


def number_at(net: Net, place: str, token: Value, path: Path) -> int:
    """The whole number at a path of a token."""
    of: Type = net.place(place).type
    for name in path:
        assert isinstance(of, RecordType)
        assert isinstance(token, tuple)
        index = of.index(name)
        assert index is not None
        token, of = token[index], of.fields[index].type
    assert isinstance(token, int)
    return token


class _Analysis:
    """One analysis of a net."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self.fields: dict[str, list[Path]] = {p.name: list(whole_fields(p.type)) for p in net.places}
        self.found: dict[Field, Interval] = {}
        self.grown: dict[Field, int] = {}
        self.marks = sorted(_constants(net))
        self.work: dict[str, None] = {}
        self.takers: dict[str, list[Transition]] = {}
        for t in net.transitions:
            for arc in inputs_of(t):
                self.takers.setdefault(arc.place, []).append(t)

    def run(self) -> dict[Field, Interval]:
        net = self.net
        for place, tokens in net.initial:
            for token in tokens:
                for path in self.fields[place]:
                    number = number_at(net, place, token, path)
                    self.grow((place, path), Interval(number, number))
        for entry in net.entries:
            holds = _conditions(entry.where, positive=True)
            for path in self.fields[entry.place]:
                given = _of_type(net, (entry.place, path))
                given = _refined(given, (IT, path), holds) or given
                self.grow((entry.place, path), given)
        reached = {place for place, tokens in net.initial if tokens} | {e.place for e in net.entries}
        self.work = dict.fromkeys(t.name for t in net.transitions)
        while self.work:
            name = next(iter(self.work))
            del self.work[name]
            t = net.transition(name)
            if not all(arc.place in reached for arc in inputs_of(t)):
                continue
            for put in t.puts:
                if put.place not in reached:
                    reached.add(put.place)
                    self.look_again(put.place)
            self.fire(t)
        return {
            (p.name, path): self.found.get((p.name, path), _of_type(net, (p.name, path)))
            for p in net.places
            for path in self.fields[p.name]
        }

    def fire(self, t: Transition) -> None:
        scope, known = self.net.scope(t), at_firing(self.net, t, self.found)
        places = {a.var: a.place for a in inputs_of(t) if a.var is not None}
        stated = _conditions(t.guard, positive=True)
        for var, path in {(var, path) for var, path, _, _ in stated if var in places}:
            given = self.found.get((places[var], path), _of_type(self.net, (places[var], path)))
            if _refined(given, (var, path), stated) is None:
                return  # no token that is known of so far lets it fire
        for put in t.puts:
            for path in self.fields[put.place]:
                if put.expr is not None:
                    value = simplify(taken(put.expr, path), scope)
                    self.grow((put.place, path), _evaluated(value, known))

    def grow(self, field: Field, by: Interval) -> None:
        old = self.found.get(field)
        typed = _of_type(self.net, field)
        new = by if old is None else old.joined(by)
        new = new.within(typed) or typed
        if new == old:
            return
        self.grown[field] = self.grown.get(field, 0) + 1
        if old is not None and self.grown[field] > _ROUNDS:
            lo, hi = new.lo, new.hi
            if lo is not None and lo != old.lo:
                lo = max((m for m in self.marks if m <= lo), default=None)
            if hi is not None and hi != old.hi:
                hi = min((m for m in self.marks if m >= hi), default=None)
            new = Interval(lo, hi).within(typed) or typed
        self.found[field] = new
        self.look_again(field[0])

    def look_again(self, place: str) -> None:
        """More is known to get into a place: whoever takes from it may put more."""
        self.work |= dict.fromkeys(t.name for t in self.takers.get(place, ()))


def _evaluated(expr: Expr, known: Callable[[str, Path], Interval]) -> Interval:
    match expr:
        case Const(int(value), _) if not isinstance(value, bool):
            return Interval(value, value)
        case Arith("+", left, right):
            a, b = _evaluated(left, known), _evaluated(right, known)
            return Interval(_sum(a.lo, b.lo), _sum(a.hi, b.hi))
        case Arith("-", left, right):
            a, b = _evaluated(left, known), _evaluated(right, known)
            return Interval(_sum(a.lo, _minus(b.hi)), _sum(a.hi, _minus(b.lo)))
        case If(_, then, otherwise):
            return _evaluated(then, known).joined(_evaluated(otherwise, known))
        case _:
            named = path_of(expr)
            return ANYTHING if named is None else known(*named)


def _sum(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a + b


def _minus(a: int | None) -> int | None:
    return None if a is None else -a


def _conditions(expr: Expr | None, *, positive: bool) -> list[tuple[str, Path, str, int]]:
    """The comparisons with constants that hold where a condition does: variable, path, sign, constant."""
    match expr:
        case And(parts) if positive:
            return [c for part in parts for c in _conditions(part, positive=True)]
        case Not(of):
            return _conditions(of, positive=not positive)
        case Compare(op, left, Const(int(value), _)) if (named := path_of(left)) is not None:
            return [(*named, op if positive else _OPPOSITE[op], value)]
        case Compare(op, Const(int(value), _), right) if (named := path_of(right)) is not None:
            sign = _MIRRORED[op]
            return [(*named, sign if positive else _OPPOSITE[sign], value)]
        case _:
            return []


def equalities(expr: Expr | None) -> list[tuple[tuple[str, Path], tuple[str, Path]]]:
    """The pairs of fields that are equal where a condition holds."""
    match expr:
        case And(parts):
            return [pair for part in parts for pair in equalities(part)]
        case Compare("==", left, right):
            one, other = path_of(left), path_of(right)
            return [(one, other)] if one is not None and other is not None else []
        case _:
            return []


def _refined(
    given: Interval, named: tuple[str, Path], stated: list[tuple[str, Path, str, int]]
) -> Interval | None:
    """What is left of an interval where some comparisons hold; ``None`` where nothing is."""
    found: Interval | None = given
    for var, path, sign, value in stated:
        if (var, path) == named and found is not None:
            match sign:
                case "<":
                    found = found.within(Interval(None, value - 1))
                case "<=":
                    found = found.within(Interval(None, value))
                case ">":
                    found = found.within(Interval(value + 1, None))
                case ">=":
                    found = found.within(Interval(value, None))
                case "==":
                    found = found.within(Interval(value, value))
                case _:
                    pass
    return found


def _of_type(net: Net, field: Field) -> Interval:
    of = type_at(net.place(field[0]).type, field[1])
    return Interval(of.lo, of.hi) if isinstance(of, IntType) else ANYTHING


def _constants(net: Net) -> set[int]:
    found = {0, 1}
    for t in net.transitions:
        for expr in (t.guard, t.ensures, t.requires, *(p.expr for p in t.puts)):
            if expr is not None:
                for node in walk(expr):
                    if (
                        isinstance(node, Const)
                        and isinstance(node.value, int)
                        and not isinstance(node.value, bool)
                    ):
                        found |= {node.value - 1, node.value, node.value + 1}
    return found


def _facts(net: Net, found: Mapping[Field, Interval]) -> PlaceFacts:
    """What intervals say beyond the types, as conditions over ``it``."""
    facts = PlaceFacts()
    for (place, path), within in found.items():
        it, typed = taken(Var(IT), path), _of_type(net, (place, path))
        for op, end, known in ((">=", within.lo, typed.lo), ("<=", within.hi, typed.hi)):
            if end is not None and end != known:
                facts.places.setdefault(place, []).append(Compare(op, it, Const(end, INT)))  # type: ignore[arg-type]
    return facts

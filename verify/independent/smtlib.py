"""Types and expressions as SMT-LIB 2.6 text, as naively as can be.

Strings are strings, enumerations are the strings or integers that they list, decimals and floats are reals,
points in time are microseconds, a record is its fields, an optional a flag beside its value. A list is one
unknown thing with a length. What is unknown may be anything, so an obligation that is unsatisfiable here is
so in every run. What has no text raises ``NotHere``: nothing is ever guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import TypeAlias

from provenet.nets.errors import ExprError
from provenet.nets.expr import ast
from provenet.nets.expr.ast import Expr
from provenet.nets.expr.regex import Alt, Chars, Pattern, Repeat, Seq, parse_pattern
from provenet.nets.expr.typing import NULL_TYPE, join, type_of, widen
from provenet.nets.schema import (
    BOOL,
    INT,
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
    microseconds,
)
from provenet.verify.independent.errors import NotHere

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TOP = 0x2FFFF
_LONGEST = 1_000_000
"""Characters of one term."""


@dataclass(frozen=True, slots=True)
class Maybe:
    """An optional: whether it is there, and its value where it is."""

    present: str
    value: Term


Term: TypeAlias = "str | Maybe | tuple[Term, ...]"
"""A scalar's text, an optional, or the fields of a record."""


@dataclass(frozen=True, slots=True)
class Obligation:
    """One question to a solver; it must be unsatisfiable.

    Attributes:
        name: What it shows, in words.
        text: SMT-LIB 2.6.
    """

    name: str
    text: str


@dataclass(slots=True)
class Script:
    """One obligation in the making."""

    lines: list[str] = field(default_factory=list)
    _names: set[str] = field(default_factory=set)
    _lists: dict[Value, str] = field(default_factory=dict)

    def obligation(self, name: str, claims: Iterable[str]) -> Obligation:
        """The obligation that these claims do not hold together."""
        head = [f"; {_plain(name)}", "(set-logic ALL)"]
        if self._lists or any("Listing" in line for line in self.lines):
            head += ["(declare-sort Listing 0)", "(declare-fun length (Listing) Int)"]
        kept = [c for c in claims if c != "true"]
        return Obligation(
            name, "\n".join([*head, *self.lines, *(f"(assert {c})" for c in kept), "(check-sat)", ""])
        )

    # values

    def value(self, name: str, of: Type) -> Term:
        """Constants for any value of a type; ``inhabits`` says what the type promises of it."""
        match of:
            case OptionalType():
                item = _item(of)
                return Maybe(self._declared(f"{name}.there", "Bool"), self.value(f"{name}.value", item))
            case RecordType(_, fields):
                return tuple(self.value(f"{name}.{f.name}", f.type) for f in fields)
            case UnitType():
                return ()
            case _:
                return self._declared(name, _sort(of))

    def named(self, name: str, term: Term, of: Type) -> Term:
        """A term under short names, so that it can be spoken of often."""
        if isinstance(term, Maybe):
            assert isinstance(of, OptionalType)
            there = self._defined(f"{name}.there", "Bool", term.present)
            return Maybe(there, self.named(f"{name}.value", term.value, _item(of)))
        if isinstance(term, tuple):
            fields = of.fields if isinstance(of, RecordType) else ()
            return tuple(
                self.named(f"{name}.{f.name}", part, f.type) for f, part in zip(fields, term, strict=True)
            )
        return self._defined(name, _sort(of), term)

    def constant(self, value: Value, of: Type) -> Term:
        """A value as a term."""
        match of:
            case UnitType():
                return ()
            case BoolType():
                return "true" if value else "false"
            case IntType():
                return _integer(value)
            case DecimalType() | FloatType():
                return _real(Fraction(value))
            case StrType():
                return _text(value)
            case EnumType():
                return _text(value) if _sort(of) == "String" else _integer(value)
            case DateTimeType():
                return _integer(microseconds(value - _EPOCH))
            case DurationType():
                return _integer(microseconds(value))
            case OptionalType():
                if value is None:
                    return Maybe("false", self.value("nothing", _item(of)))
                return Maybe("true", self.constant(value, _item(of)))
            case RecordType(_, fields):
                return tuple(self.constant(v, f.type) for f, v in zip(fields, value, strict=True))
            case ListType():
                if value not in self._lists:
                    self._lists[value] = self._declared("list", "Listing")
                    self.lines.append(f"(assert (= (length {self._lists[value]}) {len(value)}))")
                return self._lists[value]

    def inhabits(self, term: Term, of: Type) -> Iterator[str]:
        """What a type promises of its values, as far as it can be said."""
        if isinstance(term, Maybe):
            inside = list(self.inhabits(term.value, _item(of)))
            if inside:
                yield f"(=> {term.present} {conjoined(inside)})"
            return
        if isinstance(term, tuple):
            for f, part in zip(of.fields if isinstance(of, RecordType) else (), term, strict=True):
                yield from self.inhabits(part, f.type)
            return
        match of:
            case IntType(lo, hi):
                yield from _between(
                    term, None if lo is None else _integer(lo), None if hi is None else _integer(hi)
                )
            case DecimalType(lo, hi) | FloatType(lo, hi):
                low, high = (None if n is None else _real(Fraction(n)) for n in (lo, hi))
                yield from _between(term, low, high)
                if isinstance(of, DecimalType) and of.places is not None:
                    yield f"(is_int (* {_real(Fraction(10**of.places))} {term}))"
            case StrType(most) if most is not None:
                yield f"(<= (str.len {term}) {most})"
            case EnumType(_, values):
                yield disjoined([f"(= {term} {self.constant(v, of)})" for v in values])
            case DateTimeType():
                first, end = (microseconds(datetime(y, 1, 1, tzinfo=UTC) - _EPOCH) for y in (1900, 3000))
                yield from _between(term, _integer(first), _integer(end - 1))
            case DurationType():
                most = microseconds(timedelta(days=400_000))
                yield from _between(term, _integer(-most), _integer(most))
            case ListType(_, longest):
                yield from _between(f"(length {term})", "0", None if longest is None else _integer(longest))
            case _:
                pass

    # expressions

    def condition(self, expr: Expr, env: Mapping[str, Term], scope: Mapping[str, Type]) -> str:
        """A condition as a formula.

        Raises:
            NotHere: It has no text, or does not type-check.
        """
        try:
            if type_of(expr, scope) != BOOL:
                raise NotHere("this is no condition")
        except ExprError as error:
            raise NotHere(f"a condition does not type-check: {error.message}") from error
        found = self.encoded(expr, env, scope)[0]
        assert isinstance(found, str)
        if len(found) > _LONGEST:
            raise NotHere("a condition is too long to write down")
        return found

    def fitted(self, expr: Expr, env: Mapping[str, Term], scope: Mapping[str, Type], wanted: Type) -> Term:
        """The value of an expression, put where a type is wanted."""
        return self._fit(*self.encoded(expr, env, scope), wanted)

    def encoded(self, expr: Expr, env: Mapping[str, Term], scope: Mapping[str, Type]) -> tuple[Term, Type]:
        """A term with its type."""
        match expr:
            case ast.Const(value, of):
                return self.constant(value, of), widen(of)
            case ast.Var(name):
                return env[name], widen(scope[name])
            case ast.Get(of, name):
                record, record_type = self.encoded(of, env, scope)
                assert isinstance(record, tuple)
                assert isinstance(record_type, RecordType)
                at = record_type.index(name)
                assert at is not None
                return record[at], widen(record_type.fields[at].type)
            case ast.Not(of):
                return f"(not {self._flag(of, env, scope)})", BOOL
            case ast.And(parts):
                return conjoined([self._flag(p, env, scope) for p in parts]), BOOL
            case ast.Or(parts):
                return disjoined([self._flag(p, env, scope) for p in parts]), BOOL
            case ast.Compare(op, left, right):
                a, b, of = self._met(self.encoded(left, env, scope), self.encoded(right, env, scope))
                if op in ("==", "!="):
                    same = equal(a, b)
                    return (same if op == "==" else f"(not {same})"), BOOL
                return f"({op} {a} {b})", BOOL
            case ast.Arith(op, left, right):
                of = type_of(expr, scope)
                first, second = self.encoded(left, env, scope), self.encoded(right, env, scope)
                if isinstance(of, DecimalType):
                    return f"({op} {self._fit(*first, of)} {self._fit(*second, of)})", of
                # Divisors are positive constants, where SMT-LIB rounds down as Python does.
                return f"({ {'//': 'div', '%': 'mod'}.get(op, op) } {first[0]} {second[0]})", of
            case ast.If(test, then, otherwise):
                flag = self._flag(test, env, scope)
                a, b, of = self._met(self.encoded(then, env, scope), self.encoded(otherwise, env, scope))
                return choice(flag, a, b), of
            case ast.OneOf(of, values):
                one = self.encoded(of, env, scope)
                ways = [self._met(one, self.encoded(v, env, scope)) for v in values]
                return disjoined([equal(a, b) for a, b, _ in ways]), BOOL
            case ast.IsNull(of):
                optional, _ = self.encoded(of, env, scope)
                assert isinstance(optional, Maybe)
                return f"(not {optional.present})", BOOL
            case ast.OrElse(of, default):
                optional, optional_type = self.encoded(of, env, scope)
                assert isinstance(optional, Maybe)
                inner = (optional.value, widen(_item(optional_type)))
                a, b, kind = self._met(inner, self.encoded(default, env, scope))
                return choice(optional.present, a, b), kind
            case ast.Len(of):
                inside, kind = self.encoded(of, env, scope)
                return f"({'length' if isinstance(kind, ListType) else 'str.len'} {inside})", INT
            case ast.TextTest(op, of, text):
                whole, part = self._fit(*self.encoded(of, env, scope), StrType()), _text(text)
                pair = f"{whole} {part}" if op == "contains" else f"{part} {whole}"
                return f"({_TESTS[op]} {pair})", BOOL
            case ast.Matches(of, pattern):
                whole = self._fit(*self.encoded(of, env, scope), StrType())
                return f"(str.in_re {whole} {_regex(parse_pattern(pattern))})", BOOL
            case ast.Build(of, parts):
                fields = zip(of.fields, parts, strict=True)
                return tuple(self.fitted(part, env, scope, f.type) for f, part in fields), of
            case ast.Each():
                raise NotHere("a condition looks into the elements of a list")

    def _flag(self, expr: Expr, env: Mapping[str, Term], scope: Mapping[str, Type]) -> str:
        found = self.encoded(expr, env, scope)[0]
        assert isinstance(found, str)
        return found

    def _met(self, a: tuple[Term, Type], b: tuple[Term, Type]) -> tuple[Term, Term, Type]:
        of = join(a[1], b[1])
        if of is None:
            raise NotHere(f"a {a[1]} and a {b[1]} do not meet")
        return self._fit(*a, of), self._fit(*b, of), of

    def _fit(self, term: Term, given: Type, wanted: Type) -> Term:
        if given == wanted:
            return term
        match given, wanted:
            case OptionalType(), OptionalType():
                assert isinstance(term, Maybe)
                if given == NULL_TYPE:
                    return Maybe(term.present, self.value("nothing", _item(wanted)))
                return Maybe(term.present, self._fit(term.value, _item(given), _item(wanted)))
            case _, OptionalType():
                return Maybe("true", self._fit(term, given, _item(wanted)))
            case RecordType(_, a), RecordType(_, b) if isinstance(term, tuple) and len(a) == len(b):
                return tuple(self._fit(part, x.type, y.type) for part, x, y in zip(term, a, b, strict=True))
            case IntType(), DecimalType():
                return f"(to_real {term})"
        if isinstance(term, str) and _sort(given) == _sort(wanted):
            return term
        raise NotHere(f"a {given} is put where a {wanted} is wanted")

    def _declared(self, name: str, sort: str) -> str:
        symbol = self._symbol(name)
        self.lines.append(f"(declare-const {symbol} {sort})")
        return symbol

    def _defined(self, name: str, sort: str, term: str) -> str:
        if len(term) > _LONGEST:
            raise NotHere("a term is too long to write down")
        symbol = self._symbol(name)
        self.lines.append(f"(define-fun {symbol} () {sort} {term})")
        return symbol

    def _symbol(self, name: str) -> str:
        base = "".join(c if c.isascii() and (c.isalnum() or c in " ._-[]") else "_" for c in name)
        found, number = base, 1
        while found in self._names:
            number += 1
            found = f"{base}~{number}"
        self._names.add(found)
        return f"|${found}|"  # no symbol of a theory begins so


def equal(a: Term, b: Term) -> str:
    """That two terms of one type are equal."""
    if isinstance(a, Maybe):
        assert isinstance(b, Maybe)
        return f"(and (= {a.present} {b.present}) (=> {a.present} {equal(a.value, b.value)}))"
    if isinstance(a, tuple):
        assert isinstance(b, tuple)
        return conjoined([equal(x, y) for x, y in zip(a, b, strict=True)])
    return f"(= {a} {b})"


def choice(flag: str, a: Term, b: Term) -> Term:
    """One of two terms of one type."""
    if isinstance(a, Maybe):
        assert isinstance(b, Maybe)
        there = choice(flag, a.present, b.present)
        assert isinstance(there, str)
        return Maybe(there, choice(flag, a.value, b.value))
    if isinstance(a, tuple):
        assert isinstance(b, tuple)
        return tuple(choice(flag, x, y) for x, y in zip(a, b, strict=True))
    return f"(ite {flag} {a} {b})"


def conjoined(parts: Sequence[str]) -> str:
    """All of them."""
    return "true" if not parts else parts[0] if len(parts) == 1 else f"(and {' '.join(parts)})"


def disjoined(parts: Sequence[str]) -> str:
    """Any of them."""
    return "false" if not parts else parts[0] if len(parts) == 1 else f"(or {' '.join(parts)})"


def conjuncts(expr: Expr) -> Iterator[Expr]:
    """The parts of a conjunction, nested ones opened."""
    if isinstance(expr, ast.And):
        for part in expr.parts:
            yield from conjuncts(part)
    else:
        yield expr


_TESTS = {"starts_with": "str.prefixof", "ends_with": "str.suffixof", "contains": "str.contains"}


def _item(of: Type) -> Type:
    while isinstance(of, OptionalType):
        of = of.item
    return of


def _sort(of: Type) -> str:
    match of:
        case BoolType():
            return "Bool"
        case IntType() | DateTimeType() | DurationType():
            return "Int"
        case DecimalType() | FloatType():
            return "Real"
        case StrType():
            return "String"
        case ListType():
            return "Listing"
        case EnumType(_, values) if all(isinstance(v, str) for v in values):
            return "String"
        case EnumType(_, values) if all(type(v) is int for v in values):
            return "Int"
    raise NotHere(f"a {of} is no scalar that this checker knows")


def _between(term: str, low: str | None, high: str | None) -> Iterator[str]:
    if low is not None:
        yield f"(<= {low} {term})"
    if high is not None:
        yield f"(<= {term} {high})"


def _integer(n: int) -> str:
    return str(n) if n >= 0 else f"(- {-n})"


def _real(n: Fraction) -> str:
    size = f"{abs(n.numerator)}.0"
    if n.denominator != 1:
        size = f"(/ {size} {n.denominator}.0)"
    return size if n >= 0 else f"(- {size})"


def _text(text: str) -> str:
    if any(ord(c) > _TOP for c in text):
        raise NotHere("a text has a character beyond SMT-LIB's alphabet")
    return '"' + "".join(_character(c) for c in text) + '"'


def _character(c: str) -> str:
    if c == '"':
        return '""'
    return c if " " <= c <= "~" and c != "\\" else f"\\u{{{ord(c):x}}}"


def _regex(tree: Pattern) -> str:
    match tree:
        case Chars(ranges):
            known = [(lo, min(hi, _TOP)) for lo, hi in ranges if lo <= _TOP]
            each = [f"(re.range {_text(chr(lo))} {_text(chr(hi))})" for lo, hi in known]
            return "re.none" if not each else each[0] if len(each) == 1 else f"(re.union {' '.join(each)})"
        case Seq(parts):
            inner = [_regex(p) for p in parts]
            empty = '(str.to_re "")'
            return empty if not inner else inner[0] if len(inner) == 1 else f"(re.++ {' '.join(inner)})"
        case Alt(parts):
            inner = [_regex(p) for p in parts]
            return inner[0] if len(inner) == 1 else f"(re.union {' '.join(inner)})"
        case Repeat(of, lo, None):
            body = _regex(of)
            return f"(re.* {body})" if lo == 0 else f"(re.++ ((_ re.^ {lo}) {body}) (re.* {body}))"
        case Repeat(of, lo, hi):
            return f"((_ re.loop {lo} {hi}) {_regex(of)})"


def _plain(text: str) -> str:
    """A comment's text: one line of ASCII."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)

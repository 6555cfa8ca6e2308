"""The meaning of types and expressions in Z3.

An ``Encoding`` turns token types into bundles of solver constants and expressions into terms over them::

    type                     leaves
    Unit                     none
    Bool                     Bool
    Int, Enum of ints        Int
    Decimal, Float           Real
    Enum of strings          Int: a code for each constant
    Str                      Int code ("identity") or String ("theory")
    DateTime, Duration       Int: microseconds (since 1970 UTC)
    Optional                 Bool (present), then the item; canonical leaves where absent
    List, at most 8 long     Int (length), then the items; canonical leaves beyond the length
    other List               Int (length), Int code (which list it is)
    Record                   the fields', in order

A code stands for a value that is only compared: constants have the codes 0, 1, 2, ...; every other value of a run has some other
integer, equal where the values are. So a formula has a model wherever there is a run; a model need not have a
run (a list's code says nothing of its elements), which is why traces are replayed. What has no encoding raises ``Opaque``:
nothing is ever guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from operator import add, ge, gt, le, lt, mul, sub
from typing import Any, Literal, TypeAlias

import z3

from provenet.nets.errors import ProvenetError, TypeMismatch
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
    children,
)
from provenet.nets.expr.typing import NULL_TYPE, join, type_of, widen
from provenet.nets.schema import (
    BOOL,
    DATETIME,
    DURATION,
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
    check,
    microseconds,
    plainest,
    shorten,
)
from provenet.verify.smt_text import Opaque, literal, matcher, no_surrogates, short_texts, text_of

__all__ = ["Encoding", "Opaque", "SymList", "SymOptional", "SymValue", "Unrepresentable", "flatten"]

Strings: TypeAlias = Literal["identity", "theory"]
Reading: TypeAlias = Literal["assume", "prove"]

TRUE = z3.BoolVal(True)
FALSE = z3.BoolVal(False)


@dataclass(frozen=True, slots=True)
class SymOptional:
    """A symbolic value or null."""

    present: z3.BoolRef
    value: SymValue


@dataclass(frozen=True, slots=True)
class SymList:
    """A symbolic list.

    Attributes:
        length: Its length.
        items: Its elements and, beyond its length, canonical leaves; ``None`` where they are not known.
        code: Which list it is, where that is known.
    """

    length: z3.ArithRef
    items: tuple[SymValue, ...] | None
    code: z3.ArithRef | None = None


SymValue: TypeAlias = "z3.ExprRef | tuple[SymValue, ...] | SymOptional | SymList"
"""A symbolic token value; its structure follows the token type, Unit and Record are tuples."""


class Unrepresentable(ProvenetError):
    """A model's value that no token can have, such as 1/3 for a decimal; ``Encoding.representable`` avoids it."""

    code = "PN601"


@dataclass(slots=True)
class Encoding:
    """One way to write types and expressions in Z3; a query uses the same one throughout.

    Attributes:
        strings: ``identity`` where strings are only compared for equality (quick), ``theory`` for anything else.
    """

    strings: Strings = "identity"
    _codes: dict[tuple[str, Value], int] = field(default_factory=dict, repr=False)
    _meanings: list[tuple[str, Value]] = field(default_factory=list, repr=False)
    _others: dict[int, str] = field(default_factory=dict, repr=False)

    @classmethod
    def for_exprs(cls, exprs: Iterable[Expr | tuple[Expr, Mapping[str, Type]]]) -> Encoding:
        """The quickest encoding in which all of the expressions can be written; their constants get their codes.

        Args:
            exprs: Expressions, each with the types of its variables where they are at hand; without them the length
                of anything counts as the length of a string.
        """
        constants: dict[str, None] = {}
        operations = False
        for entry in exprs:
            expr, scope = entry if isinstance(entry, tuple) else (entry, None)
            for node, inner in _walk(expr, scope):
                match node:
                    case Const(value, _):
                        constants.update(dict.fromkeys(_texts(value)))
                    case TextTest() | Matches():
                        operations = True
                    case Len(of):
                        operations = (
                            operations or inner is None or not isinstance(type_of(of, inner), ListType)
                        )
        encoding = cls("theory" if operations else "identity")
        for text in constants:
            encoding._code("str", text)
        return encoding

    # Types -----------------------------------------------------------------------------------------------------

    def sorts(self, of: Type) -> list[z3.SortRef]:
        """The sorts of a type's leaves, in the order of ``flatten``."""
        return list(_sorts(of, self.strings))

    def fresh(self, name: str, of: Type) -> SymValue:
        """New constants for a value of a type, named ``name.field``, ``name[0]`` and so on."""
        match of:
            case OptionalType(item):
                if isinstance(item, OptionalType):
                    return self.fresh(name, item)
                return SymOptional(z3.Bool(f"{name}.present"), self.fresh(f"{name}.value", item))
            case ListType(item, max_length):
                length = z3.Int(f"{name}.length")
                if not _is_bounded(of):
                    return SymList(length, None, z3.Int(f"{name}.code"))
                return SymList(
                    length, tuple(self.fresh(f"{name}[{i}]", item) for i in range(max_length or 0))
                )
            case RecordType(_, fields):
                return tuple(self.fresh(f"{name}.{f.name}", f.type) for f in fields)
            case UnitType():
                return ()
            case _:
                return z3.Const(name, _scalar_sort(of, self.strings))

    def unflatten(self, of: Type, leaves: Sequence[z3.ExprRef]) -> SymValue:
        """The value of a type with these leaves; the inverse of ``flatten``."""
        rest = iter(leaves)
        value = _take(of, rest)
        assert next(rest, None) is None, f"too many leaves for {of}"
        return value

    def constant(self, value: Value, of: Type) -> SymValue:
        """A token value as constants.

        Raises:
            Opaque: It has a text outside the solver's alphabet.
        """
        return self._shape(self._constant(value, of), of)

    def inhabits(self, value: SymValue, of: Type, *, reading: Reading = "assume") -> z3.BoolRef:
        """That a value belongs to a type: bounds, members of an enum, lengths, places of a decimal.

        What a code hides (the length of a string, the elements of a long list) cannot be said. ``assume`` then says too little, so it
        holds of every value of the type; ``prove`` says too much, so a value of which it holds belongs to the type.

        Args:
            value: A symbolic value of the type's structure.
            of: The type.
            reading: ``assume`` for what a place's tokens are known to be, ``prove`` for what they are shown to be.
        """
        parts: list[z3.BoolRef] = []
        self._inhabits(value, of, reading, parts)
        return _all(parts)

    def representable(self, value: SymValue, of: Type) -> z3.BoolRef:
        """Stronger than ``inhabits``: values that ``concretize`` can write down. Ask for it where a model's are not."""
        parts: list[z3.BoolRef] = []
        self._representable(value, of, parts)
        return _all(parts)

    # Values ----------------------------------------------------------------------------------------------------

    def equal(self, a: SymValue, b: SymValue) -> z3.BoolRef:
        """That two symbolic values of one type are equal.

        Raises:
            Opaque: The elements of one list and the identity of the other are known, so they do not compare.
        """
        return _equal(a, b)

    def ite(self, condition: z3.BoolRef, a: SymValue, b: SymValue) -> SymValue:
        """``a`` where the condition holds, else ``b``; both of one type.

        Raises:
            Opaque: As in ``equal``.
        """
        return _ite(condition, a, b)

    def flatten(self, value: SymValue) -> list[z3.ExprRef]:
        """The leaves of a value in a fixed order."""
        return flatten(value)

    def coerce(self, value: SymValue, given: Type, wanted: Type) -> SymValue:
        """A value of one type as a value of another that it may be put into or compared with.

        Raises:
            Opaque: There is no such term.
        """
        return self._shape(self._coerce(value, given, wanted), wanted)

    def concretize(self, model: z3.ModelRef, value: SymValue, of: Type) -> Value:
        """The token value that a model gives to a symbolic value.

        Raises:
            Unrepresentable: No token has it; ``representable`` says which values a token can have.
        """
        found = self._concretize(model, value, of)
        try:
            check(found, of)
        except TypeMismatch as e:
            raise Unrepresentable(f"a model's value does not belong to its type: {e}") from None
        return found

    # Expressions -----------------------------------------------------------------------------------------------

    def encode(
        self,
        expr: Expr,
        env: Mapping[str, SymValue],
        scope: Mapping[str, Type],
        like: Type | None = None,
    ) -> SymValue:
        """The term of an expression.

        Args:
            expr: The expression.
            env: Symbolic values of its variables, of the structures of their types.
            scope: Types of its variables.
            like: Type of what the value is put into; without it, the expression's own.

        Raises:
            ExprError: The expression does not type-check.
            Opaque: A part of it has no encoding.
        """
        type_of(expr, scope)
        value, of = self._encode(expr, env, scope)
        return self.coerce(value, of, of if like is None else like)

    def encode_bool(self, expr: Expr, env: Mapping[str, SymValue], scope: Mapping[str, Type]) -> z3.BoolRef:
        """The formula of a condition; see ``encode``."""
        value = self.encode(expr, env, scope, BOOL)
        assert z3.is_bool(value)
        return value

    def _encode(
        self, expr: Expr, env: Mapping[str, SymValue], scope: Mapping[str, Type]
    ) -> tuple[SymValue, Type]:
        """The term and the type, in one pass; lists may still lack the shape of their type (see ``_shape``)."""
        match expr:
            case Const(value, of):
                return self._constant(value, of), widen(of)
            case Var(name):
                return env[name], widen(scope[name])
            case Get(of, name):
                record, record_type = self._encode(of, env, scope)
                assert isinstance(record, tuple)
                assert isinstance(record_type, RecordType)
                i = record_type.index(name)
                assert i is not None
                return record[i], widen(record_type.fields[i].type)
            case Not(of):
                return _not(self._bool(of, env, scope)), BOOL
            case And(parts):
                return _all([self._bool(p, env, scope) for p in parts]), BOOL
            case Or(parts):
                return _any([self._bool(p, env, scope) for p in parts]), BOOL
            case Compare(op, left, right):
                return self._compare(op, left, right, env, scope), BOOL
            case Arith():
                return self._arith(expr, env, scope)
            case If(condition, then, otherwise):
                test = self._bool(condition, env, scope)
                return self._branch(test, self._encode(then, env, scope), self._encode(otherwise, env, scope))
            case OneOf(of, values):
                one = self._encode(of, env, scope)
                return _any(
                    [self._same(one, (self._constant(v.value, v.type), widen(v.type)), v) for v in values]
                ), BOOL
            case IsNull(of):
                optional, _ = self._encode(of, env, scope)
                assert isinstance(optional, SymOptional)
                return _not(optional.present), BOOL
            case OrElse(of, default):
                optional, found = self._encode(of, env, scope)
                assert isinstance(optional, SymOptional)
                assert isinstance(found, OptionalType)
                inner = (optional.value, widen(_strip(found).item))
                return self._branch(optional.present, inner, self._encode(default, env, scope))
            case Len(of):
                inside, _ = self._encode(of, env, scope)
                return inside.length if isinstance(inside, SymList) else z3.Length(self._text(inside)), INT
            case TextTest(op, of, text):
                whole, part = self._text(self._encode(of, env, scope)[0]), literal(text)
                if op == "starts_with":
                    return z3.PrefixOf(part, whole), BOOL
                return (z3.SuffixOf if op == "ends_with" else z3.Contains)(
                    *((part, whole) if op == "ends_with" else (whole, part))
                ), BOOL
            case Matches(of, pattern):
                return z3.InRe(self._text(self._encode(of, env, scope)[0]), matcher(pattern)), BOOL
            case Each():
                return self._each(expr, env, scope), BOOL
            case Build(of, parts):
                built = []
                for f, part in zip(of.fields, parts, strict=True):
                    built.append(self.coerce(*self._encode(part, env, scope), f.type))
                return tuple(built), of

    def _bool(self, expr: Expr, env: Mapping[str, SymValue], scope: Mapping[str, Type]) -> z3.BoolRef:
        return self._encode(expr, env, scope)[0]

    def _text(self, value: SymValue) -> z3.SeqRef:
        if self.strings != "theory":
            raise Opaque(
                "this encoding of strings only compares them",
                hint='encode with Encoding("theory") to look into them',
            )
        return value

    def _compare(
        self, op: str, left: Expr, right: Expr, env: Mapping[str, SymValue], scope: Mapping[str, Type]
    ) -> z3.BoolRef:
        one, two = self._encode(left, env, scope), self._encode(right, env, scope)
        if op in ("==", "!="):
            if isinstance(left, Const):
                one, two, right = two, one, left
            same = self._same(one, two, right)
            return same if op == "==" else _not(same)
        joined = _joined(one[1], two[1])
        ordered: z3.BoolRef = _ORDER[op](self._coerce(*one, joined), self._coerce(*two, joined))
        return ordered

    def _same(self, one: tuple[SymValue, Type], two: tuple[SymValue, Type], right: Expr) -> z3.BoolRef:
        """That two typed values are equal; enums compare by their codes, without becoming strings."""
        a, b = one[1], two[1]
        if _is_text_enum(a) and _is_text_enum(b):
            return _equal(one[0], two[0])
        if _is_text_enum(a) and isinstance(b, StrType) and isinstance(right, Const):
            return _equal(one[0], _int(self._code("str", right.value)))
        joined = _joined(a, b)
        return _equal(self._coerce(*one, joined), self._coerce(*two, joined))

    def _arith(
        self, expr: Arith, env: Mapping[str, SymValue], scope: Mapping[str, Type]
    ) -> tuple[SymValue, Type]:
        (one, a), (two, b) = self._encode(expr.left, env, scope), self._encode(expr.right, env, scope)
        # The divisor is a positive constant, and for those SMT-LIB's div and mod round as Python's do.
        if expr.op == "//":
            return one / two, INT
        if expr.op == "%":
            return one % two, INT
        compute = _COMPUTE[expr.op]
        if isinstance(a, DecimalType) or isinstance(b, DecimalType):
            return compute(self._coerce(one, a, DecimalType()), self._coerce(two, b, DecimalType())), (
                DecimalType()
            )
        of: Type = INT
        if isinstance(a, DateTimeType) or isinstance(b, DateTimeType):
            of = DURATION if isinstance(a, DateTimeType) and isinstance(b, DateTimeType) else DATETIME
        elif isinstance(a, DurationType) or isinstance(b, DurationType):
            of = DURATION
        return compute(one, two), of

    def _branch(
        self, test: z3.BoolRef, one: tuple[SymValue, Type], two: tuple[SymValue, Type]
    ) -> tuple[SymValue, Type]:
        joined = _joined(one[1], two[1])
        a, b = self._coerce(*one, joined), self._coerce(*two, joined)
        if isinstance(joined, ListType) and isinstance(a, SymList) and isinstance(b, SymList):
            size = max(len(a.items or ()), len(b.items or ()))
            a, b = self._padded(a, joined.item, size), self._padded(b, joined.item, size)
        return _ite(test, a, b), joined

    def _each(self, expr: Each, env: Mapping[str, SymValue], scope: Mapping[str, Type]) -> z3.BoolRef:
        found, of = self._encode(expr.of, env, scope)
        assert isinstance(found, SymList)
        assert isinstance(of, ListType)
        if found.items is None:
            raise Opaque(
                f"the elements of a {of} are not known to the prover",
                hint=f"give the list a max_length of at most {_MAX_ITEMS}",
            )
        inner = {**scope, expr.var: of.item}
        parts = []
        for i, item in enumerate(found.items):
            body, there = self._bool(expr.body, {**env, expr.var: item}, inner), _int(i) < found.length
            parts.append(z3.Implies(there, body) if expr.quantifier == "all" else z3.And(there, body))
        return _all(parts) if expr.quantifier == "all" else _any(parts)

    # Constants and coercions -----------------------------------------------------------------------------------

    def _code(self, kind: str, value: Value) -> int:
        key = (kind, value)
        code = self._codes.get(key)
        if code is None:
            code = self._codes[key] = len(self._meanings)
            self._meanings.append(key)
            self._others.clear()
        return code

    def _constant(self, value: Value, of: Type) -> SymValue:
        """A value as constants; a list keeps both its items and its code, whatever its type."""
        match of:
            case UnitType():
                return ()
            case BoolType():
                return TRUE if value else FALSE
            case IntType():
                return _int(value)
            case DecimalType() | FloatType():
                return _real(Fraction(value))
            case StrType():
                return literal(value) if self.strings == "theory" else _int(self._code("str", value))
            case EnumType():
                return _int(self._member(value, of))
            case DateTimeType():
                return _int(microseconds(value - _EPOCH))
            case DurationType():
                return _int(microseconds(value))
            case OptionalType(item):
                if isinstance(item, OptionalType):
                    return self._constant(value, item)
                if value is None:
                    return SymOptional(FALSE, _default(item, self.strings))
                return SymOptional(TRUE, self.constant(value, item))
            case ListType(item):
                return SymList(
                    _int(len(value)),
                    tuple(self.constant(v, item) for v in value),
                    _int(self._code("list", value)),
                )
            case RecordType(_, fields):
                return tuple(self.constant(v, f.type) for f, v in zip(fields, value, strict=True))

    def _member(self, value: str | int, of: EnumType) -> int:
        """The integer that stands for a member of an enum."""
        if isinstance(value, str):
            return self._code("str", value)
        return value if _is_int_enum(of) else self._code("int", value)

    def _coerce(self, value: SymValue, given: Type, wanted: Type) -> SymValue:
        """``coerce`` but for the shape of lists."""
        if given is wanted or given == wanted:
            return value
        match given, wanted:
            case OptionalType(), OptionalType():
                assert isinstance(value, SymOptional)
                if given == NULL_TYPE:
                    if value.present is not FALSE:
                        raise Opaque(f"a {given} has no encoding as a {wanted}")
                    return SymOptional(FALSE, _default(_strip(wanted).item, self.strings))
                item = self._coerce(value.value, _strip(given).item, _strip(wanted).item)
                return SymOptional(value.present, self._shape(item, _strip(wanted).item))
            case _, OptionalType():
                item = _strip(wanted).item
                return SymOptional(TRUE, self.coerce(value, given, item))
            case IntType(), DecimalType():
                return z3.ToReal(value)
            case EnumType(_, values), StrType() if self.strings == "theory":
                found: z3.ExprRef = literal(str(values[-1]))
                for text in values[:-1]:
                    found = z3.If(value == _int(self._code("str", text)), literal(str(text)), found)
                return found
            case StrType(), EnumType(_, values) if self.strings == "theory":
                code: z3.ExprRef = _int(-1)
                for text in values:
                    code = z3.If(value == literal(str(text)), _int(self._code("str", text)), code)
                return code
            case ListType(a), ListType(b):
                assert isinstance(value, SymList)
                if value.items is None or a == b:
                    return value
                items = tuple(self._coerce(item, a, b) for item in value.items)
                return SymList(value.length, items, value.code)
            case RecordType(_, a), RecordType(_, b):
                assert isinstance(value, tuple)
                return tuple(self._coerce(v, x.type, y.type) for v, x, y in zip(value, a, b, strict=True))
            case _:
                return value

    def _shape(self, value: SymValue, of: Type) -> SymValue:
        """The value with its lists in the shape that their types ask for, where they were literals or branches."""
        match of:
            case ListType(item, max_length):
                assert isinstance(value, SymList)
                if _is_bounded(of):
                    if value.items is None:
                        raise Opaque(
                            f"a list of unknown elements is put where a {of} is wanted",
                            hint="declare max_length where the list comes from",
                        )
                    cut = value.items[: max_length or 0]
                    shaped = tuple(self._shape(v, item) for v in cut)
                    return self._padded(SymList(value.length, shaped), item, max_length or 0)
                if value.code is None:
                    raise Opaque(
                        f"a bounded list is put where a {of} is wanted", hint="declare max_length there too"
                    )
                return value if value.items is None else SymList(value.length, None, value.code)
            case OptionalType(item):
                if isinstance(item, OptionalType):
                    return self._shape(value, item)
                assert isinstance(value, SymOptional)
                inner = self._shape(value.value, item)
                return value if inner is value.value else SymOptional(value.present, inner)
            case RecordType(_, fields):
                assert isinstance(value, tuple)
                parts = tuple(self._shape(v, f.type) for f, v in zip(fields, value, strict=True))
                return value if all(p is v for p, v in zip(parts, value, strict=True)) else parts
            case _:
                return value

    def _padded(self, value: SymList, item: Type, size: int) -> SymList:
        if value.items is None or len(value.items) >= size:
            return value
        default = _default(item, self.strings)
        return SymList(value.length, value.items + (default,) * (size - len(value.items)), value.code)

    # Membership in types ---------------------------------------------------------------------------------------

    def _inhabits(self, value: SymValue, of: Type, reading: Reading, out: list[z3.BoolRef]) -> None:
        match of:
            case IntType(lo, hi):
                _bound(value, None if lo is None else _int(lo), None if hi is None else _int(hi), out)
            case DecimalType(lo, hi, places):
                _bound(value, _optional_real(lo), _optional_real(hi), out)
                if places is not None:
                    out.append(z3.IsInt(value * _real(Fraction(10**places))))
                if reading == "prove":
                    self._few_digits(value, of, out)
            case FloatType(lo, hi):
                _bound(value, _optional_real(lo), _optional_real(hi), out)
            case StrType(max_length) if max_length is not None:
                self._short(value, max_length, reading, out)
            case EnumType(_, values):
                out.append(_any([value == _int(self._member(v, of)) for v in values]))
            case DateTimeType():
                # The year is read in the value's own time zone, which may be a day less a microsecond off UTC.
                slack = _ZONE if reading == "assume" else -_ZONE
                _bound(value, _int(_FIRST - slack), _int(_LAST + slack), out)
            case DurationType():
                _bound(value, _int(-_MAX_SPAN), _int(_MAX_SPAN), out)
            case OptionalType(item):
                if isinstance(item, OptionalType):
                    self._inhabits(value, item, reading, out)
                    return
                assert isinstance(value, SymOptional)
                inner = self.inhabits(value.value, item, reading=reading)
                out.append(self._guarded(value.present, inner, value.value, item))
            case ListType():
                assert isinstance(value, SymList)
                self._inhabits_list(value, of, reading, out)
            case RecordType(_, fields):
                assert isinstance(value, tuple)
                for f, part in zip(fields, value, strict=True):
                    self._inhabits(part, f.type, reading, out)
            case _:
                pass

    def _inhabits_list(self, value: SymList, of: ListType, reading: Reading, out: list[z3.BoolRef]) -> None:
        limit = None if of.max_length is None else _int(of.max_length)
        _bound(value.length, _int(0), limit, out)
        if value.items is not None:
            for i, item in enumerate(value.items):
                there = _int(i) < value.length
                out.append(self._guarded(there, self.inhabits(item, of.item, reading=reading), item, of.item))
            return
        assert value.code is not None
        known = [(_int(c), v) for (kind, v), c in self._codes.items() if kind == "list"]
        out.extend(z3.Implies(value.code == c, value.length == _int(len(v))) for c, v in known)
        if reading == "prove":
            out.append(_any([value.code == c for c, v in known if _belongs(v, of)]))
        else:
            out.append((value.length == _int(0)) == (value.code == _int(self._code("list", ()))))

    def _guarded(self, there: z3.BoolRef, inside: z3.BoolRef, value: SymValue, of: Type) -> z3.BoolRef:
        """``inside`` where something is there, canonical leaves where it is not."""
        defaults = flatten(_default(of, self.strings))
        absent = _all([leaf == d for leaf, d in zip(flatten(value), defaults, strict=True)])
        return z3.And(z3.Implies(there, inside), z3.Or(there, absent))

    def _short(self, value: z3.ExprRef, limit: int, reading: Reading, out: list[z3.BoolRef]) -> None:
        if self.strings == "theory":
            out.append(z3.Length(value) <= _int(limit))
            return
        if limit == 0:
            out.append(value == _int(self._code("str", "")))
            return
        known = [(_int(c), v) for (kind, v), c in self._codes.items() if kind == "str"]
        if reading == "prove":
            out.append(_any([value == c for c, v in known if len(v) <= limit]))
        else:
            out.extend(value != c for c, v in known if len(v) > limit)

    def _few_digits(self, value: z3.ExprRef, of: DecimalType, out: list[z3.BoolRef]) -> None:
        """A decimal carries at most 60 digits, so one that is computed must be shown to keep within them."""
        places = 30 if of.places is None else of.places
        if of.places is None:
            out.append(z3.IsInt(value * _real(Fraction(10**places))))
        if of.lo is None or of.hi is None or max(abs(of.lo), abs(of.hi)) >= 10 ** (60 - places):
            edge = Fraction(10 ** (60 - places) - 1)
            _bound(value, _real(-edge), _real(edge), out)

    def _representable(self, value: SymValue, of: Type, out: list[z3.BoolRef]) -> None:
        self._inhabits(value, of, "assume", out)
        for leaf, kind in _scalars(value, of):
            match kind:
                case DecimalType():
                    places = 9 if kind.places is None else kind.places
                    if kind.places is None:
                        out.append(z3.IsInt(leaf * _real(Fraction(10**places))))
                    edge = Fraction(10 ** (50 - min(places, 40)))
                    _bound(leaf, _real(-edge), _real(edge), out)
                case FloatType():
                    out.append(z3.IsInt(leaf * _real(Fraction(2**10))))
                    _bound(leaf, _real(Fraction(-(2**40))), _real(Fraction(2**40)), out)
                case StrType() if self.strings == "theory":
                    out.append(z3.InRe(leaf, no_surrogates()))
                case DateTimeType():
                    out.append(z3.Or(leaf == _int(0), z3.And(leaf >= _int(_FIRST), leaf <= _int(_LAST))))

    # Models ----------------------------------------------------------------------------------------------------

    def _concretize(self, model: z3.ModelRef, value: SymValue, of: Type) -> Value:
        match of:
            case UnitType():
                return ()
            case BoolType():
                return z3.is_true(model.eval(value, model_completion=True))
            case IntType():
                return _read_int(model, value)
            case DecimalType():
                return _decimal(_read_real(model, value))
            case FloatType():
                return _float(_read_real(model, value))
            case StrType(max_length):
                if self.strings == "theory":
                    return text_of(model.eval(value, model_completion=True))
                return self._read_text(_read_int(model, value), max_length)
            case EnumType(_, values):
                code = _read_int(model, value)
                for v in values:
                    if self._member(v, of) == code:
                        return v
                raise Unrepresentable(f"a model's value is none of {of}")
            case DateTimeType():
                return _datetime(_read_int(model, value))
            case DurationType():
                return _duration(_read_int(model, value))
            case OptionalType(item):
                if isinstance(item, OptionalType):
                    return self._concretize(model, value, item)
                assert isinstance(value, SymOptional)
                present = z3.is_true(model.eval(value.present, model_completion=True))
                return self._concretize(model, value.value, item) if present else None
            case ListType(item):
                assert isinstance(value, SymList)
                length = _read_int(model, value.length)
                if value.items is not None:
                    return tuple(self._concretize(model, v, item) for v in value.items[: max(length, 0)])
                return self._read_list(_read_int(model, value.code), length, item)
            case RecordType(_, fields):
                assert isinstance(value, tuple)
                return tuple(self._concretize(model, v, f.type) for f, v in zip(fields, value, strict=True))

    def _read_text(self, code: int, max_length: int | None) -> str:
        """The text of a code: its constant, or one of its own that is no constant, the same at every asking."""
        if 0 <= code < len(self._meanings):
            kind, meaning = self._meanings[code]
            if kind == "str":
                assert isinstance(meaning, str)
                return meaning
        if code not in self._others:
            taken = set(self._others.values())
            self._others[code] = next(
                t for t in short_texts() if t not in taken and ("str", t) not in self._codes
            )
        text = self._others[code]
        if max_length is not None and len(text) > max_length:
            raise Unrepresentable(
                f"no text of at most {max_length} characters is left that is none of the constants"
            )
        return text

    def _read_list(self, code: int, length: int, item: Type) -> Value:
        if 0 <= code < len(self._meanings):
            kind, meaning = self._meanings[code]
            if kind == "list" and len(meaning) == length:
                return meaning
        if not 0 <= length <= _MAX_PLAIN:
            raise Unrepresentable(f"a model's list has {length} elements")
        return (plainest(item),) * length


def flatten(value: SymValue) -> list[z3.ExprRef]:
    """The leaves of a value in a fixed order."""
    out: list[z3.ExprRef] = []
    _flatten(value, out)
    return out


_MAX_ITEMS = 8
_MAX_LEAVES = 64
_MAX_PLAIN = 10_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = microseconds(datetime(1900, 1, 1, tzinfo=UTC) - _EPOCH)
_LAST = microseconds(datetime(3000, 1, 1, tzinfo=UTC) - _EPOCH) - 1
_ZONE = 86_400_000_000 - 1
_MAX_SPAN = microseconds(timedelta(days=400_000))
_ORDER: dict[str, Callable[[Any, Any], Any]] = {"<": lt, "<=": le, ">": gt, ">=": ge}
_COMPUTE: dict[str, Callable[[Any, Any], Any]] = {"+": add, "-": sub, "*": mul}


def _flatten(value: SymValue, out: list[z3.ExprRef]) -> None:
    match value:
        case tuple():
            for part in value:
                _flatten(part, out)
        case SymOptional(present, inner):
            out.append(present)
            _flatten(inner, out)
        case SymList(length, items, code):
            out.append(length)
            if items is None:
                out.append(code)
            else:
                for item in items:
                    _flatten(item, out)
        case _:
            out.append(value)


def _take(of: Type, leaves: Iterator[z3.ExprRef]) -> SymValue:
    match of:
        case UnitType():
            return ()
        case OptionalType(item):
            if isinstance(item, OptionalType):
                return _take(item, leaves)
            return SymOptional(next(leaves), _take(item, leaves))
        case ListType(item, max_length):
            length = next(leaves)
            if not _is_bounded(of):
                return SymList(length, None, next(leaves))
            return SymList(length, tuple(_take(item, leaves) for _ in range(max_length or 0)))
        case RecordType(_, fields):
            return tuple(_take(f.type, leaves) for f in fields)
        case _:
            return next(leaves)


@lru_cache(maxsize=1024)
def _sorts(of: Type, strings: Strings) -> tuple[z3.SortRef, ...]:
    match of:
        case UnitType():
            return ()
        case OptionalType(item):
            inner = _sorts(item, strings)
            return inner if isinstance(item, OptionalType) else (z3.BoolSort(), *inner)
        case ListType(item, max_length):
            if not _is_bounded(of):
                return (z3.IntSort(), z3.IntSort())
            return (z3.IntSort(), *(_sorts(item, strings) * (max_length or 0)))
        case RecordType(_, fields):
            return tuple(s for f in fields for s in _sorts(f.type, strings))
        case _:
            return (_scalar_sort(of, strings),)


def _scalar_sort(of: Type, strings: Strings) -> z3.SortRef:
    match of:
        case BoolType():
            return z3.BoolSort()
        case DecimalType() | FloatType():
            return z3.RealSort()
        case StrType() if strings == "theory":
            return z3.StringSort()
        case _:
            return z3.IntSort()


@lru_cache(maxsize=1024)
def _default(of: Type, strings: Strings) -> SymValue:
    """The canonical leaves of what is not there."""
    defaults = {z3.Z3_BOOL_SORT: FALSE, z3.Z3_INT_SORT: _int(0), z3.Z3_REAL_SORT: _real(Fraction(0))}
    leaves = [defaults.get(s.kind(), _EMPTY) for s in _sorts(of, strings)]
    return _take(of, iter(leaves))


@lru_cache(maxsize=1024)
def _is_bounded(of: ListType) -> bool:
    """Whether the elements of a list have leaves of their own."""
    if of.max_length is None or of.max_length > _MAX_ITEMS:
        return False
    return of.max_length * len(_sorts(of.item, "identity")) <= _MAX_LEAVES


def _strip(of: OptionalType) -> OptionalType:
    """An optional of an optional is an optional: there is only one null."""
    while isinstance(of.item, OptionalType):
        of = of.item
    return of


def _joined(a: Type, b: Type) -> Type:
    joined = join(a, b)
    assert joined is not None, f"{a} and {b} do not meet"
    return joined


def _is_text_enum(of: Type) -> bool:
    return isinstance(of, EnumType) and all(isinstance(v, str) for v in of.values)


def _is_int_enum(of: EnumType) -> bool:
    return all(isinstance(v, int) for v in of.values)


def _belongs(value: Value, of: Type) -> bool:
    try:
        check(value, of)
    except TypeMismatch:
        return False
    return True


def _scalars(value: SymValue, of: Type) -> Iterator[tuple[z3.ExprRef, Type]]:
    """The leaves of scalar types with their types."""
    match of:
        case OptionalType(item):
            if isinstance(value, SymOptional):
                value = value.value
            yield from _scalars(value, _strip(of).item if isinstance(item, OptionalType) else item)
        case ListType(item):
            assert isinstance(value, SymList)
            for part in value.items or ():
                yield from _scalars(part, item)
        case RecordType(_, fields):
            assert isinstance(value, tuple)
            for f, part in zip(fields, value, strict=True):
                yield from _scalars(part, f.type)
        case UnitType():
            pass
        case _:
            yield value, of


def _walk(expr: Expr, scope: Mapping[str, Type] | None) -> Iterator[tuple[Expr, Mapping[str, Type] | None]]:
    """The parts of an expression, each with the types of the variables there."""
    yield expr, scope
    if isinstance(expr, Each) and scope is not None:
        items = type_of(expr.of, scope)
        yield from _walk(expr.of, scope)
        yield from _walk(expr.body, {**scope, expr.var: items.item} if isinstance(items, ListType) else None)
        return
    for part in children(expr):
        yield from _walk(part, scope)


def _texts(value: Value) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from _texts(part)


# Terms: constants are shared, and what is trivially true or false is not built ----------------------------------


@lru_cache(maxsize=4096)
def _int(value: int) -> z3.IntNumRef:
    return z3.IntVal(int(value))


@lru_cache(maxsize=4096)
def _real(value: Fraction) -> z3.RatNumRef:
    return z3.RealVal(f"{value.numerator}/{value.denominator}")


_EMPTY = z3.StringVal("")


def _optional_real(value: Decimal | float | None) -> z3.RatNumRef | None:
    return None if value is None else _real(Fraction(value))


def _not(of: z3.BoolRef) -> z3.BoolRef:
    return FALSE if of is TRUE else TRUE if of is FALSE else z3.Not(of)


def _all(parts: Sequence[z3.BoolRef]) -> z3.BoolRef:
    parts = [p for p in parts if p is not TRUE]
    if any(p is FALSE for p in parts):
        return FALSE
    return TRUE if not parts else parts[0] if len(parts) == 1 else z3.And(*parts)


def _any(parts: Sequence[z3.BoolRef]) -> z3.BoolRef:
    parts = [p for p in parts if p is not FALSE]
    if any(p is TRUE for p in parts):
        return TRUE
    return FALSE if not parts else parts[0] if len(parts) == 1 else z3.Or(*parts)


def _bound(value: z3.ExprRef, lo: z3.ExprRef | None, hi: z3.ExprRef | None, out: list[z3.BoolRef]) -> None:
    if lo is not None:
        out.append(value >= lo)
    if hi is not None:
        out.append(value <= hi)


def _equal(a: SymValue, b: SymValue) -> z3.BoolRef:
    if a is b:
        return TRUE
    match a, b:
        case tuple(), tuple():
            return _all([_equal(x, y) for x, y in zip(a, b, strict=True)])
        case SymOptional(p, x), SymOptional(q, y):
            if p is FALSE or q is FALSE:
                return _not(q if p is FALSE else p)
            same = _equal(x, y)
            if p is TRUE or q is TRUE:
                return _all([q if p is TRUE else p, same])
            return z3.And(p == q, z3.Implies(p, same))
        case SymList(n, xs, c), SymList(m, ys, d):
            if c is not None and d is not None:
                return _all([_equal(n, m), _equal(c, d)])
            if xs is None or ys is None:
                raise Opaque(
                    "a list of known elements is compared with one of unknown elements",
                    hint=f"give both lists a max_length of at most {_MAX_ITEMS}",
                )
            pairs = enumerate(zip(xs, ys, strict=False))
            items = [z3.Implies(_int(i) < n, _equal(x, y)) for i, (x, y) in pairs]
            return _all([_equal(n, m), *items])
        case _:
            return a == b


def _ite(condition: z3.BoolRef, a: SymValue, b: SymValue) -> SymValue:
    if a is b or condition is TRUE:
        return a
    if condition is FALSE:
        return b
    match a, b:
        case tuple(), tuple():
            return tuple(_ite(condition, x, y) for x, y in zip(a, b, strict=True))
        case SymOptional(p, x), SymOptional(q, y):
            return SymOptional(_ite(condition, p, q), _ite(condition, x, y))
        case SymList(n, xs, c), SymList(m, ys, d):
            code = None if c is None or d is None else _ite(condition, c, d)
            items = None
            if xs is not None and ys is not None and len(xs) == len(ys):
                items = tuple(_ite(condition, x, y) for x, y in zip(xs, ys, strict=True))
            if code is None and items is None:
                raise Opaque(
                    "one branch is a list of known elements, the other one of unknown elements",
                    hint=f"give both lists a max_length of at most {_MAX_ITEMS}",
                )
            return SymList(_ite(condition, n, m), items, code)
        case _:
            return z3.If(condition, a, b)


# Values of models ---------------------------------------------------------------------------------------------


def _read_int(model: z3.ModelRef, value: SymValue) -> int:
    return int(model.eval(value, model_completion=True).as_long())


def _read_real(model: z3.ModelRef, value: SymValue) -> Fraction:
    found = model.eval(value, model_completion=True)
    if not z3.is_rational_value(found):
        raise Unrepresentable(f"a model's number is irrational: {shorten(found)}")
    return Fraction(found.numerator_as_long(), found.denominator_as_long())


def _decimal(value: Fraction) -> Decimal:
    places, rest = 0, value.denominator
    for prime in (2, 5):
        power = 0
        while rest % prime == 0:
            rest, power = rest // prime, power + 1
        places = max(places, power)
    if rest != 1:
        raise Unrepresentable(f"{value} has no finite decimal form")
    coefficient = value.numerator * (10**places // value.denominator)
    digits = tuple(int(d) for d in str(abs(coefficient)))
    return Decimal((int(coefficient < 0), digits, -places))


def _float(value: Fraction) -> float:
    try:
        found = value.numerator / value.denominator
    except OverflowError:
        found = float("inf")
    if Fraction(found) != value if found not in (float("inf"), float("-inf")) else True:
        raise Unrepresentable(f"{value} is no binary float")
    return found


def _datetime(value: int) -> datetime:
    try:
        found = _EPOCH + timedelta(microseconds=value)
        if value < _FIRST:
            return found.astimezone(timezone(timedelta(microseconds=_ZONE)))
        return found.astimezone(timezone(-timedelta(microseconds=_ZONE))) if value > _LAST else found
    except OverflowError:
        raise Unrepresentable(f"{value} microseconds from 1970 leave the calendar") from None


def _duration(value: int) -> timedelta:
    try:
        return timedelta(microseconds=value)
    except OverflowError:
        raise Unrepresentable(f"{value} microseconds are too long a duration") from None

"""The meaning of types and expressions in Z3.

An ``Encoding`` turns token types into bundles of solver terms (see ``provenet.verify.smt_values``) and
expressions into terms over them. Strings that are only compared, and lists too long to unfold, are codes:
constants have the codes 0, 1, 2, ...; every other value of a run has some other integer, equal where the
values are. So a formula has a model wherever there is a run. A model need not have a run (a list's code says
nothing of its elements), which is why traces are replayed. What has no encoding raises ``Opaque``: nothing is
ever guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import add, mul, sub
from typing import Any

import z3

from provenet.nets.errors import TypeMismatch
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
)
from provenet.verify.smt_membership import Membership, Reading
from provenet.verify.smt_models import (
    EPOCH,
    SHORT,
    Codes,
    Unrepresentable,
    concretize,
    texts_of,
)
from provenet.verify.smt_queries import Queries
from provenet.verify.smt_text import Opaque, literal, matcher, text_of
from provenet.verify.smt_values import (
    FALSE,
    MAX_ITEMS,
    TRUE,
    Strings,
    SymList,
    SymOptional,
    SymValue,
    absent,
    all_of,
    any_of,
    at_most,
    equal,
    flatten,
    implies,
    integer,
    is_bounded,
    ite,
    leaf_sorts,
    less,
    negation,
    real,
    same,
    scalar_sort,
    strip,
    take,
)

__all__ = ["Encoding", "Opaque", "SymList", "SymOptional", "SymValue", "Unrepresentable", "flatten"]


@dataclass(slots=True)
class Encoding:
    """One way to write types and expressions in Z3; a query uses the same one throughout.

    Attributes:
        strings: ``identity`` where strings are only compared for equality (quick), ``theory`` for the rest.
    """

    strings: Strings = "identity"
    _codes: Codes = field(default_factory=Codes, repr=False)
    _fresh: dict[str, tuple[Type, SymValue]] = field(default_factory=dict, repr=False, compare=False)
    _checked: dict[int, tuple[Expr, Mapping[str, Type]]] = field(
        default_factory=dict, repr=False, compare=False
    )
    """What was found to type-check, by identity: the net's own expressions are encoded over and over."""
    _queries: Queries | None = field(default=None, repr=False, compare=False)

    @classmethod
    def for_exprs(cls, exprs: Iterable[Expr | tuple[Expr, Mapping[str, Type]]]) -> Encoding:
        """The quickest encoding in which all of the expressions can be written.

        Args:
            exprs: Expressions, each with the types of its variables where they are at hand; without them
                the length of anything counts as the length of a string.
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
            encoding._codes.of("str", text)
        return encoding

    # Types

    def sorts(self, of: Type) -> list[z3.SortRef]:
        """The sorts of a type's leaves, in the order of ``flatten``."""
        return list(leaf_sorts(of, self.strings))

    def fresh(self, name: str, of: Type) -> SymValue:
        """The constants for a value of a type, named ``name.field``, ``name[0]`` and so on.

        A name and a sort make a constant: asked twice, the same ones come back.
        """
        found = self._fresh.get(name)
        if found is None or found[0] is not of:
            found = self._fresh[name] = (of, self._new(name, of))
        return found[1]

    def _new(self, name: str, of: Type) -> SymValue:
        match of:
            case OptionalType(item):
                if isinstance(item, OptionalType):
                    return self._new(name, item)
                return SymOptional(z3.Bool(f"{name}.present"), self._new(f"{name}.value", item))
            case ListType(item, max_length):
                length = z3.Int(f"{name}.length")
                if not is_bounded(of):
                    return SymList(length, None, z3.Int(f"{name}.code"))
                return SymList(length, tuple(self._new(f"{name}[{i}]", item) for i in range(max_length or 0)))
            case RecordType(_, fields):
                return tuple(self._new(f"{name}.{f.name}", f.type) for f in fields)
            case UnitType():
                return ()
            case _:
                return z3.Const(name, scalar_sort(of, self.strings))

    def unflatten(self, of: Type, leaves: Sequence[z3.ExprRef]) -> SymValue:
        """The value of a type with these leaves; the inverse of ``flatten``."""
        rest = iter(leaves)
        value = take(of, rest)
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

        What a code hides (the length of a string, the elements of a long list) cannot be said. There
        ``assume`` says too little: it holds of every value of the type, and perhaps of others. ``prove`` says
        too much: whatever it holds of belongs to the type.

        Args:
            value: A symbolic value of the type's structure.
            of: The type.
            reading: ``assume`` for what tokens are known to be, ``prove`` for what they are shown to be.
        """
        return Membership(self.strings, self._codes).holds(value, of, reading)

    def representable(self, value: SymValue, of: Type) -> z3.BoolRef:
        """Stronger than ``inhabits``: what ``concretize`` can write down, for where a model is not."""
        return Membership(self.strings, self._codes).representable(value, of)

    # Queries

    def check(self, constraints: Sequence[z3.BoolRef], timeout_ms: int) -> z3.CheckSatResult:
        """Whether constraints hold together: ``sat``, ``unsat`` or ``unknown``.

        Args:
            constraints: What is to hold together.
            timeout_ms: Limit for the solver.
        """
        if self._queries is None:
            self._queries = Queries(self.strings)
        return self._queries.check(constraints, timeout_ms)

    # Values

    def equal(self, a: SymValue, b: SymValue) -> z3.BoolRef:
        """That two symbolic values of one type are equal.

        Raises:
            Opaque: The elements of one list and the identity of the other are known, so they do not compare.
        """
        return equal(a, b)

    def ite(self, condition: z3.BoolRef, a: SymValue, b: SymValue) -> SymValue:
        """``a`` where the condition holds, else ``b``; both of one type.

        Raises:
            Opaque: As in ``equal``.
        """
        return ite(condition, a, b)

    def flatten(self, value: SymValue) -> list[z3.ExprRef]:
        """The leaves of a value in a fixed order."""
        return flatten(value)

    def coerce(self, value: SymValue, given: Type, wanted: Type) -> SymValue:
        """A value of one type as a value of another that it may be put into or compared with.

        Raises:
            Opaque: There is no such term.
        """
        # What the type has no leaves for must not be lost inside an expression. Of a whole value it may be:
        # then the code -1, or the length, says that the value does not inhabit the type.
        if isinstance(given, StrType) and isinstance(wanted, EnumType) and not z3.is_string_value(value):
            return self._code_of(value, wanted)
        value = self._coerce(value, given, wanted)
        if isinstance(wanted, ListType) and isinstance(value, SymList) and is_bounded(wanted) and value.items:
            value = SymList(value.length, value.items[: wanted.max_length], value.code)
        return self._shape(value, wanted)

    def plain_texts(self, value: SymValue, of: Type) -> list[z3.BoolRef]:
        """For each text in a value: that it is no constant but a short one of its own, such as ``"a"``."""
        first = len(self._codes)
        return [
            z3.And(text >= first, text < first + SHORT)
            for text in (texts_of(value, of) if self.strings == "identity" else ())
        ]

    def concretize(self, model: z3.ModelRef, value: SymValue, of: Type) -> Value:
        """The token value that a model gives to a symbolic value.

        Raises:
            Unrepresentable: No token has it; ``representable`` says which values a token can have.
        """
        found = concretize(model, value, of, self.strings, self._codes)
        try:
            check(found, of)
        except TypeMismatch as e:
            raise Unrepresentable(f"a model's value does not belong to its type: {e}") from None
        return found

    # Expressions

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
        checked = self._checked.get(id(expr))
        if checked is None or checked[1] != scope:
            type_of(expr, scope)
            self._checked[id(expr)] = (expr, dict(scope))
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
        """The term and the type, in one pass; lists may still lack the shape of their type."""
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
                return negation(self._bool(of, env, scope)), BOOL
            case And(parts):
                return all_of([self._bool(p, env, scope) for p in parts]), BOOL
            case Or(parts):
                return any_of([self._bool(p, env, scope) for p in parts]), BOOL
            case Compare(op, left, right):
                return self._compare(op, left, right, env, scope), BOOL
            case Arith():
                return self._arith(expr, env, scope)
            case If(condition, then, otherwise):
                test = self._bool(condition, env, scope)
                return self._branch(test, self._encode(then, env, scope), self._encode(otherwise, env, scope))
            case OneOf(of, values):
                one = self._encode(of, env, scope)
                return any_of(
                    [self._same(one, (self._constant(v.value, v.type), widen(v.type)), v) for v in values]
                ), BOOL
            case IsNull(of):
                optional, _ = self._encode(of, env, scope)
                assert isinstance(optional, SymOptional)
                return negation(optional.present), BOOL
            case OrElse(of, default):
                optional, found = self._encode(of, env, scope)
                assert isinstance(optional, SymOptional)
                assert isinstance(found, OptionalType)
                inner = (optional.value, widen(strip(found).item))
                return self._branch(optional.present, inner, self._encode(default, env, scope))
            case Len(of):
                inside, _ = self._encode(of, env, scope)
                return inside.length if isinstance(inside, SymList) else z3.Length(self._text(inside)), INT
            case TextTest(op, of, text):
                whole, part = self._text(self._encode(of, env, scope)[0]), literal(text)
                if op == "starts_with":
                    return z3.PrefixOf(part, whole), BOOL
                if op == "ends_with":
                    return z3.SuffixOf(part, whole), BOOL
                return z3.Contains(whole, part), BOOL
            case Matches(of, pattern):
                return z3.InRe(self._text(self._encode(of, env, scope)[0]), matcher(pattern)), BOOL
            case Each():
                return self._each(expr, env, scope), BOOL
            case Build(of, parts):
                built = []
                for f, part in zip(of.fields, parts, strict=True):
                    built.append(self._shape(self._coerce(*self._encode(part, env, scope), f.type), f.type))
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
            alike = self._same(one, two, right)
            return alike if op == "==" else negation(alike)
        joined = _joined(one[1], two[1])
        ordered: z3.BoolRef = _ORDER[op](self._coerce(*one, joined), self._coerce(*two, joined))
        return ordered

    def _same(self, one: tuple[SymValue, Type], two: tuple[SymValue, Type], right: Expr) -> z3.BoolRef:
        """That two typed values are equal; enums compare by their codes, without becoming strings."""
        a, b = one[1], two[1]
        if _is_text_enum(a) and _is_text_enum(b):
            return equal(one[0], two[0])
        if _is_text_enum(a) and isinstance(b, StrType) and isinstance(right, Const):
            return equal(one[0], integer(self._codes.of("str", right.value)))
        joined = _joined(a, b)
        return equal(self._coerce(*one, joined), self._coerce(*two, joined))

    def _arith(
        self, expr: Arith, env: Mapping[str, SymValue], scope: Mapping[str, Type]
    ) -> tuple[SymValue, Type]:
        (one, a), (two, b) = self._encode(expr.left, env, scope), self._encode(expr.right, env, scope)
        assert isinstance(one, z3.ExprRef)
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
        return ite(test, a, b), joined

    def _each(self, expr: Each, env: Mapping[str, SymValue], scope: Mapping[str, Type]) -> z3.BoolRef:
        found, of = self._encode(expr.of, env, scope)
        assert isinstance(found, SymList)
        assert isinstance(of, ListType)
        if found.items is None:
            raise Opaque(
                f"the elements of a {of} are not known to the prover",
                hint=f"give the list a max_length of at most {MAX_ITEMS}",
            )
        inner = {**scope, expr.var: of.item}
        parts = []
        for i, item in enumerate(found.items):
            body, there = (
                self._bool(expr.body, {**env, expr.var: item}, inner),
                less(integer(i), found.length),
            )
            parts.append(implies(there, body) if expr.quantifier == "all" else all_of([there, body]))
        return all_of(parts) if expr.quantifier == "all" else any_of(parts)

    # Constants and coercions

    def _constant(self, value: Value, of: Type) -> SymValue:
        """A value as constants; a list keeps both its items and its code, whatever its type."""
        match of:
            case UnitType():
                return ()
            case BoolType():
                return TRUE if value else FALSE
            case IntType():
                return integer(value)
            case DecimalType() | FloatType():
                return real(value)
            case StrType():
                return literal(value) if self.strings == "theory" else integer(self._codes.of("str", value))
            case EnumType():
                return integer(self._codes.member(value, of))
            case DateTimeType():
                return integer(microseconds(value - EPOCH))
            case DurationType():
                return integer(microseconds(value))
            case OptionalType(item):
                if isinstance(item, OptionalType):
                    return self._constant(value, item)
                if value is None:
                    return SymOptional(FALSE, absent(item, self.strings))
                return SymOptional(TRUE, self.constant(value, item))
            case ListType(item):
                return SymList(
                    integer(len(value)),
                    tuple(self.constant(v, item) for v in value),
                    integer(self._codes.of("list", value)),
                )
            case RecordType(_, fields):
                return tuple(self.constant(v, f.type) for f, v in zip(fields, value, strict=True))

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
                    return SymOptional(FALSE, absent(strip(wanted).item, self.strings))
                item = self._coerce(value.value, strip(given).item, strip(wanted).item)
                return SymOptional(value.present, self._shape(item, strip(wanted).item))
            case _, OptionalType():
                item = strip(wanted).item
                return SymOptional(TRUE, self.coerce(value, given, item))
            case IntType(), DecimalType():
                return z3.ToReal(value)
            case EnumType(), StrType() if self.strings == "theory":
                return self._text_of_code(value, given)
            case StrType(), EnumType() if self.strings == "theory":
                if not z3.is_string_value(value):
                    raise Opaque(
                        f"a string is put where {wanted.name} is wanted, inside a larger value",
                        hint=f"declare the field that it comes from as {wanted.name}",
                    )
                return integer(self._codes.of("str", text_of(value)))
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

    def _text_of_code(self, value: SymValue, of: EnumType) -> z3.ExprRef:
        if isinstance(value, z3.IntNumRef):
            return literal(str(self._codes.meaning("str", value.as_long())))
        *others, found = [literal(str(text)) for text in of.values]
        for text, term in zip(of.values, others, strict=False):
            found = z3.If(same(value, integer(self._codes.of("str", text))), term, found)
        return found

    def _code_of(self, value: SymValue, of: EnumType) -> z3.ExprRef:
        if self.strings == "identity":
            return value
        found = integer(-1)
        for text in of.values:
            found = z3.If(same(value, literal(str(text))), integer(self._codes.of("str", text)), found)
        return found

    def _shape(self, value: SymValue, of: Type) -> SymValue:
        """The value with its lists, where they were literals or branches, in the shape of their types."""
        match of:
            case ListType(item, max_length):
                assert isinstance(value, SymList)
                if is_bounded(of):
                    if value.items is None:
                        raise Opaque(
                            f"a list of unknown elements is put where a {of} is wanted",
                            hint="declare max_length where the list comes from",
                        )
                    if len(value.items) > (max_length or 0):
                        raise Opaque(
                            f"a longer list is put where a {of} is wanted, inside a larger value",
                            hint="declare the same max_length for both",
                        )
                    shaped = tuple(self._shape(v, item) for v in value.items)
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
        default = absent(item, self.strings)
        return SymList(value.length, value.items + (default,) * (size - len(value.items)), value.code)


_ORDER: dict[str, Callable[[Any, Any], Any]] = {
    "<": less,
    "<=": at_most,
    ">": lambda a, b: less(b, a),
    ">=": lambda a, b: at_most(b, a),
}
_COMPUTE: dict[str, Callable[[Any, Any], Any]] = {"+": add, "-": sub, "*": mul}


def _joined(a: Type, b: Type) -> Type:
    joined = join(a, b)
    assert joined is not None, f"{a} and {b} do not meet"
    return joined


def _is_text_enum(of: Type) -> bool:
    return isinstance(of, EnumType) and all(isinstance(v, str) for v in of.values)


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

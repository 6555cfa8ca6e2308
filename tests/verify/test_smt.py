"""The encoding in Z3 against evaluation: the same value on constants, the same models both ways."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
import z3
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from provenet.nets.errors import ExprError, TypeMismatch
from provenet.nets.expr.ast import (
    Arith,
    Build,
    Compare,
    Const,
    Each,
    Expr,
    Get,
    If,
    Len,
    Matches,
    OneOf,
    TextTest,
    Var,
    free_variables,
)
from provenet.nets.expr.evaluate import evaluate
from provenet.nets.expr.parse import parse
from provenet.nets.expr.regex import full_match
from provenet.nets.expr.typing import type_of
from provenet.nets.schema import (
    BOOL,
    DATETIME,
    DURATION,
    INT,
    STR,
    DecimalType,
    EnumType,
    Field,
    FloatType,
    IntType,
    ListType,
    OptionalType,
    RecordType,
    StrType,
    Type,
    Value,
    check,
)
from provenet.verify.smt import Encoding, Opaque, SymList, SymValue, Unrepresentable, flatten
from provenet.verify.smt_text import literal, matcher, text_of
from tests.nets import strategies
from tests.nets.strategies import (
    DECIMAL,
    LEVEL,
    LINE,
    ORDER,
    PATTERNS,
    SCOPE,
    TIER,
    environments,
    types,
    values,
)

RESULTS: tuple[Type, ...] = (BOOL, INT, DECIMAL, STR, TIER, DATETIME, DURATION, OptionalType(INT), LINE)


def expressions(of: Type) -> st.SearchStrategy[Expr]:
    """Any well-typed tree, also one that the normal form would write otherwise."""
    return strategies._any(of, SCOPE, 3)


ENCODINGS = st.sampled_from(("identity", "theory"))


def solver(*formulas: z3.BoolRef) -> z3.Solver:
    s = z3.Solver()
    s.set("random_seed", 0)
    s.set("timeout", 10_000)
    s.add(*formulas)
    return s


def valid(formula: z3.BoolRef) -> bool:
    return bool(solver(z3.Not(formula)).check() == z3.unsat)


def constants(encoding: Encoding, env: Mapping[str, Value], scope: Mapping[str, Type]) -> dict[str, SymValue]:
    return {name: encoding.constant(env[name], of) for name, of in scope.items()}


def value_of(expr: Expr, env: Mapping[str, Value]) -> Value:
    try:
        return evaluate(expr, env, SCOPE)
    except ExprError:  # a date left the calendar: there is no value to agree on
        assume(False)


def is_text(expr: Expr) -> bool:
    return Encoding.for_exprs([(expr, SCOPE)]).strings == "theory"


@given(st.sampled_from(RESULTS).flatmap(lambda t: st.tuples(st.just(t), expressions(t))), environments())
def test_an_expression_over_constants_has_the_value_that_evaluation_gives(
    typed: tuple[Type, Expr], env: dict[str, Value]
) -> None:
    _, expr = typed
    expected = value_of(expr, env)
    encoding = Encoding.for_exprs([(expr, SCOPE)])
    of = type_of(expr, SCOPE)
    term = encoding.encode(expr, constants(encoding, env, SCOPE), SCOPE)
    assert valid(encoding.equal(term, encoding.constant(expected, of)))


@given(expressions(BOOL), environments(), ENCODINGS)
def test_a_condition_over_variables_pinned_to_values_agrees_in_both_encodings(
    expr: Expr, env: dict[str, Value], strings: Any
) -> None:
    assume(strings == "theory" or not is_text(expr))
    expected = value_of(expr, env)
    encoding = Encoding(strings)
    fresh = {name: encoding.fresh(name, of) for name, of in SCOPE.items()}
    pinned = [
        encoding.equal(fresh[name], encoding.constant(env[name], SCOPE[name]))
        for name in free_variables(expr)
    ]
    formula = encoding.encode_bool(expr, fresh, SCOPE)
    assert solver(*pinned, formula).check() == (z3.sat if expected else z3.unsat)
    assert solver(*pinned, z3.Not(formula)).check() == (z3.unsat if expected else z3.sat)


@settings(deadline=None)
@given(expressions(BOOL), ENCODINGS)
def test_a_model_of_a_condition_is_an_environment_in_which_it_holds(expr: Expr, strings: Any) -> None:
    assume(strings == "theory" or not is_text(expr))
    encoding = Encoding(strings)
    names = sorted(free_variables(expr))
    fresh = {name: encoding.fresh(name, SCOPE[name]) for name in names}
    s = solver(encoding.encode_bool(expr, fresh, SCOPE))
    s.add(*(encoding.inhabits(fresh[name], SCOPE[name]) for name in names))
    s.add(*(encoding.representable(fresh[name], SCOPE[name]) for name in names))
    assume(s.check() == z3.sat)
    model = s.model()
    env = {name: encoding.concretize(model, fresh[name], SCOPE[name]) for name in names}
    for name in names:
        check(env[name], SCOPE[name])
    assert value_of(expr, env) is True


@given(types().flatmap(lambda t: st.tuples(st.just(t), values(t))), ENCODINGS)
def test_a_value_inhabits_its_type_and_comes_back_from_a_model(
    typed: tuple[Type, Value], strings: Any
) -> None:
    of, value = typed
    encoding = Encoding(strings)
    term = encoding.constant(value, of)
    assert [leaf.sort() for leaf in flatten(term)] == encoding.sorts(of)
    assert flatten(encoding.unflatten(of, flatten(term))) == flatten(term)
    fresh = encoding.fresh("x", of)
    assert [leaf.sort() for leaf in flatten(fresh)] == encoding.sorts(of)
    s = solver(
        encoding.inhabits(fresh, of), *(a == b for a, b in zip(flatten(fresh), flatten(term), strict=True))
    )
    assert s.check() == z3.sat
    assert encoding.concretize(s.model(), fresh, of) == value


@given(types().flatmap(lambda t: st.tuples(st.just(t), values(t), values(t))), ENCODINGS)
def test_equality_and_branches_are_those_of_values(typed: tuple[Type, Value, Value], strings: Any) -> None:
    of, a, b = typed
    encoding = Encoding(strings)
    one, two = encoding.constant(a, of), encoding.constant(b, of)
    assert valid(encoding.equal(one, two) == z3.BoolVal(a == b))
    which = z3.Bool("which")
    either = encoding.ite(which, one, two)
    assert valid(z3.Implies(which, encoding.equal(either, one)))
    assert valid(z3.Implies(z3.Not(which), encoding.equal(either, two)))


BOUNDED: list[tuple[Type, Type]] = [
    (IntType(), IntType(-2, 3)),
    (DECIMAL, DecimalType(Decimal("-0.5"), Decimal("7.25"), 1)),
    (FloatType(), FloatType(-1.0, 0.5)),
    (STR, StrType(2)),
    (STR, StrType(0)),
    (STR, TIER),
    (INT, LEVEL),
    (OptionalType(INT), OptionalType(IntType(0, 4))),
    (ListType(INT, 3), ListType(IntType(-5, 5), 2)),
    (ListType(INT), ListType(IntType(-5, 5))),
    (ListType(INT), ListType(INT, 20)),
]


@given(st.sampled_from(BOUNDED).flatmap(lambda p: st.tuples(st.just(p), values(p[0]))), ENCODINGS)
def test_membership_is_assumed_of_members_and_proved_of_members_only(
    case: tuple[tuple[Type, Type], Value], strings: Any
) -> None:
    (wide, narrow), value = case
    try:
        check(value, narrow)
        belongs = True
    except TypeMismatch:
        belongs = False
    encoding = Encoding(strings)
    term = encoding.coerce(encoding.constant(value, wide), wide, narrow)
    assumed, proved = encoding.inhabits(term, narrow), encoding.inhabits(term, narrow, reading="prove")
    if belongs:
        assert valid(assumed)
    assert not valid(proved) or belongs
    if not isinstance(narrow, ListType) or narrow.max_length == 2:
        assert valid(assumed) == belongs
        assert valid(proved) == belongs


@given(st.sampled_from((*PATTERNS, "a{0}b{0,2}", "(a|)b", r"[^\w]+", "a{2,}", r"\.|\\")), values(STR))
@example(pattern=".", text="\U00020000")
@example(pattern=".", text="\n")
def test_patterns_match_as_the_automaton_does(pattern: str, text: str) -> None:
    assert valid(z3.InRe(literal(text), matcher(pattern)) == z3.BoolVal(full_match(pattern, text)))


@given(st.sampled_from(PATTERNS))
def test_the_solver_finds_texts_that_match(pattern: str) -> None:
    x = z3.String("x")
    s = solver(z3.InRe(x, matcher(pattern)))
    assert s.check() == z3.sat
    assert full_match(pattern, text_of(s.model().eval(x, model_completion=True)))


@given(st.text(st.characters(max_codepoint=0x2FFFF, exclude_categories=["Cs"]), max_size=5))
@example("\\u{41}")
@example("\\u0041")
@example("\\")
@example("é\x00\x7f\U0002ffff")
def test_texts_go_to_the_solver_and_back(text: str) -> None:
    assert text_of(literal(text)) == text
    assert valid(z3.Length(literal(text)) == len(text))


@given(st.integers(-(10**6), 10**6), st.integers(1, 50))
def test_division_rounds_as_in_python(n: int, d: int) -> None:
    encoding = Encoding()
    env: dict[str, SymValue] = {"n": z3.Int("n")}
    floor = encoding.encode(Arith("//", Var("n"), Const(d, INT)), env, {"n": INT})
    rest = encoding.encode(Arith("%", Var("n"), Const(d, INT)), env, {"n": INT})
    assert valid(z3.Implies(z3.Int("n") == n, z3.And(floor == n // d, rest == n % d)))


def test_bounds_of_dates_are_those_of_the_schema() -> None:
    encoding = Encoding()
    for moment, belongs in (
        (datetime(1900, 1, 1, tzinfo=UTC), True),
        (datetime(1900, 1, 1, tzinfo=UTC) - timedelta(microseconds=1), False),
        (datetime(3000, 1, 1, tzinfo=UTC) - timedelta(microseconds=1), True),
        (datetime(3000, 1, 1, tzinfo=UTC), False),
    ):
        assert valid(encoding.inhabits(encoding.constant(moment, DATETIME), DATETIME)) is belongs


def test_a_computed_decimal_is_not_proved_where_its_digits_may_run_over() -> None:
    encoding = Encoding()
    x = encoding.fresh("x", DECIMAL)
    big = encoding.constant(Decimal("1E+60"), DECIMAL)
    assert not valid(z3.Implies(x == big, encoding.inhabits(x, DECIMAL, reading="prove")))
    assert valid(z3.Implies(x == 7, encoding.inhabits(x, DECIMAL, reading="prove")))


def test_a_model_without_a_token_says_so_and_a_representable_one_is_found() -> None:
    encoding = Encoding()
    x = z3.Real("x")
    s = solver(encoding.inhabits(x, DECIMAL), 3 * x == 1)
    assert s.check() == z3.sat
    with pytest.raises(Unrepresentable, match="1/3"):
        encoding.concretize(s.model(), x, DECIMAL)
    s = solver(encoding.representable(x, DECIMAL), 3 * x > 1, 3 * x < Fraction(101, 100))
    assert s.check() == z3.sat
    assert Decimal(1) / 3 < encoding.concretize(s.model(), x, DECIMAL) < Decimal("0.34")


def test_codes_of_no_constant_become_different_texts_that_are_no_constants() -> None:
    encoding = Encoding()
    of = StrType(1)
    known = [encoding.constant(c, of) for c in "abcxyz"]
    fresh = [encoding.fresh(f"s{i}", of) for i in range(4)]
    s = solver(z3.Distinct(*known, *fresh), *(encoding.representable(f, of) for f in fresh))
    assert s.check() == z3.sat
    with_quotes = StrType(9)
    found = [encoding.concretize(s.model(), f, with_quotes) for f in fresh]
    assert len({*found, *"abcxyz"}) == 10


ORDER_SCOPE: Mapping[str, Type] = {"o": ORDER, "s": STR}


def test_the_quick_encoding_is_chosen_where_strings_are_only_compared() -> None:
    plain = parse('o.name == s and o.tier == "gold" and len(o.codes) > 1', ORDER_SCOPE)
    assert Encoding.for_exprs([(plain, ORDER_SCOPE)]).strings == "identity"
    for text in ("len(o.name) > 1", 'o.name.starts_with("a")'):
        looks = _parse_or_build(text)
        assert Encoding.for_exprs([(looks, ORDER_SCOPE)]).strings == "theory"
        encoding = Encoding()
        fresh = {name: encoding.fresh(name, of) for name, of in ORDER_SCOPE.items()}
        with pytest.raises(Opaque, match="only compares"):
            encoding.encode_bool(looks, fresh, ORDER_SCOPE)


def _parse_or_build(text: str) -> Expr:
    name = Get(Var("o"), "name")
    return (
        Compare(">", Len(name), Const(1, INT))
        if text.startswith("len")
        else TextTest("starts_with", name, "a")
    )


def test_what_is_opaque_says_so() -> None:
    encoding = Encoding("theory")
    scope: dict[str, Type] = {"long": ListType(INT), "short": ListType(INT, 2), "c": BOOL, "s": STR}
    env = {name: encoding.fresh(name, of) for name, of in scope.items()}
    one = Compare("==", Var("i"), Const(1, INT))
    opaque: list[Expr] = [
        Each("any", Var("long"), "i", one),
        Compare("==", Var("long"), Var("short")),
        Len(If(Var("c"), Var("long"), Var("short"))),
        Get(Build(RecordType("R", (Field("e", TIER),)), (Var("s"),)), "e"),
        Build(RecordType("R", (Field("xs", ListType(INT)),)), (Var("short"),)),
        Build(RecordType("R", (Field("xs", ListType(INT, 1)),)), (Var("short"),)),
        Compare("==", Var("s"), Const("\U00030000", STR)),
    ]
    for expr in opaque:
        with pytest.raises(Opaque):
            encoding.encode(expr, env, scope)
    assert valid(encoding.encode_bool(Compare(">=", Len(Var("long")), Len(Var("long"))), env, scope))


def test_long_lists_are_known_by_length_and_identity() -> None:
    encoding = Encoding()
    of = ListType(INT)
    scope: dict[str, Type] = {"a": of, "b": of}
    env = {name: encoding.fresh(name, of) for name in scope}
    there = [encoding.inhabits(env[name], of) for name in scope]
    same = encoding.encode_bool(Compare("==", Var("a"), Var("b")), env, scope)
    one_two = encoding.encode_bool(Compare("==", Var("a"), Const((1, 2), of)), env, scope)
    empty = encoding.encode_bool(Compare("==", Var("a"), Const((), of)), env, scope)
    a = env["a"]
    assert isinstance(a, SymList)
    assert solver(*there, same, one_two, empty).check() == z3.unsat
    assert solver(*there, empty, a.length > 0).check() == z3.unsat
    s = solver(*there, same, one_two)
    assert s.check() == z3.sat
    assert [encoding.concretize(s.model(), env[name], of) for name in scope] == [(1, 2), (1, 2)]


def test_names_are_told_apart_by_place_and_repeat() -> None:
    encoding = Encoding()
    leaves = [str(leaf) for leaf in flatten(encoding.fresh("o", ORDER))]
    assert leaves == [str(leaf) for leaf in flatten(encoding.fresh("o", ORDER))]
    assert len(set(leaves)) == len(leaves)
    assert {"o.paid", "o.limit.present", "o.codes.length", "o.lines[1].sku"} <= set(leaves)


def test_enums_compare_by_value_with_strings_in_both_encodings() -> None:
    other = EnumType("Other", ("new", "gold", "x"))
    scope: dict[str, Type] = {"e": TIER, "f": other, "s": STR}
    transitive = [Compare("==", Var("e"), Var("s")), Compare("==", Var("s"), Var("f"))]
    for encoding in (Encoding("identity"), Encoding("theory")):
        env = {name: encoding.fresh(name, of) for name, of in scope.items()}
        s = solver(*(encoding.inhabits(env[n], of) for n, of in scope.items()))
        s.add(*(encoding.encode_bool(e, env, scope) for e in transitive))
        assert s.check() == z3.sat
        s.add(z3.Not(encoding.encode_bool(Compare("==", Var("e"), Var("f")), env, scope)))
        assert s.check() == z3.unsat
        silver = encoding.encode_bool(OneOf(Var("f"), (Const("silver", STR),)), env, scope)
        assert solver(encoding.inhabits(env["f"], other), silver).check() == z3.unsat
        assert solver(encoding.inhabits(env["f"], other)).check() == z3.sat


def test_a_string_put_where_an_enum_is_wanted_inhabits_it_only_as_a_member() -> None:
    for encoding in (Encoding("identity"), Encoding("theory")):
        s = encoding.fresh("s", STR)
        put = encoding.encode(Var("s"), {"s": s}, {"s": STR}, TIER)
        member = encoding.encode_bool(
            OneOf(Var("s"), tuple(Const(v, STR) for v in TIER.values)), {"s": s}, {"s": STR}
        )
        assert valid(encoding.inhabits(put, TIER, reading="prove") == member)


def test_patterns_and_each_stay_quick() -> None:
    encoding = Encoding("theory")
    scope: dict[str, Type] = {"s": STR, "xs": ListType(INT, 8)}
    env = {name: encoding.fresh(name, of) for name, of in scope.items()}
    long = Matches(Var("s"), "[A-Z]{2}[0-9]{2}([A-Z0-9]{4}){1,7}")
    rising = Each("all", Var("xs"), "x", Compare(">", Var("x"), Const(3, INT)))
    low = Each("any", Var("xs"), "x", Compare("<", Var("x"), Const(2, INT)))
    there = [encoding.inhabits(env[name], of) for name, of in scope.items()]
    s = solver(*there, encoding.encode_bool(long, env, scope))
    assert s.check() == z3.sat
    assert re.fullmatch("[A-Z]{2}[0-9]{2}([A-Z0-9]{4}){1,7}", encoding.concretize(s.model(), env["s"], STR))
    both = [encoding.encode_bool(e, env, scope) for e in (rising, low)]
    assert solver(*there, *both).check() == z3.unsat

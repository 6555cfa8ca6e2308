"""Expressions: evaluation against a second interpreter, and the round trip through text."""

# ruff: noqa: PT017 - whether an error comes is what the drawn input decides

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from provenet.nets.errors import ExprError
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
    free_variables,
    substitute,
    walk,
    with_children,
)
from provenet.nets.expr.evaluate import compile_expr, evaluate
from provenet.nets.expr.normal import normal
from provenet.nets.expr.parse import MAX_LENGTH, parse
from provenet.nets.expr.regex import full_match, parse_pattern
from provenet.nets.expr.show import show
from provenet.nets.expr.typing import type_of, widen
from provenet.nets.schema import BOOL, INT, DecimalType, IntType, ListType, OptionalType, RecordType, Type
from tests.nets.strategies import (
    DECIMAL,
    LINE,
    ORDER,
    PATTERNS,
    SCALARS,
    SCOPE,
    TIER,
    environments,
    expressions,
)

TYPES: tuple[Type, ...] = (*SCALARS, LINE, OptionalType(INT), ListType(INT, 3))
RECORDS = {"Order": ORDER, "Line": LINE}


@given(st.sampled_from(TYPES).flatmap(lambda t: st.tuples(st.just(t), expressions(t, like=t))))
def test_parsing_what_is_shown_gives_the_same_tree(drawn: tuple[Type, Expr]) -> None:
    of, expr = drawn
    assert parse(show(expr), SCOPE, RECORDS, like=of) == expr


@given(expressions())
def test_showing_is_stable_without_a_scope(expr: Expr) -> None:
    text = show(expr)
    assert show(parse(text, types=RECORDS)) == text


@given(st.sampled_from(TYPES).flatmap(lambda t: st.tuples(st.just(t), expressions(t))))
def test_normal_form_is_idempotent_and_keeps_the_type(drawn: tuple[Type, Expr]) -> None:
    of, expr = drawn
    assert normal(expr, SCOPE) == expr
    assert normal(expr, SCOPE, of) == normal(normal(expr, SCOPE, of), SCOPE, of)
    if not isinstance(of, ListType | OptionalType):
        assert type_of(normal(expr, SCOPE, of), SCOPE) == widen(of)


@given(st.sampled_from(TYPES).flatmap(expressions), environments())
def test_evaluation_equals_the_reference(expr: Expr, env: dict[str, Any]) -> None:
    try:
        found = evaluate(expr, env, SCOPE)
    except ExprError as error:
        assume("leaves the calendar" not in str(error))
        raise
    of = type_of(expr, SCOPE)
    assert math_of(found, of) == reference(expr, {n: math_of(v, SCOPE[n]) for n, v in env.items()}, SCOPE)


@given(expressions(), environments(), expressions(INT))
def test_substitution_is_evaluation_in_a_changed_environment(
    expr: Expr, env: dict[str, Any], value: Expr
) -> None:
    try:
        changed = {**env, "n": evaluate(value, env, SCOPE)}
        replaced = substitute(expr, {"n": value})
        assume(not any(isinstance(e, Each) and e.var in free_variables(value) for e in walk(expr)))
        assert evaluate(expr, changed, SCOPE) == compile_expr(replaced, SCOPE)(env)
    except ExprError as error:  # a product with what is no longer a constant, or a date beyond the calendar
        assume("one side of *" not in str(error) and "leaves the calendar" not in str(error))
        raise


@given(expressions())
def test_nodes_are_rebuilt_from_their_children(expr: Expr) -> None:
    for node in walk(expr):
        assert with_children(node, children(node)) == node


@given(
    st.text(max_size=40) | st.text(alphabet='abo.()[]{}<>=!+-*/%,:"`\\ \n0123d not in is null', max_size=60)
)
def test_any_text_parses_or_is_refused_in_words(text: str) -> None:
    for scope in (None, SCOPE):
        try:
            parse(text, scope, RECORDS)
        except ExprError as error:
            assert error.message


@given(expressions(), st.data())
def test_damaged_text_parses_or_is_refused_in_words(expr: Expr, data: st.DataObject) -> None:
    text = show(expr)
    at = data.draw(st.integers(0, len(text)))
    noise = data.draw(
        st.sampled_from(("", "(", ")", "}", " not ", "==", '"', "`", ".", "-", "1", "if ", " else "))
    )
    try:
        parse(text[:at] + noise + text[at + data.draw(st.integers(0, 3)) :], SCOPE, RECORDS)
    except ExprError as error:
        assert error.message


@pytest.mark.parametrize(
    "text",
    [
        "(" * MAX_LENGTH,
        "not " * 2_500,
        "-" * MAX_LENGTH,
        "[" * MAX_LENGTH,
        "len(" * 2_500,
        "a." * 4_999 + "a",
        " + ".join("n" * 2_000),
        " and ".join(["b"] * 1_800),
        "9" * MAX_LENGTH,
        "1e999999999d",
        "1e-999999999d * p",
        "days(" + "9" * 5_000 + ")",
        '"' + "\\" * 9_000,
        "`" * 9_999,
        "n if b else " * 800 + "n",
        'matches(s, "((((a{99}){99}){99}){99})")',
        'matches(s, "(a*)*(a*)*(a*)*(a*)*b")',
        "x" * (MAX_LENGTH + 1),
        "all(i in xs: " * 700,
        "{" * 9_999,
    ],
)
def test_hostile_text_is_dealt_with_quickly(text: str) -> None:
    start = time.process_time()
    try:
        expr = parse(text, SCOPE, RECORDS)
    except ExprError as error:
        assert len(str(error)) < 2_000
    else:
        evaluate(expr, {"s": "a" * 2_000, "b": True, "n": 1, "xs": ()}, SCOPE)
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("o.count <= 30 <= 40", "comparisons do not chain"),
        ("o.count = 3", "write =="),
        ("o.paid && b", "write and"),
        ("o.naem == s", 'did you mean "name"'),
        ("o.name.upper() == s", "there are no methods"),
        ("nn == 3", "unknown name 'nn'"),
        ("note(o)", "there is no function 'note'"),
        ("o.limit < 3", "have no order"),
        ("f + 1.0 > f", "floats may be compared but not computed with"),
        ("o.count * n > 3", "one side of * must be a constant"),
        ("n // 0 > 1", "positive constant"),
        ("Lime{sku: s}", 'did you mean "Line"'),
        ("Line{sku: s}", "needs qty"),
        ("Line{sku: s, qty: 1, qty: 2}", "given twice"),
        ("n in {1, m}", "only constants"),
        ("n in xs", "write the values in braces"),
        ("xs[0] == 1", "all(i in xs"),
        ("s == 'a'", "double quotes"),
        ('t > time("soon")', "no point in time"),
        ('t > time("2026-01-01T00:00:00")', "aware"),
        ("", "expected a value"),
        ("n / 2 == 1", "write //"),
        ("o.limit.x == 1", "may be null"),
    ],
)
def test_mistakes_explain_themselves(text: str, says: str) -> None:
    with pytest.raises(ExprError) as caught:
        parse(text, SCOPE, RECORDS)
    assert says in str(caught.value)


def test_a_mistake_points_at_its_place() -> None:
    with pytest.raises(ExprError) as caught:
        parse("b and\n  n ! 3", SCOPE)
    assert str(caught.value).splitlines()[:3] == [
        "position 11  PN200  '!' is not understood",
        "      n ! 3",
        "        ^",
    ]


@pytest.mark.parametrize(
    ("text", "expr"),
    [
        ('e == "gold"', Compare("==", Var("e"), Const("gold", TIER))),
        ('"gold" == e', Compare("==", Const("gold", TIER), Var("e"))),
        ("p < 3", Compare("<", Var("p"), Const(Decimal(3), DECIMAL))),
        ("p < 1.5", Compare("<", Var("p"), Const(Decimal("1.5"), DECIMAL))),
        ("m == null", Compare("==", Var("m"), Const(None, OptionalType(INT)))),
        ("xs == []", Compare("==", Var("xs"), Const((), ListType(INT, 3)))),
        ("m is not null", Not(IsNull(Var("m")))),
        ("n - 1 - -1", Arith("-", Arith("-", Var("n"), Const(1, INT)), Const(-1, INT))),
        ("n - (1 - n)", Arith("-", Var("n"), Arith("-", Const(1, INT), Var("n")))),
        ("b or b and not b", Or((Var("b"), And((Var("b"), Not(Var("b"))))))),
        ("`not` + o.`in`", Arith("+", Var("not"), Get(Var("o"), "in"))),
        ('Line{qty: 1, sku: "a"}', Const(("a", 1), LINE)),
        ("days(7)", Const(timedelta(days=7), type_of(Var("d"), SCOPE))),
    ],
)
def test_text_means(text: str, expr: Expr) -> None:
    assert parse(text, SCOPE, RECORDS) == expr


_ATOMS = st.sampled_from(
    ("a", "b", "c", ".", "[a-b]", "[^a]", r"\d", r"\w", r"\s", r"\.", r"[\d\-x]", r"\n", r"\D")
)
_REGEXES = st.recursive(
    _ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda p: f"({p[0]}|{p[1]})"),
        st.tuples(inner, st.sampled_from(("*", "+", "?", "{2}", "{0,2}", "{1,}"))).map(
            lambda p: f"({p[0]}){p[1]}"
        ),
    ),
    max_leaves=6,
)


@given(_REGEXES, st.text(alphabet="abc01. -x_\né", max_size=8))
def test_patterns_match_what_python_matches(pattern: str, text: str) -> None:
    assert full_match(pattern, text) == (re.fullmatch(pattern, text, re.ASCII) is not None)


@given(_REGEXES, st.data())
def test_patterns_match_what_is_drawn_from_them(pattern: str, data: st.DataObject) -> None:
    text = data.draw(
        st.from_regex(
            re.compile(pattern, re.ASCII), fullmatch=True, alphabet=st.characters(max_codepoint=0x2FFFF)
        )
    )
    assert full_match(pattern, text)


@given(st.text(alphabet="ab\\[](){}|*+?^$.,-01d", max_size=12))
def test_any_pattern_is_python_s_or_refused(pattern: str) -> None:
    try:
        parse_pattern(pattern)
    except ExprError as error:
        assert "pattern" in error.message
    else:
        re.compile(pattern)


# A second interpreter, written apart from the first: numbers are fractions, times are whole microseconds,
# records are dictionaries. It recurses over the tree and shares no code with the compiler to closures.


def reference(expr: Expr, env: Mapping[str, Any], scope: Mapping[str, Type]) -> Any:
    def go(e: Expr) -> Any:
        return reference(e, env, scope)

    match expr:
        case Const(value, of):
            return math_of(value, of)
        case Var(name):
            return env[name]
        case Get(of, field):
            return go(of)[field]
        case Not(of):
            return not go(of)
        case And(parts):
            return False not in [go(p) for p in parts]
        case Or(parts):
            return True in [go(p) for p in parts]
        case Compare(op, left, right):
            a, b = go(left), go(right)
            if op in ("==", "!="):
                return (a == b) is (op == "==")
            return {"<": a < b, "<=": not a > b, ">": a > b, ">=": not a < b}[op]
        case Arith(op, left, right):
            a, b = go(left), go(right)
            if op in ("//", "%"):
                q = next(q for q in range(-abs(a) - 1, abs(a) + 2) if q * b <= a < (q + 1) * b)
                return q if op == "//" else a - q * b
            return a * b if op == "*" else a + b if op == "+" else a - b
        case If(condition, then, otherwise):
            return go(then) if go(condition) else go(otherwise)
        case OneOf(of, members):
            found = go(of)
            return any(found == go(m) for m in members)
        case IsNull(of):
            return go(of) is None
        case OrElse(of, default):
            return go(default) if go(of) is None else go(of)
        case Len(of):
            return sum(1 for _ in go(of))
        case TextTest(op, of, text):
            where = [i for i in range(len(go(of)) + 1) if go(of)[i : i + len(text)] == text]
            wanted = {"starts_with": 0, "ends_with": len(go(of)) - len(text)}
            return wanted[op] in where if op in wanted else bool(where)
        case Matches(of, pattern):
            assert pattern in PATTERNS
            return re.fullmatch(pattern, go(of), re.ASCII) is not None
        case Each(quantifier, of, var, body):
            items = type_of(of, scope)
            assert isinstance(items, ListType)
            found = [reference(body, {**env, var: i}, {**scope, var: items.item}) for i in go(of)]
            return False not in found if quantifier == "all" else True in found
        case Build(record, parts):
            return {f.name: go(p) for f, p in zip(record.fields, parts, strict=True)}


def math_of(value: Any, of: Type) -> Any:
    match of:
        case _ if value is None:
            return None
        case OptionalType(item):
            return math_of(value, item)
        case ListType(item):
            return [math_of(v, item) for v in value]
        case RecordType(_, fields):
            return {f.name: math_of(v, f.type) for f, v in zip(fields, value, strict=True)}
        case IntType() | DecimalType():
            return int(value) if value == int(value) else Fraction(value)
    if isinstance(value, datetime):
        return (value - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    if isinstance(value, timedelta):
        return value // timedelta(microseconds=1)
    return value


def test_conditions_are_bool_for_the_reference_too() -> None:
    assert reference(Not(Const(False, BOOL)), {}, {}) is True

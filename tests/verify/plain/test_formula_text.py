"""Formulas as text: what is written is what is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenet.nets.errors import ProvenetError
from provenet.verify.plain import temporal as tl
from provenet.verify.plain.formula_text import FormulaError, parse_formula, shown
from provenet.verify.plain.logic import FALSE, TRUE, at_least, at_most, conj, deadlock, disj, equal, fireable
from provenet.verify.plain.net import PTNet
from tests.verify.plain.formulas import branching, paths
from tests.verify.plain.nets import nets

NET = PTNet(
    places=("p", "q", "done", "a b", "F", 'say "hi"', "x-1"),
    transitions=("t1", "t2", "go on"),
    pre=(((0, 1),), ((1, 2),), ((1, 1), (3, 1))),
    post=(((1, 1),), ((0, 1),), ((2, 1),)),
    initial=(1, 0, 0, 0, 0, 0, 0),
)
P, Q, DONE = (tl.Now(at_least({i: 1}, 1)) for i in range(3))


@given(nets(), st.data())
def test_what_is_shown_reads_as_the_same(net: PTNet, data: st.DataObject) -> None:
    formula = data.draw(st.one_of(branching(net), paths(net)))
    again = parse_formula(shown(formula, net), net)
    assert tl.simplified(again) == tl.simplified(formula)
    assert shown(again, net) == shown(parse_formula(shown(again, net), net), net)


@given(st.text(max_size=60))
def test_any_text_is_a_formula_or_a_plain_refusal(text: str) -> None:
    try:
        found = parse_formula(text, NET)
    except FormulaError:
        return
    assert parse_formula(shown(found, NET), NET) is not None


@given(
    st.lists(
        st.sampled_from([*"()!&|UAEXFG<>=+*-,", "p", "2", "AG", "->", "<->", '"a b"', "fireable"]),
        max_size=14,
    )
)
def test_any_order_of_words_is_a_formula_or_a_plain_refusal(words: list[str]) -> None:
    try:
        found = parse_formula(" ".join(words), NET)
    except FormulaError:
        return
    assert parse_formula(shown(found, NET), NET) is not None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("AG (EF done >= 1)", tl.A(tl.G(tl.E(tl.F(DONE))))),
        ("AG EF done", tl.A(tl.G(tl.E(tl.F(DONE))))),
        ("A (p >= 1 U q >= 1)", tl.A(tl.U(P, Q))),
        ("G F fireable(t1, t2)", tl.G(tl.F(tl.Now(disj((fireable(NET, 0), fireable(NET, 1))))))),
        ("deadlock", tl.Now(deadlock(NET))),
        ("2*p + q <= 3", tl.Now(at_most({0: 2, 1: 1}, 3))),
        ("p * 2 <= q + 3 - p", tl.Now(at_most({0: 3, 1: -1}, 3))),
        ("p = 2", tl.Now(equal({0: 1}, 2))),
        ("p < q", tl.Now(at_most({0: 1, 1: -1}, -1))),
        ("p & q | done", tl.Now(disj((conj((P.formula, Q.formula)), DONE.formula)))),
        ("!p & F q", tl.Both((tl.Not(P), tl.F(Q)))),
        ("F p -> G q", tl.Either((tl.Not(tl.F(P)), tl.G(Q)))),
        ("p U q U done", tl.U(P, tl.U(Q, DONE))),
        ("p R q", tl.R(P, Q)),
        ("p W q", tl.R(Q, tl.Either((P, Q)))),
        ('"a b" >= 1', tl.Now(at_least({3: 1}, 1))),
        ("F >= 1", tl.Now(at_least({4: 1}, 1))),
        ('F "F" >= 1', tl.F(tl.Now(at_least({4: 1}, 1)))),
        (r'"say \"hi\"" >= 1', tl.Now(at_least({5: 1}, 1))),
        ("X true", tl.X(tl.Now(TRUE))),
        ("not p and q or false", tl.Either((tl.Both((tl.Not(P), Q)), tl.Now(FALSE)))),
    ],
)  # fmt: skip
def test_reading(text: str, expected: tl.Temporal) -> None:
    assert parse_formula(text, NET) == expected


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        (tl.A(tl.G(tl.E(tl.F(DONE)))), "AG EF done >= 1"),
        (tl.A(tl.U(P, tl.Not(Q))), "A (p >= 1 U !(q >= 1))"),
        (tl.G(tl.Either((tl.Not(P), tl.Either((tl.Not(Q), DONE))))), "G (p >= 1 -> q >= 1 -> done >= 1)"),
        (tl.F(tl.Now(fireable(NET, 2))), 'F fireable("go on")'),
        (tl.G(tl.Now(at_most({3: 2, 6: -1}, 4))), 'G 2*"a b" - "x-1" <= 4'),
        (tl.Now(deadlock(NET)), "deadlock"),
    ],
)
def test_writing(formula: tl.Temporal, expected: str) -> None:
    assert shown(formula, NET) == expected


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("AG (done >= 1", 14, "expected ')'"),
        ("AG dome >= 1", 4, 'did you mean "done"'),
        ("fireable(t3)", 10, "there is no transition"),
        ("fireable(p)", 10, "is a place"),
        ("t1 >= 1", 1, "write fireable(t1)"),
        ("p >= ", 6, "expected a condition"),
        ("p + q", 6, "a comparison"),
        ("p <= q <= 1", 8, "do not chain"),
        ("p >= 1 q", 8, "an operator or the end"),
        ("p $ q", 3, "not understood"),
        ('"p', 1, "close the double quotes"),
        ("", 1, "found the end"),
        ("p >= 1234567890123456789", 6, "at most 18 digits"),
    ],
)
def test_mistakes_say_where_and_what(text: str, column: int, words: str) -> None:
    with pytest.raises(FormulaError) as error:
        parse_formula(text, NET)
    assert isinstance(error.value, ProvenetError)
    assert error.value.where == f"formula, column {column}"
    assert words in str(error.value)


@pytest.mark.parametrize(
    "text", ["(" * 5_000 + "p", "!" * 5_000 + "p", "p -> " * 3_000 + "p", "p U " * 3_000 + "p", "p" * 30_000]
)
def test_depth_and_length_are_limited(text: str) -> None:
    with pytest.raises(FormulaError):
        parse_formula(text, NET)


def test_equivalences_do_not_explode() -> None:
    with pytest.raises(FormulaError, match="too large"):
        parse_formula(" <-> ".join(["F p"] * 40), NET)

"""The separate checker's encoder against evaluation, and its imports."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from provenet.nets.errors import ExprError
from provenet.nets.expr.ast import Expr
from provenet.nets.expr.evaluate import evaluate
from provenet.nets.expr.typing import type_of
from provenet.nets.schema import (
    BOOL,
    DATETIME,
    DURATION,
    INT,
    STR,
    EnumType,
    IntType,
    ListType,
    OptionalType,
    RecordType,
    StrType,
    Type,
    Value,
)
from provenet.verify.independent.errors import NotHere, Refused
from provenet.verify.independent.smtlib import Obligation, Script, conjoined, equal
from provenet.verify.independent.solvers import Solver, refute
from tests.nets import strategies
from tests.nets.strategies import DECIMAL, LINE, SCOPE, TIER, environments, types, values

ROOT = Path(__file__).resolve().parents[3]
RESULTS: tuple[Type, ...] = (BOOL, INT, DECIMAL, STR, TIER, DATETIME, DURATION, OptionalType(INT), LINE)


def expressions(of: Type) -> st.SearchStrategy[Expr]:
    return strategies._any(of, SCOPE, 3)


def is_refuted(obligation: Obligation, solver: Solver = "z3") -> bool:
    """Whether a solver finds it unsatisfiable; anything but an answer fails."""
    try:
        refute(obligation, [solver], timeout=20)
    except Refused:
        return False
    return True


def both_ways(expr: Expr, env: dict[str, Value]) -> tuple[Obligation, Obligation]:
    """That an expression over constants has the value that evaluation gives; and that it has not."""
    try:
        expected = evaluate(expr, env, SCOPE)
    except ExprError:  # a date left the calendar: there is no value to agree on
        assume(False)
        raise
    s = Script()
    fresh = {name: s.value(name, of) for name, of in SCOPE.items()}
    pinned = [equal(fresh[name], s.constant(env[name], of)) for name, of in SCOPE.items()]
    of = type_of(expr, SCOPE)
    try:
        same = equal(s.fitted(expr, fresh, SCOPE, of), s.constant(expected, of))
    except NotHere:
        assume(False)
    return s.obligation("same", [*pinned, f"(not {same})"]), s.obligation("other", [*pinned, same])


@settings(deadline=None)
@given(st.sampled_from(RESULTS).flatmap(expressions), environments())
def test_an_expression_has_the_value_that_evaluation_gives(expr: Expr, env: dict[str, Value]) -> None:
    same, other = both_ways(expr, env)
    assert is_refuted(same)
    assert not is_refuted(other)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(RESULTS).flatmap(expressions), environments())
def test_so_says_the_other_solver(expr: Expr, env: dict[str, Value]) -> None:
    pytest.importorskip("cvc5", reason="cvc5 is an extra: pip install 'provenet[cvc5]'")
    same, _ = both_ways(expr, env)
    assert is_refuted(same, "cvc5")


@settings(deadline=None)
@given(types().flatmap(lambda of: st.tuples(st.just(of), values(of))))
def test_every_value_keeps_what_its_type_promises(typed: tuple[Type, Value]) -> None:
    of, value = typed
    s = Script()
    try:
        promised = conjoined(list(s.inhabits(s.constant(value, of), of)))
    except NotHere:
        assume(False)
    assert is_refuted(s.obligation("kept", [f"(not {promised})"]))


@pytest.mark.parametrize(
    ("of", "value"),
    [
        (IntType(0, 5), 6),
        (StrType(2), "abc"),
        (EnumType("E", ("a", "b")), "c"),
        (OptionalType(IntType(0, 5)), 6),
        (ListType(INT, 1), (1, 2)),
    ],
)
def test_a_value_of_no_type_breaks_its_promise(of: Type, value: Value) -> None:
    s = Script()
    assert is_refuted(s.obligation("broken", s.inhabits(s.constant(value, of), of)))


@pytest.mark.parametrize("solver", ["z3", "cvc5"])
@pytest.mark.parametrize("name", ["not", "and", "str.len", "length", "Int", "x0", "ghost"])
def test_no_name_is_taken_for_a_word_of_the_language(name: str, solver: Solver) -> None:
    if solver == "cvc5":
        pytest.importorskip("cvc5", reason="cvc5 is an extra: pip install 'provenet[cvc5]'")
    s = Script()
    value = s.value(name, INT)
    assert is_refuted(s.obligation("word", [f"(not (= {value} {value}))"]), solver)


def test_names_that_look_alike_stay_apart() -> None:
    s = Script()
    names = [s.value(name, INT) for name in ("a", "a", "ä", "ö", "a|b", "a\\b", "a b")]
    assert len(set(names)) == len(names)
    assert all(isinstance(n, str) and n[0] == n[-1] == "|" and not set(n[1:-1]) & set("|\\") for n in names)
    assert not is_refuted(s.obligation("apart", [f"(= {n} {i})" for i, n in enumerate(names)]))


@pytest.mark.parametrize("solver", ["z3", "cvc5"])
def test_what_a_solver_cannot_read_is_no_answer(solver: Solver) -> None:
    if solver == "cvc5":
        pytest.importorskip("cvc5", reason="cvc5 is an extra: pip install 'provenet[cvc5]'")
    with pytest.raises(NotHere):
        refute(Obligation("broken", "(assert (= x 1))(check-sat)"), [solver], timeout=5)


def test_a_mixed_enumeration_has_no_text() -> None:
    with pytest.raises(NotHere):
        Script().value("e", EnumType("Mixed", ("a", 1)))


def test_records_in_optionals_are_taken_apart() -> None:
    of = OptionalType(RecordType("R", ()))
    s = Script()
    assert is_refuted(s.obligation("one", [f"(not {equal(s.constant((), of), s.constant((), of))})"]))


# what the checker may import


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.split(".")[0] == "provenet"}


def test_the_checker_imports_the_net_and_itself() -> None:
    for path in sorted((ROOT / "verify" / "independent").glob("*.py")):
        for name in imported(path):
            own = name.startswith("provenet.verify.independent") or name == "provenet.verify"
            assert own or name.startswith("provenet.nets"), f"{path.name} imports {name}"

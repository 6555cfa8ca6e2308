"""`provenet verify --formula`: verdicts, runs, vacuity, and mistakes."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from provenet.nets.formats.pnml import pnml_text
from tests.cli.conftest import Cli
from tests.support import nets as support


@pytest.fixture(scope="module", autouse=True)
def _kernels() -> None:
    """Loaded here once, they are there in each process that an engine gets."""
    for name in ("explore_kernel", "graph_kernel", "product_kernel", "walk_kernel"):
        import_module(f"provenet.verify.plain.engines.{name}")


@pytest.fixture
def door(folder: Path) -> str:
    """A door that opens and closes, until it is locked."""
    (folder / "door.pnml").write_text(pnml_text(support.door()), encoding="utf-8")
    return "door.pnml"


@pytest.mark.parametrize(
    ("formula", "verdict", "code"),
    [
        ("AG (opened -> EF closed)", "PROVED", 0),
        ("AG (opened -> AF closed)", "PROVED", 0),
        ("G F opened", "REFUTED", 1),
        ("AG EF closed", "REFUTED", 1),
        ("E G F opened", "PROVED", 0),
        ("A (G F opened | F locked)", "PROVED", 0),
        ("AG F AX locked", "UNKNOWN", 3),
    ],
)
def test_a_verdict_and_its_exit_code(cli: Cli, door: str, formula: str, verdict: str, code: int) -> None:
    said = cli("verify", door, "--formula", formula, "--timeout", "120" if code < 3 else "2", "--json")
    assert said.code == code
    (found,) = said.json["formulas"]
    assert found["verdict"] == verdict
    assert found["reason"]


def test_a_run_shows_why_and_loops_where_it_goes_on(cli: Cli, door: str) -> None:
    said = cli("verify", door, "--formula", "F locked", "--timeout", "120", "--json")
    run = said.json["formulas"][0]["run"]
    assert (run["end"], sorted(run["loop"])) == ("loop", ["close", "open"])
    text = cli("verify", door, "--formula", "AG EF closed", "--timeout", "120").out
    assert "REFUTED  AG EF closed >= 1" in text
    assert "after this run EF closed >= 1 does not hold" in text
    assert "1  lock" in text


def test_what_a_formula_does_not_test_is_said(cli: Cli, door: str) -> None:
    said = cli("verify", door, "--formula", "AG (closed >= 2 -> AF locked)", "--timeout", "120")
    assert said.code == 0
    assert "closed >= 2 never holds" in said.out
    assert "constants decide it" in cli("verify", door, "--formula", "AG true").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--formula", "AG close >= 1"), "'close' is a transition"),
        (("--formula", "AG closd"), 'did you mean "closed"'),
        (("--formula", "AG ("), "formula, column 5"),
        (("--formula", "AG closed", "--facts"), "--facts cannot be combined"),
        (("door.pnml", "--formula", "AG closed"), "another target cannot be combined"),
    ],
)
def test_mistakes_are_told(cli: Cli, door: str, words: tuple[str, ...], message: str) -> None:
    said = cli("verify", door, *words)
    assert said.code == 2
    assert message in said.err


def test_a_net_with_data_has_fair_runs_unless_told_otherwise(cli: Cli) -> None:
    said = cli("verify", "offers.py:loose", "--formula", "deadlock", "--json")
    assert said.code == 1
    (row,) = said.json["formulas"]
    assert (row["runs"], row["verdict"]) == ("fair", "REFUTED")
    told = cli("verify", "offers.py:loose", "--formula", "AG EF deadlock", "--runs", "all", "--json")
    (row,) = told.json["formulas"]
    assert (row["formula"], row["runs"], row["verdict"], told.code) == ("AG EF deadlock", "all", "PROVED", 0)
    assert row["reason"].startswith("on all maximal runs")
    assert cli("verify", "offers.py:loose", "--formula", "AG nowhere").code == 2


def test_runs_can_be_told_without_data_too(cli: Cli, door: str) -> None:
    said = cli("verify", door, "--formula", "F locked", "--runs", "fair", "--json")
    (row,) = said.json["formulas"]
    assert (row["verdict"], row["runs"], row["trace"]) == ("PROVED", "fair", None)
    assert "there are: all, fair" in cli("verify", door, "--formula", "F locked", "--runs", "most").err
    assert cli("verify", door, "--runs", "all").code == 2

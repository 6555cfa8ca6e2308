"""`provenet diagnose`: what it says, its exit codes, and what it makes of bad input."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.engine.diagnosis.seeded import SEEDS
from tests.engine.diagnosis.test_procedure import new, old, ran

DEALS = """
from tests.engine.diagnosis.test_procedure import deals, new, old

before, now = deals(old), deals(new)
"""


@pytest.fixture
def deals(folder: Path) -> str:
    """Cases on two models, and the agents that they ran by."""
    (folder / "deal_agents.py").write_text(DEALS, encoding="utf-8")
    return str(ran(folder / "deals.db", old, new))


def test_a_finding_is_shown_with_its_evidence_and_ends_with_one(cli: Cli, folder: Path) -> None:
    path = folder / "run.db"
    SEEDS["P6a"](path, "seeded")
    said = cli("diagnose", "--db", path)
    assert said.code == 1
    assert "P6a   approvals: 18 of 20 decisions of 'approve' were made by their deadline" in said.out
    assert "weakness    too few reviewers" in said.out
    assert "case case-3, entry 2: approve.timeout decided in the place of 'approve'" in said.out
    assert "13 more places: --json has them" in said.out
    (finding,) = cli("diagnose", "--db", path, "--json").json["findings"]
    assert finding["detector"] == "P6a"
    assert len(finding["evidence"]) == 18
    assert finding["numbers"]["missed"] == 18


def test_a_clean_log_ends_with_zero(cli: Cli, folder: Path) -> None:
    path = folder / "run.db"
    SEEDS["P6a"](path, "corrected")
    said = cli("diagnose", "--db", path)
    assert (said.code, "None of twelve detectors found anything." in said.out) == (0, True)
    assert cli("diagnose", "--db", path, "--json").json["findings"] == []


def test_failures_are_counted_and_asked_for_by_a_version(cli: Cli, deals: str) -> None:
    said = cli("diagnose", "--db", deals)
    assert said.code == 0
    assert "4 of 12 cases failed. --prior VERSION runs some anew" in said.out


def test_a_target_is_the_version_before(cli: Cli, deals: str) -> None:
    said = cli("diagnose", "--db", deals, "--prior", "deal_agents.py:before", "--json")
    classes = said.json["procedure"]["classes"]
    assert said.code == 1
    assert {name: c["count"] for name, c in classes.items()} == {
        "functional": 2,
        "replay divergence": 2,
        "variance": 0,
        "blocked": 0,
    }


def test_two_targets_and_a_sample(cli: Cli, deals: str) -> None:
    versions = ("--prior", "deal_agents.py:before", "--current", "deal_agents.py:now")
    said = cli("diagnose", "--db", deals, *versions, "--sample", 2, "--seed", 3, "--repeat", 2)
    assert said.code == 1
    assert "4 of 12 cases failed; 2 of them were run anew, 2 times each" in said.out
    assert "now     deal_agents.py:now" in said.out


def test_a_model_of_the_log(cli: Cli, deals: str) -> None:
    assert cli("diagnose", "--db", deals, "--prior", "recorded:m-1").code == 1
    unknown = cli("diagnose", "--db", deals, "--prior", "recorded:m-7")
    assert unknown.code == 0
    assert "the log has no answers of 'm-7'; it has some of 'm-1', 'm-2'" in unknown.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--failure", "refuse"), 'did you mean "refused"'),
        (("--current", "recorded:m-1"), "--current without --prior"),
        (("--net", "deal"), "deals"),
        (("--prior", "nowhere.py"), "nowhere.py"),
    ],
)
def test_what_cannot_be_used_is_said(cli: Cli, deals: str, words: tuple[str, ...], message: str) -> None:
    said = cli("diagnose", "--db", deals, *words)
    assert said.code == 2
    assert message in said.err


def test_there_is_no_such_database(cli: Cli) -> None:
    assert cli("diagnose", "--db", "none.db").code == 2

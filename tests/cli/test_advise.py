"""`provenet advise`."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from tests.cli.conftest import Cli

SHIPPED = Path(str(files("provenet.examples")))
SMALL = """
workload: answers about bills
unit: {lasts: 20 seconds, world_changes: false}
effects:
  - {effect: mail.send, undo: mail.take_back}
risk: {legal_or_financial: false, audited: false}
model: a-model 1
decided: 2026-11-23
"""


@pytest.fixture
def small(folder: Path) -> Path:
    path = folder / "small.yaml"
    path.write_text(SMALL, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["contract_renewal", "port_in", "drip", "billing", "claims"])
def test_the_shipped_workloads_get_their_records(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    path = SHIPPED / name / "workload.yaml"
    said, told = cli("advise", str(path)), cli("advise", str(path), "--json").json
    assert said.code == 0
    for line in told["record"]:
        assert line["choice"] in said.out
        assert line["because"]
        assert line["if wrong"]
    assert said.out.count("  because") == said.out.count("  if wrong") == 6


def test_all_questions_are_shown(cli: Cli, small: Path) -> None:
    said, told = cli("advise", str(small), "--questions"), cli("advise", str(small), "--json").json
    assert len(told["predicates"]) == 15
    assert all(p["question"] in said.out and p["reason"] in said.out for p in told["predicates"])


def test_it_writes_a_net_that_verifies(cli: Cli, small: Path) -> None:
    said = cli("advise", str(small), "--write", "agent.py")
    assert said.code == 0
    assert "wrote agent.py" in said.out
    proved = cli("verify", "agent.py")
    assert proved.code == 0, proved.out
    assert "Deployable." in proved.out
    ran = cli("advise", str(small), "--write", "agent.py")
    assert ran.code == 2
    assert "may be filled in by now" in ran.err


@pytest.mark.parametrize("kind", ["svg", "png", "pdf"])
def test_it_draws_the_composition(cli: Cli, small: Path, folder: Path, kind: str) -> None:
    told = cli("advise", str(small), "--draw", f"picture.{kind}", "--json").json
    assert told["written"] == {"picture": f"picture.{kind}"}
    starts = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}
    assert (folder / f"picture.{kind}").read_bytes().startswith(starts[kind])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("none.yaml",), "cannot be read"),
        ((".",), "a folder"),
        (("offers.py",), "this is no YAML"),
        (("small.yaml", "--write", "agent.txt"), "is a Python file"),
        (("small.yaml", "--write", "none/agent.py"), "cannot be written"),
        (("small.yaml", "--draw", "picture.gif"), "no picture is made in the format '.gif'"),
    ],
)
def test_what_cannot_be_done_is_told_in_words(
    cli: Cli, small: Path, words: tuple[str, ...], said: str
) -> None:
    ran = cli("advise", *words)
    assert ran.code == 2
    assert said in ran.err
    assert "Traceback" not in ran.err
    assert not list(small.parent.glob("picture*"))


def test_mistakes_in_a_description_are_told_with_their_lines(cli: Cli, small: Path) -> None:
    small.write_text(SMALL.replace("world_changes", "world_chnages"), encoding="utf-8")
    ran = cli("advise", str(small))
    assert ran.code == 2
    assert 'line 3: there is no unit.world_chnages  (did you mean "world_changes"?' in ran.err
    assert cli("advise", str(small), "--json").json["error"]["code"] == "PN400"

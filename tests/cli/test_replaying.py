"""`provenet replay` and `provenet reliability`: what they say, what they end with, what they leave alone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.cli.conftest import Cli, ledger


@pytest.fixture
def ended(cli: Cli, folder: Path) -> Path:
    """Ten published offers."""
    rows = "".join(f"c-{n},{n}\n" for n in range(10))
    (folder / "in.csv").write_text(f"id,wants\n{rows}", encoding="utf-8")
    done = cli("run", "offers.py", "--db", "x.db", "--input", "in.csv", "--id", "id")
    assert done.code == 0, done.err
    return folder


@pytest.fixture
def other(ended: Path) -> Path:
    """Another version of the agent, whose model gives three more in every case above six."""
    (ended / "others.py").write_text(
        "from dataclasses import replace\n"
        "from offers import *\n"
        "import offers\n"
        "from provenet import Agent, Proposer\n"
        "class Generous:\n"
        "    def __init__(self, usual):\n"
        "        self.usual = usual\n"
        "    async def propose(self, request):\n"
        "        said = await self.usual.propose(request)\n"
        "        more = 3 if said.value[1] > 6 else 0\n"
        "        return replace(said, value=(said.value[0], said.value[1] + more))\n"
        "def agent():\n"
        "    found = offers.agent() if hasattr(offers, 'agent') else Agent.of(offers.net)\n"
        "    mine = {n: Generous(h) if isinstance(h, Proposer) else h for n, h in found.handlers.items()}\n"
        "    return Agent(found.net, mine)\n",
        encoding="utf-8",
    )
    return ended


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def test_a_record_is_told_again(cli: Cli, ended: Path) -> None:
    before = digest(ended / "x.db")
    said = cli("replay", "--db", "x.db")
    assert said.code == 0, said.err
    assert "10 cases told again" in said.out
    assert "the same, bit for bit" in said.out
    data = cli("replay", "offers.py", "--db", "x.db", "--cases", "c-1", "--json").json
    assert data["same"]
    assert [c["case"] for c in data["cases"]] == ["c-1"]
    assert data["cases"][0]["state"] == data["cases"][0]["recorded_state"]
    assert digest(ended / "x.db") == before


def test_a_changed_record_is_1_and_says_where(cli: Cli, ended: Path) -> None:
    with closing(sqlite3.connect(ended / "x.db")) as db, db:
        db.execute(
            "UPDATE provenet_event SET at = at + 1 WHERE seq = 2"
            " AND case_no = (SELECT no FROM provenet_case WHERE id = 'c-3')"
        )
    said = cli("replay", "--db", "x.db")
    assert said.code == 1
    assert "c-3  entry 2" in said.out
    assert "1 of 10 diverge" in said.out


def test_another_version_is_measured_control_first(cli: Cli, other: Path) -> None:
    before, effects = digest(other / "x.db"), ledger(other)
    same = cli("replay", "offers.py", "--against", "offers.py", "--db", "x.db")
    assert same.code == 0, same.err
    said = cli(
        "replay", "offers.py", "--against", "others.py", "--db", "x.db", "--plot", "p.svg", "--to", "s.db"
    )
    assert said.code == 1, said.err
    lines = said.out.splitlines()
    control = next(i for i, line in enumerate(lines) if "control:" in line)
    assert "differs in 0 of 10 cases" in lines[control]
    assert control < next(i for i, line in enumerate(lines) if "decisions" in line)
    assert "3      30.0%  10.8% to 60.3%" in said.out
    assert "counterfactual: 3 cases" in said.out
    assert ET.fromstring((other / "p.svg").read_text(encoding="utf-8")).tag.endswith("svg")
    assert cli("cases", "--db", "s.db", "--json").json["counts"] == {"done": 10}
    assert digest(other / "x.db") == before
    assert ledger(other) == effects
    data = cli("replay", "--against", "others.py", "--db", "x.db", "--json").json
    assert data["valid"]
    assert data["measured"]["shares"]["outcome"]["k"] == 3
    assert {c["case"] for c in data["measured"]["cases"] if c["departure"]} == {"c-7", "c-8", "c-9"}


def test_misuse_is_2(cli: Cli, ended: Path) -> None:
    for words in (("--to", "s.db"), ("--receipt", "a=1"), ("--plot", "p.svg")):
        wrong = cli("replay", "--db", "x.db", *words)
        assert wrong.code == 2
        assert "goes with --against" in wrong.err
    assert cli("replay", "--db", "nowhere.db").code == 2
    missing = cli("replay", "--db", "x.db", "--cases", "nobody")
    assert missing.code == 2
    assert "there is no case 'nobody'" in missing.err
    real = cli("replay", "--db", "x.db", "--against", "offers.py", "--to", "x.db")
    assert real.code != 0
    assert "no simulation" in real.err


def test_reliability_of_calls_and_goals(cli: Cli, ended: Path) -> None:
    said = cli("reliability", "--db", "x.db")
    assert said.code == 0, said.err
    assert "10 cases that ended" in said.out
    assert "nothing varies" in said.out
    assert "there may still be 30.8%" in said.out  # the exact upper end for none in ten
    (data,) = cli("reliability", "--db", "x.db", "--json").json
    assert data["measure"] == "calls"
    assert data["estimate"]["method"] == "none"
    wrong = cli("reliability", "--db", "x.db", "--goal", "nowhere")
    assert wrong.code != 0
    assert "no case can end in 'nowhere'" in wrong.err
    places = {c["outcome_place"] for c in cli("cases", "--db", "x.db", "--json").json["cases"]}
    (data,) = cli("reliability", "--db", "x.db", "--goal", *places, "--plot", "y.svg", "--json").json
    assert data["measure"] == "goals"
    assert data["estimate"]["mu"] == 0
    assert (ended / "y.svg").exists()

"""Several people, and somebody in another's place, from the shell."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli

AGENT = """
from datetime import timedelta

from provenet import Human, NetBuilder, Token


class Upgrade(Token):
    id: str
    seat: int


net = NetBuilder("upgrades")
asked = net.entry("asked", Upgrade)
given, denied = net.final("given", Upgrade), net.final("denied", Upgrade)
net.add(
    Human(
        "approve upgrade",
        takes=asked,
        approve=given,
        deny=denied,
        who="cabin",
        within=timedelta(days=2),
        eyes=2,
        fallback=("on_call", timedelta(days=1)),
    )
)
"""


@pytest.fixture
def upgrades(cli: Cli, folder: Path) -> Cli:
    (folder / "upgrades.py").write_text(AGENT, encoding="utf-8")
    (folder / "in.csv").write_text("id,seat\nu-7,7\n", encoding="utf-8")
    assert cli("run", "upgrades.py", "--input", "in.csv", "--db", "x.db").code == 0
    return cli


def test_two_people_one_of_them_in_anothers_place(upgrades: Cli) -> None:
    cli, at = upgrades, ("--db", "x.db")
    line = cli("tasks", *at).out
    assert '"approve upgrade" (cabin), approve or deny, until' in line
    assert ", on_call too from" in line
    assert "0 of 2 approved" in line
    said = cli("approve", "u-7", "--as", "dana@cabin", *at)
    assert "by dana@cabin; 1 more person has to decide the same" in said.out
    assert "1 of 2 approved: dana@cabin" in cli("tasks", *at).out
    again = cli("approve", "u-7", "--as", "Dana@cabin", *at)
    assert (again.code, "dana@cabin has chosen 'approve' already" in again.err) == (1, True)
    said = cli("delegate", "u-7", "--to", "erin@ground", "--as", "frank@cabin", *at)
    assert "'approve upgrade' of case u-7 goes to erin@ground as well, says frank@cabin" in said.out
    assert "frank@cabin lets erin@ground decide" in cli("case", "u-7", *at).out
    (task,) = cli("tasks", *at, "--json").json
    assert task["approved"] == ["dana@cabin"]
    assert task["delegated"] == {"frank@cabin": "erin@ground"}
    assert (task["eyes"], task["fallback"]) == (2, "on_call")
    assert [t["case"] for t in cli("tasks", "--role", "on_call", *at, "--json").json] == ["u-7"]
    said = cli("approve", "u-7", "--as", "erin@ground", *at, "--json")
    assert said.json["missing"] == 0
    assert cli("cases", *at, "--json").json["cases"][0]["outcome_place"] == "given"
    log = cli("log", "u-7", *at).out
    assert "approved by dana@cabin" in log
    assert "delegated to erin@ground by frank@cabin" in log
    assert cli("audit", *at).code == 0


def test_a_delegation_is_taken_back(upgrades: Cli) -> None:
    cli, at = upgrades, ("--db", "x.db")
    for words, code, expected in [
        (("--as", "frank@cabin"), 2, "to whom?"),
        (("--to", "erin@ground", "--back", "--as", "frank@cabin"), 2, "to whom?"),
        (("--to", "erin@ground", "--as", "frank@ground"), 1, "may not delegate this"),
        (("--to", "Frank@ground", "--as", "frank@cabin"), 1, "are the same person"),
        (("--back", "--as", "frank@cabin"), 1, "has delegated it to nobody"),
    ]:
        said = cli("delegate", "u-7", *words, *at)
        assert expected in said.err
        assert said.code == code
    assert cli("delegate", "u-7", "--to", "erin@ground", "--as", "frank@cabin", *at).code == 0
    assert cli("delegate", "u-7", "--back", "--as", "frank@cabin", *at).code == 0
    assert "takes the role 'cabin'" in cli("approve", "u-7", "--as", "erin@ground", *at).err
    assert cli("audit", *at).code == 0

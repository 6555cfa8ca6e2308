"""`provenet signal`: by the id of a case, or by what the outside knows it by."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli

AGENT = """
from datetime import timedelta
from provenet import Agent, NetBuilder, Token

class Parcel(Token):
    order: str

net = NetBuilder("parcels")
packed, gone, done = net.entry("packed", Parcel), net.place("gone", Parcel), net.final("done", Parcel)
net.event("send", event="sent", takes={"p": packed}, puts={gone: "p"})
net.event("arrive", event="arrived", takes={"p": gone}, puts={done: "p"})
net.delivery("arrived", early="keep", lateness=timedelta(hours=1))
net.known_by("order", at=packed, value=lambda it: it.order)
net.require("DATA-2")
agent = Agent.of(net)
"""


@pytest.fixture
def parcels(cli: Cli, folder: Path) -> Path:
    (folder / "parcels.py").write_text(AGENT, encoding="utf-8")
    (folder / "in.csv").write_text("id,order\na,17\nb,17\nc,18\n", encoding="utf-8")
    said = cli("run", "parcels.py", "--input", "in.csv", "--id", "id", "--db", "x.db")
    assert said.code == 0, said.err
    return folder


def test_a_key_finds_its_cases_and_an_early_event_is_kept(cli: Cli, parcels: Path) -> None:
    said = cli("signal", "arrived", "--about", "order=17", "--key", "k", "--db", "x.db")
    assert (said.code, said.err) == (0, "")
    assert "'arrived': case a keeps it; case b keeps it" in said.out
    assert "event arrived: kept until its case is over" in cli("case", "a", "--db", "x.db").out
    assert cli("signal", "a", "sent", "--db", "x.db").code == 0
    said = cli("signal", "arrived", "--about", "order=17", "--key", "k", "--db", "x.db")
    assert said.code == 1
    assert "was published before" not in said.err
    assert "had its key before" in said.err
    said = cli("signal", "arrived", "--about", "order=99", "--key", "k2", "--db", "x.db", "--json")
    assert said.json["published"]["waits"] == "yes"
    assert 'event arrived waits for a case about {"order":"99"}' in cli("cases", "--db", "x.db").out
    said = cli("signal", "c", "arrived", "--at", "2026-01-31T12:00:00Z", "--db", "x.db")
    assert "case c keeps" in said.out
    found = {c["id"]: c["status"] for c in cli("cases", "--db", "x.db", "--json").json["cases"]}
    assert found == {"a": "done", "b": "waiting", "c": "waiting"}
    assert cli("audit", "--db", "x.db").code == 0


def test_a_case_says_which_events_it_takes_now(cli: Cli, parcels: Path) -> None:
    assert "\n  takes events: sent\n" in cli("case", "c", "--db", "x.db").out
    assert cli("signal", "c", "sent", "--db", "x.db").code == 0
    assert cli("signal", "c", "sent", "--db", "x.db").code == 1
    assert "\n  takes events: arrived\n" in cli("case", "c", "--db", "x.db").out


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (("a",), 2, "say which case, which event"),
        (("a", "sent", "{}", "more"), 2, "say which case, which event"),
        (("sent", "{}", "more", "--about", "order=17"), 2, "say which case, which event"),
        (("sent", "--about", "order"), 2, "'order' is no key"),
        (("sent", "--about", "order=17", "--one"), 1, "is for one case, and 2 are known"),
        (("sent", "--about", "order=99"), 1, "no unfinished case is known so"),
        (("a", "sent", "--at", "noon"), 2, "'noon' is no time"),
        (("a", "sent", "--at", "2026-01-31T12:00:00"), 2, "is no time"),
    ],
)
def test_refusals(cli: Cli, parcels: Path, words: tuple[str, ...], code: int, expected: str) -> None:
    said = cli("signal", *words, "--db", "x.db")
    assert expected in said.err
    assert said.code == code
    assert "Traceback" not in said.err

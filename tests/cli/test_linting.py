"""`provenet lint`: what it finds of verifiers that are functions, and what it lets pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli

HEAD = """
import datetime, random, time, uuid
from functools import partial
from provenet import Contract, NetBuilder, Reject, Token, opaque

class Refund(Token):
    cents: int
    country: str

def choose():
    return random.random()

CALLS = []
"""

TAIL = """
net = NetBuilder("refunds")
asked, agreed = net.entry("asked", Refund), net.final("agreed", Refund)
refused = net.final("refused", Refund)
net.add(Contract("check", takes=asked, gives=agreed, verify=verify, otherwise=refused))
"""


def linted(cli: Cli, folder: Path, verify: str, *words: str, tail: str = TAIL) -> tuple[int, list[str]]:
    """Exit code and findings of a lint over one verifier."""
    (folder / "refunds.py").write_text(HEAD + verify + tail, encoding="utf-8")
    said = cli("lint", "refunds.py", "--json", "--samples", "30", *words)
    assert said.code in (0, 1), said.err
    return said.code, [f["text"] for f in said.json["findings"]]


@pytest.mark.parametrize(
    "verify",
    [
        "def verify(refund, inputs): return refund.cents <= 50",
        "verify = lambda refund, inputs: None if refund.country in {'DE', 'FR'} else Reject('country')",
        "def verify(refund, inputs): return datetime.timedelta(cents=1) if False else refund.cents < 3",
        "class V:\n    def __call__(self, refund, inputs): return refund == inputs\nverify = V()",
        "def verify(refund, inputs): raise ValueError('no')",
    ],
)
def test_nothing_is_found_where_nothing_is(cli: Cli, folder: Path, verify: str) -> None:
    assert linted(cli, folder, verify) == (0, [])


@pytest.mark.parametrize(
    ("verify", "said"),
    [
        ("def verify(refund, inputs): return random.random() < 0.5", "random"),
        ("def verify(refund, inputs): return choose() < 0.5", "random"),
        ("def verify(refund, inputs): return refund.cents < time.time()", "depends on time"),
        ("def verify(refund, inputs): return datetime.datetime.now().year > 2020", "datetime.now"),
        ("def verify(refund, inputs):\n    import httpx\n    return True", "asks the network"),
        ("def verify(refund, inputs): return hash(refund.country) % 2 == 0", "hash()"),
        (
            "def verify(refund, inputs): return next(iter({'low', 'high'})) == 'low'",
            "depends on the process",
        ),
        (
            "def verify(refund, inputs):\n    CALLS.append(1)\n    return len(CALLS) < 9",
            "depends on the process",
        ),
        ("async def verify(refund, inputs): return True", "async"),
        ("def verify(refund, inputs): return 'fine'", "no verdict but str"),
    ],
)
def test_what_may_answer_otherwise_is_found(cli: Cli, folder: Path, verify: str, said: str) -> None:
    code, found = linted(cli, folder, verify)
    assert code == 1
    assert any(said in text for text in found), found


def test_a_net_that_is_another_one_each_time(cli: Cli, folder: Path) -> None:
    tail = TAIL.replace('"check"', "f'check {uuid.uuid4()}'")
    code, found = linted(cli, folder, "def verify(refund, inputs): return True", tail=tail)
    assert code == 1
    assert "the net itself" in found[0]


def test_people_are_told_what_to_do(cli: Cli, folder: Path) -> None:
    (folder / "refunds.py").write_text(HEAD + "def verify(r, i): return r.cents < 5" + TAIL, encoding="utf-8")
    said = cli("lint", "refunds.py", "--samples", "5")
    assert said.code == 0
    assert "SDB-3 is UNKNOWN" in said.out
    assert 'net.require(opaque("check", because=...))' in said.out
    said = cli("verify", "refunds.py", "--only", "SDB-3")
    assert said.code == 3
    assert "provenet lint" in said.out


def test_policies_need_no_lint(cli: Cli) -> None:
    said = cli("lint", "offers.py")
    assert said.code == 0
    assert "nothing to lint" in said.out


def test_a_verifier_that_cannot_be_run_is_told(cli: Cli, folder: Path) -> None:
    verify = "import os\ndef verify(refund, inputs): os._exit(7)"
    (folder / "refunds.py").write_text(HEAD + verify + TAIL, encoding="utf-8")
    said = cli("lint", "refunds.py")
    assert said.code == 2
    assert "could not be run" in said.err

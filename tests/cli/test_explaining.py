"""`provenet explain`."""

from __future__ import annotations

import re

import pytest

from provenet.verify.check import CATALOGUE
from provenet.verify.pages import ALIASES, page, titles
from provenet.verify.properties import user
from tests.cli.conftest import Cli


def test_every_property_has_a_page() -> None:
    assert {*CATALOGUE, *(p.id for p in user.CATALOGUE)} <= set(titles())


@pytest.mark.parametrize("name", [*titles(), *ALIASES])
def test_a_page_is_explained(cli: Cli, name: str) -> None:
    said = cli("explain", name.lower())
    found = page(name)
    assert said.code == 0
    assert said.out.splitlines()[0] == f"# {found.id} {found.title}"
    assert "<!--" not in said.out
    told = cli("explain", name, "--json").json
    assert told["id"] == ALIASES.get(name, name)
    assert list(told["sections"]) == [
        *("What it says", "Why it matters", "How it is proved", "A refutation", "How to mend it")
    ]
    assert all(told["sections"].values())


def test_without_a_name_all_are_listed(cli: Cli) -> None:
    said = cli("explain")
    # A long title goes on in a line that is indented further.
    assert re.findall(r"^  (\S+)", said.out, re.MULTILINE) == list(titles())
    assert [row["id"] for row in cli("explain", "--json").json] == list(titles())


def test_a_family_is_listed(cli: Cli) -> None:
    assert {row["id"] for row in cli("explain", "saga", "--json").json} == {
        each for each in titles() if each.startswith("SAGA-")
    }


@pytest.mark.parametrize("name", ["SBD-1", "sound", "", "../verdict"])
def test_an_unknown_name_lists_what_there_is(cli: Cli, name: str) -> None:
    said = cli("explain", name)
    assert said.code == 2
    assert repr(name) in said.err
    assert "there are: " in said.err
    assert "did you mean" in said.err or name in {"", "../verdict"}


def test_a_terminal_gets_it_rendered(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    said = cli("explain", "SDB-1")
    assert "\x1b[" in said.out
    assert "## What it says" not in said.out


def test_it_loads_neither_solver_nor_rich(shell: Cli) -> None:
    program = (
        "import sys; from provenet.cli.main import main\n"
        "main(['explain', 'SDB-1', '--json'])\n"
        "print(sorted({'z3', 'rich', 'provenet.visualize'} & set(sys.modules)))"
    )
    assert shell(code=program).out.splitlines()[-1] == "[]"

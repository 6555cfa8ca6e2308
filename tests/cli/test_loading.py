"""TARGET: what can be named, and what is said where it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli

QUICK = ("--only", "SDB-2")


def broken(folder: Path, text: str) -> Path:
    path = folder / "broken.py"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "target", ["offers.py", "offers.py:agent", "offers.py:build", "offers:agent", "./offers.py"]
)
def test_targets(cli: Cli, target: str) -> None:
    said = cli("verify", target, *QUICK, "--json")
    assert said.code == 0, said.err
    assert said.json["net"] == "offers"


def test_a_net_object_and_a_builder_object(cli: Cli, folder: Path) -> None:
    broken(folder, "import offers\nnet = offers.build().build()\nbuilder = offers.build()\n")
    hashes = {
        cli("verify", f"broken.py{which}", *QUICK, "--json").json["net_hash"]
        for which in ("", ":net", ":builder")
    }
    assert len(hashes) == 1


def test_json_and_pnml(cli: Cli, folder: Path) -> None:
    assert cli("export", "offers.py", "-o", "net.json").code == 0
    assert cli("verify", "net.json", *QUICK).code == 0
    assert cli("export", "offers.py", "-o", "net.pnml", "--skeleton").code == 0
    said = cli("verify", "net.pnml", "--only", "STATE-2", "--json")
    assert said.code in {0, 1}, said.err
    assert said.json["verdicts"][0]["property"] == "STATE-2"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("nonesuch.py", "there is no such file"),
        ("offer.py", 'did you mean "offers.py"?'),
        ("nonesuch.json", "there is no such file"),
        ("nonesuch.pnml", "there is no such file"),
        ("nonesuch.module:agent", "there is no module 'nonesuch'"),
        ("offers:agnt", 'did you mean "agent"?'),
        ("offers.py:agnt", 'did you mean "agent"?'),
        ("offers.py:propose", "takes arguments"),
        ("offers.py:LEDGER", "expected a Net, a NetBuilder or an Agent"),
        ("json", "name the attribute: json:NAME"),
        ("a b c", "is no target"),
        (".", "this is no target"),
    ],
)
def test_what_cannot_be_named(cli: Cli, target: str, expected: str) -> None:
    said = cli("verify", target)
    assert said.code == 2
    assert expected in said.err
    assert "Traceback" not in said.err
    told = cli("verify", target, "--json")
    assert told.code == told.json["exit_code"] == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = (1,\n", "broken.py:1"),
        ("\n\ndef build(:\n    pass\n", "broken.py:3  this is no Python"),
        ("import nonesuch_library\n", "broken.py:1  there is no module 'nonesuch_library'"),
        ("x = 1\nraise ValueError('too early')\n", "broken.py:2  ValueError: too early"),
        ("def build():\n    return [][1]\n", "broken.py:2  IndexError"),
        ("async def build():\n    return 1\n", "'build' is an async function"),
        ("async def build():\n    yield 1\n", "'build' is an async function"),
        ("import sys\nsys.exit(7)\n", "broken.py:2  the file ends the program"),
        ("from provenet import NetBuilder\nnet = NetBuilder('n')\nnet.place('a', object)\n", "broken.py:3"),
    ],
)
def test_mistakes_in_the_users_file_are_told_with_their_line(
    cli: Cli, folder: Path, text: str, expected: str
) -> None:
    broken(folder, text)
    said = cli("verify", "broken.py")
    assert said.code == 2
    assert expected in said.err
    assert "Traceback" not in said.err
    assert "Warning" not in said.err


def test_a_net_with_mistakes_is_told_all_of_them(cli: Cli, folder: Path) -> None:
    broken(
        folder,
        "from provenet import NetBuilder\n"
        "net = NetBuilder('n')\n"
        "a = net.place('a')\n"
        "net.route('one', takes={'x': 'b'}, puts={a: None})\n"
        "net.route('two', takes={'x': 'c'}, puts={a: None})\n",
    )
    said = cli("verify", "broken.py")
    assert said.code == 2
    assert "broken.py:4" in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("net.require(never(effect='pay', of=Pay, where=lambda p: p.cents > 3))", "there are: payload"),
        ("net.event('e', event='e', takes={'p': a}, brings=Pay, puts={a: 'p'})", 'brings={"note": Note}'),
        ("scripted(lambda request: None)", "function(...) asks a function"),
        ("scripted('paid')", "give it a list of answers"),
    ],
)
def test_what_newcomers_write_is_named_with_its_line_and_a_way_out(
    cli: Cli, folder: Path, line: str, said: str
) -> None:
    broken(
        folder,
        "from provenet import NetBuilder, Token, never, scripted\n"
        "class Pay(Token):\n    cents: int\n"
        "net = NetBuilder('n')\n"
        "a = net.entry('a', Pay)\n" + line + "\n",
    )
    found = cli("verify", "broken.py")
    assert found.code == 2
    assert "broken.py:6" in found.err
    assert said in found.err


def test_what_the_users_file_prints_does_not_spoil_json(cli: Cli, folder: Path) -> None:
    broken(folder, "print('hello')\nfrom offers import agent\n")
    said = cli("verify", "broken.py", *QUICK, "--json")
    assert said.json["net"] == "offers"
    assert "hello" in said.err


@pytest.mark.parametrize("text", ["{", "[]", '{"format": "something else"}', "null", '{"a": ' * 5000])
def test_broken_json_nets(cli: Cli, folder: Path, text: str) -> None:
    (folder / "net.json").write_text(text, encoding="utf-8")
    said = cli("verify", "net.json")
    assert said.code == 2
    assert "net.json" in said.err
    assert "bug" not in said.err


def test_a_pnml_bomb(cli: Cli, folder: Path) -> None:
    entities = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    (folder / "net.pnml").write_text(
        f'<!DOCTYPE pnml [<!ENTITY a0 "ha">{entities}]><pnml><net id="n">&a11;</net></pnml>', encoding="utf-8"
    )
    said = cli("verify", "net.pnml")
    assert said.code == 2
    assert "net.pnml" in said.err
    assert "bug" not in said.err


def test_a_net_without_handlers_verifies_and_does_not_deploy(cli: Cli, folder: Path) -> None:
    cli("export", "offers.py", "-o", "net.json")
    said = cli("deploy", "net.json", "--db", "x.db", "--json")
    assert said.code == 1
    assert any("bound to nothing" in r for r in said.json["error"]["reasons"])
    assert json.dumps(said.json)

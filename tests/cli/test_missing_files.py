"""A file that is not there is bad input, exit code 2, and is named: in every command, whatever it reads.

The commands are asked for what they take, so that a new one, or a new option, is here without being listed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from provenet.cli.main import make_app
from provenet.engine import Reader
from tests.cli.conftest import Cli

NAMED = {
    **dict.fromkeys(("TARGET", "[TARGET]", "TARGET...", "NET", "OLD", "NEW", "--agent"), "gone.py"),
    **dict.fromkeys(("FILE", "[FILE]...", "DIR"), "gone"),
    "--db": "gone.db",
    "--token": "@gone",
    "--access": "gone.toml",
}
"""How a missing file is named, by what a command calls the parameter; ``gone.json`` where it is any path."""

WRITTEN = {
    *(("demo", "--out"), ("check-certificate", "--obligations"), ("simulate", "--out")),
    *(("verify", o) for o in ("--out", "--certificates", "--html", "--sarif", "--junit", "--write-baseline")),
    *(
        ("render", "-o"),
        ("export", "-o"),
        ("prune", "--export"),
        ("token keygen", "FILE"),
        ("keys new", "FILE"),
        ("advise", "--write"),
        ("advise", "--draw"),
        ("replay", "--plot"),
        ("reliability", "--plot"),
    ),
    *(("deploy", "--db"), ("run", "--db"), ("run", "--log")),
}
"""What a command makes where it is not there."""

SAID: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("TARGET", "TARGET...", "NET", "OLD", "NEW"), ("offers.py",)),
    "FILE": ("certificates/offers.certificate.json",),
    "CASE": ("bert",),
    "EXAMINATION": ("OneSafe",),
    "NAME": ("dana",),
    "effect": ("crm.publish",),
    "[CASE] EVENT [JSON]": ("bert", "correct"),
    "-o": ("-o", "out.svg"),
    "--at": ("--at", "1"),
    "--to": ("--to", "sim.db"),
    "--net": ("--net", "OLDER", "offers"),
    "--reason": ("--reason", "why"),
    "--role": ("--role", "lead"),
    "--db": ("--db", "x.db"),
    "--token": ("--token", "some"),
    "--access": ("--access", "rules.toml"),
}
"""What is given for everything else that a command must have."""

MORE: dict[str, tuple[tuple[str, ...], ...]] = {
    **dict.fromkeys(("approve", "reject"), (("--as", "dana@pricing"),)),
    "delegate": (("--as", "dana@pricing"), ("--to", "erin@legal")),
    "settle": (("--as", "dana@pricing"), ("--failed", "no")),
    "kill": (("bert",), ("--as", "dana")),
    "erase": (("bert",), ("--as", "dana")),
    "export": (("-o", "out.json"),),
    "prune": (("--ended", "done=0d"),),
    "top": (("--once",),),
    "token issue": (("--key", "ops.pem"),),
    "keys show": (("--keys", "master.keys"),),
    "keys rotate": (("--keys", "master.keys"),),
}
"""What a command wants besides, to get as far as to its file."""


def commands(at: Any, *path: str) -> Iterator[tuple[str, Any]]:
    below = getattr(at, "commands", None)
    if below is None:
        yield " ".join(path), at
    else:
        for name, command in below.items():
            yield from commands(command, *path, name)


def called(parameter: Any) -> str:
    """What a user calls a parameter."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name)
    return str(parameter.opts[-1])


def reads(parameter: Any) -> bool:
    """Whether it names a file, or a folder; all of ours that do are paths, or are called alike."""
    said = {called(parameter), parameter.metavar}
    return "Path" in str(parameter.type_descriptor.annotation) or not said.isdisjoint(NAMED)


FOUND = dict(commands(get_command(make_app())))
READ = [
    (c, called(p)) for c, it in FOUND.items() for p in it.params if reads(p) and (c, called(p)) not in WRITTEN
]


def test_the_list_of_what_is_written_is_true() -> None:
    assert {(c, called(p)) for c, it in FOUND.items() for p in it.params if reads(p)} >= WRITTEN
    assert {command for command, _ in READ} >= {"demo", "verify", "run", "approve", "audit", "token issue"}


def words(command: str, missing: str) -> list[str]:
    """A command with everything that it must have, but for one file."""
    gone = NAMED.get(missing, "gone.json")
    said = [*command.split()]
    for parameter in FOUND[command].params:
        name = called(parameter)
        if name == missing:
            said += [name, gone] if name.startswith("-") else [gone]
        elif parameter.required:
            said += SAID[name]
    return said + [w for more in MORE.get(command, ()) if more[0] != missing for w in more]


def with_two_versions(cli: Cli, folder: Path, given: list[str]) -> list[str]:
    text = (folder / "offers.py").read_text(encoding="utf-8").replace("limit: int = 30", "limit: int = 20")
    (folder / "newer.py").write_text(text, encoding="utf-8")
    older = str(Reader("x.db").nets()[0]["hash"])
    assert cli("deploy", "newer.py", "--db", "x.db").code == 0
    return [older if w == "OLDER" else w for w in given]


def after(*said: str) -> Callable[[Cli, Path, list[str]], list[str]]:
    def run(cli: Cli, folder: Path, given: list[str]) -> list[str]:
        assert cli(*said).code == 0
        return given

    return run


BEFORE: dict[str, Callable[[Cli, Path, list[str]], list[str]]] = {
    "migrate": with_two_versions,
    "check-certificate": after("verify", "offers.py", "--only", "SDB-2", "--certificates", "certificates"),
    "token issue": after("token", "keygen", "ops.pem"),
    **dict.fromkeys(("keys show", "keys rotate"), after("keys", "new", "master.keys")),
}
"""What has to be there first."""


@pytest.mark.parametrize(("command", "missing"), READ, ids=[" ".join(each) for each in READ])
def test_a_missing_file_is_bad_input(
    cli: Cli, ran: Path, command: str, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("PROVENET_TOKEN", "PROVENET_ACCESS", "PROVENET_KEYS", "PROVENET_KEYS_FILE"):
        monkeypatch.delenv(variable, raising=False)
    (ran / "rules.toml").touch()
    given = words(command, missing)
    if command in BEFORE:
        given = BEFORE[command](cli, ran, given)
    said = cli(*given)
    assert said.code == 2, said.err
    assert "gone" in said.err
    assert "bug" not in said.err
    assert not [*ran.glob("gone*")]

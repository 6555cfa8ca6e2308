"""The command line as a whole: help, version, exit codes, speed, and what is loaded when."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import provenet
from provenet.cli import main, printing
from provenet.nets.errors import Mistake, NetError, ProvenetError
from tests.cli.conftest import Cli

COMMANDS = (
    *("demo", "verify", "render", "simulate", "deploy", "run", "cases", "case", "log", "tasks", "approve"),
    *("reject", "signal", "kill", "audit", "export", "explain", "lint"),
)


def test_help_names_every_command(cli: Cli) -> None:
    said = cli("--help")
    assert said.code == 0
    listed = {line.split()[0] for line in said.out.splitlines() if line.startswith("  ") and line.split()}
    assert set(COMMANDS) <= listed
    assert "0 proved or done, 1 refuted" in said.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_json(cli: Cli, command: str) -> None:
    said = cli(command, "--help")
    assert said.code == 0
    assert "--json" in said.out


def test_version(cli: Cli) -> None:
    said = cli("--version")
    assert (said.code, said.out) == (0, f"provenet {provenet.__version__}\n")


def test_usage_errors_are_2_and_say_so(cli: Cli) -> None:
    said = cli("verfy")
    assert said.code == 2
    assert "verify" in said.err
    assert cli("verify").code == 2
    assert cli("verify", "offers.py", "--nonesuch").code == 2


@pytest.mark.parametrize("module", main.COMMANDS)
def test_a_command_is_found_in_its_module_alone(module: str) -> None:
    names = main.COMMANDS[module]
    for words in ([names[0], "--help"], [names[-1]]):
        app = main.make_app(words)
        found = [c.name for c in app.registered_commands] + [g.name for g in app.registered_groups]
        assert found == list(names)
    every = main.make_app(["verfy"])
    assert len(every.registered_commands) + len(every.registered_groups) == sum(
        map(len, main.COMMANDS.values())
    )


def test_help_loads_nothing_heavy(shell: Cli) -> None:
    program = (
        "import sys, json; from provenet.cli.main import main\n"
        "code = main(['--help']); print(json.dumps([code, sorted(sys.modules)]))"
    )
    code, modules = json.loads(shell(code=program).out.splitlines()[-1])
    heavy = {"asyncio", "litellm", "networkx", "pydantic", "rich", "sqlalchemy", "sqlmodel", "z3"}
    assert code == 0
    assert not heavy & set(modules)


@pytest.mark.parametrize("target", ["offers.py", "provenet.examples.contract_renewal:agent"])
def test_verify_loads_no_database_no_proposer_and_no_pictures(shell: Cli, target: str) -> None:
    program = (
        "import sys, json; from provenet.cli.main import main\n"
        f"code = main(['verify', {target!r}]); print(json.dumps([code, sorted(sys.modules)]))"
    )
    code, modules = json.loads(shell(code=program).out.splitlines()[-1])
    heavy = {
        "asyncio",
        "graphviz",
        "httpx",
        "litellm",
        "matplotlib",
        "networkx",
        "numba",
        "numpy",
        "reportlab",
    }
    heavy |= {"rich", "snakes", "sqlalchemy", "sqlite3", "sqlmodel", "ssl"}
    ours = {"provenet.engine", "provenet.visualize", "provenet.sdb.proposers.language_model"}
    assert code == 0
    assert not (heavy | ours) & set(modules)
    others = [name for name in main.COMMANDS if f"provenet.cli.{name}" in modules]
    assert set(others) <= {"proving", "verifying"}


def test_the_script_and_the_module_are_one(shell: Cli) -> None:
    said = shell("--version")
    assert (said.code, said.out.strip()) == (0, f"provenet {provenet.__version__}")


def test_a_bug_of_ours_is_told_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    error = ZeroDivisionError("division by zero")
    assert printing.explain(error, as_json=False) == 1
    said = capsys.readouterr().err
    assert "provenet has a bug: ZeroDivisionError: division by zero" in said
    assert "PROVENET_DEBUG=1" in said
    assert "Traceback" not in said


def test_debug_shows_the_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROVENET_DEBUG", "1")
    try:
        _ = 1 // 0
    except ZeroDivisionError as error:
        printing.explain(error, as_json=False)
    assert "Traceback" in capsys.readouterr().err


def test_a_net_with_mistakes_lists_them_all() -> None:
    error = NetError(
        "renewal",
        [Mistake("PN104", "a.py:41", "no place", "did you mean x?"), Mistake("SD207", "a.py:52", "no undo")],
    )
    text = printing.error_text(error)
    assert text.splitlines() == [
        "a.py:41  PN104  no place",
        "    did you mean x?",
        "a.py:52  SD207  no undo",
        "2 mistakes; nothing was verified.",
    ]


def test_errors_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    code = printing.explain(ProvenetError("wrong", where="here", hint="mend it", code="XX1"), as_json=True)
    assert code == 2
    told = json.loads(capsys.readouterr().out)
    assert told == {
        "error": {"code": "XX1", "message": "wrong", "where": "here", "hint": "mend it"},
        "exit_code": 2,
    }


def test_a_full_output_pipe_is_no_bug(shell: Cli) -> None:
    program = (
        "import subprocess, sys\n"
        "p = subprocess.Popen([sys.executable, '-m', 'provenet', 'export', 'offers.py'],"
        " stdout=subprocess.PIPE, stderr=subprocess.PIPE)\n"
        "p.stdout.close(); print(p.stderr.read().decode()); p.wait()"
    )
    assert "Traceback" not in shell(code=program).out


def test_short_values() -> None:
    assert printing.short_value({"a": 1, "b": ["x", None], "c": True}) == '{a: 1, b: ["x", null], c: true}'
    assert len(printing.short_value("x" * 500)) == 100


def test_this_suite_has_no_copy_of_the_agent_on_its_path() -> None:
    assert "offers" not in sys.modules
    assert not (Path.cwd() / "offers.py").exists()

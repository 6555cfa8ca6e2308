"""Running `provenet` in this process, and as a process of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from provenet.cli.main import main

AGENTS = Path(__file__).parent / "agents"

ROWS = "id,wants\nanna,10\nbert,35\ncleo,70\ndora,40\n"


@dataclass(frozen=True)
class Said:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as the one JSON document that it must be."""
        return json.loads(self.out)


Cli = Callable[..., Said]


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal in which nothing is wrapped, wherever the tests run; tests of the layout set their own."""
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder that has a copy of the small agent."""
    (tmp_path / "offers.py").write_text((AGENTS / "offers.py").read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PROVENET_DEBUG", raising=False)
    monkeypatch.delenv("PROVENET_DB", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.fixture
def cli(folder: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    """A command in this process."""
    loaded = set(sys.modules)

    def run(*words: object) -> Said:
        capsys.readouterr()
        code = main([str(w) for w in words])
        said = capsys.readouterr()
        for name in ("offers", "broken"):
            if name not in loaded:
                sys.modules.pop(name, None)
        return Said(code, said.out, said.err)

    return run


@pytest.fixture
def shell(folder: Path) -> Cli:
    """A command as users run it: a process of its own."""

    def run(*words: object, code: str = "") -> Said:
        command = [sys.executable, "-m", "provenet", *map(str, words)]
        if code:
            command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
        return Said(done.returncode, done.stdout, done.stderr)

    return run


def ledger(folder: Path) -> list[str]:
    """What the small agent's effects have written, sorted."""
    path = folder / "ledger.txt"
    return sorted(path.read_text(encoding="utf-8").splitlines()) if path.exists() else []


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four cases: one published, three waiting for a person."""
    folder = tmp_path_factory.mktemp("once")
    shutil.copy(AGENTS / "offers.py", folder)
    (folder / "in.csv").write_text(ROWS, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "provenet",
        "run",
        "offers.py",
        "--db",
        "x.db",
        "--input",
        "in.csv",
        "--json",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["statuses"] == {"done": 1, "waiting": 3}
    assert ledger(folder) == ["publish anna 10"]
    return folder


@pytest.fixture
def ran(once: Path, folder: Path) -> Path:
    """A copy of that folder for each test."""
    for name in ("in.csv", "x.db", "ledger.txt"):
        shutil.copy(once / name, folder)
    return folder

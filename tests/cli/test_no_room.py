"""A disk without room: the same exit code whatever was to be written, and no traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cli

FULL = Path("/dev/full")
pytestmark = pytest.mark.skipif(not FULL.is_char_device(), reason="this system has no /dev/full")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.svg", ("render", "offers.py", "-o", "a.svg")),
        ("a.png", ("render", "offers.py", "-o", "a.png")),
        ("net.json", ("export", "offers.py", "-o", "net.json")),
        ("out/report.json", ("verify", "offers.py", "--only", "SDB-2", "--out", "out")),
    ],
)
def test_no_room_is_a_failure_and_no_misuse(
    cli: Cli, folder: Path, name: str, words: tuple[str, ...]
) -> None:
    target = folder / name
    target.parent.mkdir(exist_ok=True)
    target.symlink_to(FULL)
    said = cli(*words)
    assert said.code == 1
    assert "No space left on device" in said.err
    assert Path(name).name in said.err


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_output_without_room_is_told(folder: Path, more: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "provenet", "verify", "offers.py", "--only", "SDB-2", *more]
    with FULL.open("w") as full:
        done = subprocess.run(
            command, cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=120
        )
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 1

"""The demo: whole, in an empty folder, killed and gone on with."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "provenet", "demo"]


def demo(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words], cwd=folder, capture_output=True, text=True, check=False, timeout=280
    )


def test_a_small_demo_is_clean_and_keeps_its_findings(tmp_path: Path) -> None:
    done = demo(tmp_path, "--limit", "40", "--out", "kept", "--json")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    report = json.loads(done.stdout)
    assert report["clean"]
    assert report["cases"] == 40
    assert report["ledger"] == {
        "matched": report["ledger"]["matched"],
        "lost": 0,
        "doubled": 0,
        "unexpected": 0,
        "details": None,
    }
    assert report["ledger"]["matched"] == sum(report["effects"].values()) > 40
    assert report["left_standing"] == 0
    assert report["audit"]["clean"]
    assert set(report["verdicts"]) == {"PROVED"}
    assert report["broken"]["verdicts"]["REFUTED"] == 1
    assert sum(report["rejects"].values()) > 0
    assert report["as_expected"] >= 30
    kept = {p.name for p in (tmp_path / "kept").iterdir()}
    assert {
        "renewals.db",
        "outside.db",
        "report.json",
        "demo-report.json",
        "demo-report.md",
        "broken",
    } <= kept
    assert "contract-renewal.svg" in kept
    assert "## Outcomes against expected paths" in (tmp_path / "kept" / "demo-report.md").read_text(
        encoding="utf-8"
    )


def test_without_out_nothing_is_left_behind(tmp_path: Path) -> None:
    done = demo(tmp_path, "--limit", "3")
    assert done.returncode == 0, done.stderr
    assert "All is well." in done.stdout
    assert "REFUTED" in done.stdout
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_killed_and_gone_on_with_it_loses_and_doubles_nothing(tmp_path: Path) -> None:
    words = ("--limit", "60", "--seed", "7", "--out", "kept", "--json")
    process = subprocess.Popen(
        [*COMMAND, *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    until = time.monotonic() + 120
    while _effects(tmp_path / "kept" / "renewals.db") < 60:
        assert process.poll() is None, "the demo ended before it was killed"
        assert time.monotonic() < until
        time.sleep(0.02)
    process.kill()
    process.communicate()
    done = demo(tmp_path, *words)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    report = json.loads(done.stdout)
    assert report["clean"]
    assert report["cases"] == 60
    assert report["audit"]["problems"] == []


def test_another_demo_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "renewals.db").write_bytes(b"something")
    done = demo(tmp_path, "--limit", "2", "--out", "kept")
    assert done.returncode == 2
    assert "the folder holds another run" in done.stderr


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("nonesuch.csv", None, "nonesuch.csv"),
        ("empty.csv", b"", "empty"),
        ("other.csv", b"a,b\n1,2\n", "other.csv"),
        ("binary.csv", bytes(range(256)) * 10, "binary.csv"),
    ],
)
def test_customer_files_that_cannot_be_read(
    tmp_path: Path, name: str, content: bytes | None, expected: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    done = demo(tmp_path, "--customers", name)
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def _effects(database: Path) -> int:
    if not database.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
            return int(
                db.execute("SELECT count(*) FROM provenet_effect WHERE state = 'performed'").fetchone()[0]
            )
    except sqlite3.Error:
        return 0

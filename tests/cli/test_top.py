"""`provenet top`, and `provenet run --metrics --log`."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

from provenet.engine import Reader
from tests.cli.conftest import AGENTS, Cli

ROWS = "id,wants\nanna,10\nbert,35\ncleo,70\ndora,40\n"


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four cases: one published, three waiting for a person; logged."""
    folder = tmp_path_factory.mktemp("once")
    shutil.copy(AGENTS / "offers.py", folder)
    (folder / "in.csv").write_text(ROWS, encoding="utf-8")
    command = [sys.executable, "-m", "provenet", "run", "offers.py", "--db", "x.db", "--input", "in.csv"]
    command += ["--log", "log.jsonl", "--log-level", "debug"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def ran(once: Path, folder: Path) -> Path:
    """A copy of that folder for each test."""
    for name in ("in.csv", "x.db", "log.jsonl"):
        shutil.copy(once / name, folder)
    return folder


def test_versions_of_unfinished_cases_and_who_holds_them(ran: Path) -> None:
    with closing(sqlite3.connect(ran / "x.db")) as db, db:
        for number, ended in ((98, 1), (99, 0)):
            statement = "INSERT INTO provenet_worker (no, name, ended, attends) VALUES (?, 'w', ?, 1)"
            db.execute(statement, (number, ended))
        db.execute("UPDATE provenet_case SET owner = 98 WHERE id = 'cleo'")
        db.execute("UPDATE provenet_case SET owner = 99 WHERE id IN ('anna', 'bert')")
    (found,) = Reader(ran / "x.db").open_versions()
    assert (found["net"], found["latest"], found["cases"], found["held"]) == ("offers", True, 3, 1)


def test_a_snapshot_says_what_the_database_says(cli: Cli, ran: Path) -> None:
    cli("kill", "--net", "offers", "--as", "boss", "--reason", "enough", "--release", "--db", "x.db")
    with closing(sqlite3.connect(ran / "x.db")) as db:
        spent = db.execute("SELECT COUNT(*) FROM provenet_proposal").fetchone()[0]
        opened = db.execute("SELECT MIN(opened) FROM provenet_task WHERE status = 'open'").fetchone()[0]
    now = cli("top", "--db", "x.db", "--json").json
    assert now["statuses"] == {"done": 1, "waiting": 3}
    assert (now["nets"], now["clock"], now["open_tasks"]) == ({"offers": 3}, "real", 3)
    assert now["oldest"]["task"] == "approve offer"
    assert now["oldest"]["role"] == "pricing"
    assert abs(now["oldest"]["seconds"] - (time.time() - opened / 1e6)) < 5
    assert sum(s["proposals"] for s in now["spent"]) == spent
    assert now["stuck"] == []
    assert now["switches"] == []
    assert (now["started_per_minute"], now["ended_per_minute"]) in {(4, 1), (0, 0)}


def test_text_names_what_wants_attention(cli: Cli, ran: Path) -> None:
    assert cli("kill", "--net", "offers", "--as", "boss", "--reason", "enough", "--db", "x.db").code == 0
    with closing(sqlite3.connect(ran / "x.db")) as db:
        db.execute(
            "UPDATE provenet_case SET status = 'parked', reason = ? WHERE id IN ('bert', 'cleo')",
            ("the CRM is away\x1b[2J\nprovenet: all is well" + "!" * 500,),
        )
        db.commit()
    said = cli("top", "--db", "x.db", "--once")
    assert said.code == 0
    assert re.search(r"KILLED net offers since .* by boss: enough", said.out)
    assert "2 cases parked, bert for one:" in said.out
    # What a database holds is shown, and never obeyed.
    assert "\x1b" not in said.out
    assert "\nprovenet: all is well" not in said.out
    assert max(map(len, said.out.splitlines())) < 200


def test_top_refuses_as_other_commands_do(cli: Cli, folder: Path) -> None:
    said = cli("top", "--db", "none.db", "--once")
    assert (said.code, "there is no such database" in said.err) == (1, True) or said.code == 2
    (folder / "bad.db").write_bytes(b"SQLite format 3\0" + b"x" * 4096)
    broken = cli("top", "--db", "bad.db", "--once")
    assert broken.code in {1, 2}
    assert "Traceback" not in broken.err


def test_a_damaged_value_is_told_as_such(cli: Cli, ran: Path) -> None:
    with closing(sqlite3.connect(ran / "x.db")) as db:
        db.execute("UPDATE provenet_task SET opened = 'long ago' WHERE status = 'open'")
        db.commit()
    said = cli("top", "--db", "x.db", "--once")
    assert said.code in {1, 2}
    assert "damaged" in said.err
    assert "Traceback" not in said.err


def test_a_run_logs_what_happened(ran: Path) -> None:
    lines = [json.loads(x) for x in (ran / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    with closing(sqlite3.connect(ran / "x.db")) as db:
        fired = db.execute(
            "SELECT c.id, e.seq FROM provenet_event e JOIN provenet_case c ON c.no = e.case_no"
            " WHERE e.kind = 'fire'"
        ).fetchall()
    assert sorted((x["case"], x["seq"]) for x in lines if x["event"] == "fired") == sorted(fired)
    assert [x["event"] for x in lines[:1] + lines[-1:]] == ["engine opened", "engine stopped"]


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_serving_run_answers_scrapes(ran: Path) -> None:
    command = [sys.executable, "-m", "provenet", "run", "offers.py", "--db", "x.db", "--serve"]
    # Port 0 lets the system choose; the log says nothing of it, so a free one is looked for first.
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [*command, "--metrics", f"127.0.0.1:{port}"], cwd=ran, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        until, found = time.monotonic() + 60, ""
        while time.monotonic() < until and 'provenet_cases_held{status="waiting"} 3.0' not in found:
            assert process.poll() is None, process.communicate()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                    found = answer.read().decode()
            except OSError:
                time.sleep(0.1)
        assert 'provenet_cases_held{status="waiting"} 3.0' in found
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--metrics", "nowhere"), "no address"),
        (("--metrics", "127.0.0.1:99999"), "no address"),
        (("--metrics", "256.1.1.1:9464"), "cannot be served"),
        (("--log", "no/such/folder/log"), "log cannot be written"),
        (("--log", "log", "--log-level", "loud"), "there are: debug, info, warning"),
    ],
)
def test_refusals(cli: Cli, ran: Path, words: tuple[str, ...], expected: str) -> None:
    said = cli("run", "offers.py", "--db", "x.db", *words)
    assert said.code in {1, 2}
    assert expected in said.err


def test_live_on_a_terminal_until_stopped(ran: Path) -> None:
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "provenet", "top", "--db", "x.db", "--every", "0.1"],
        cwd=ran,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"},
    )
    os.close(follower)
    seen, until = b"", time.monotonic() + 60
    while b"decisions open" not in seen and time.monotonic() < until:
        seen += os.read(leader, 4096)
    assert b"4 cases: 1 done, 3 waiting" in seen
    process.send_signal(signal.SIGINT)
    try:
        while os.read(leader, 4096):
            pass
    except OSError:
        pass  # the terminal's other end is closed
    assert process.wait(timeout=60) == 0
    os.close(leader)

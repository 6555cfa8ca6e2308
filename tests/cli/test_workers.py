"""`provenet run --workers`: cases of a PostgreSQL database, run by several processes until told to stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psycopg
import pytest

from provenet.engine import Reader, audit
from provenet.engine.errors import StoreError
from tests.cli.conftest import Cli
from tests.support.postgres import serving
from tests.support.temporal import free_port

pytestmark = pytest.mark.postgres

AGENT = """
from provenet import Agent, Contract, Effect, NetBuilder, Token, within

class Wish(Token):
    id: str
    n: int

net = NetBuilder("wishes")
asked, granted, refused = net.entry("asked", Wish), net.final("granted", Wish), net.final("refused", Wish)
net.add(Contract("grant", takes=asked, verify=within(Wish, lambda w: w.n <= 7, name="seven"),
    commit=Effect("grant", lambda request: None, payload=Wish), gives=granted, otherwise=refused))
agent = Agent.of(net)
"""


@pytest.fixture
def folder_of_wishes(tmp_path: Path) -> Path:
    (tmp_path / "wishes.py").write_text(AGENT, encoding="utf-8")
    (tmp_path / "in.csv").write_text(
        "id,n\n" + "".join(f"w{i},{i % 10}\n" for i in range(40)), encoding="utf-8"
    )
    return tmp_path


def test_workers_run_what_was_started_until_they_are_told_to_stop(folder_of_wishes: Path) -> None:
    with serving() as server:
        database, port = server.database(), free_port()
        words = ["run", "wishes.py", "--db", database, "--input", "in.csv", "--serve", "--workers", "2"]
        words += ["--metrics", str(port), "--log", "log.jsonl", "--log-level", "debug"]
        process = subprocess.Popen(
            [sys.executable, "-m", "provenet", *words],
            cwd=folder_of_wishes,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        until = time.monotonic() + 90
        while not _done(database):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until
            time.sleep(0.2)
        with psycopg.connect(database) as connection:
            ((fired,),) = connection.execute("SELECT COUNT(*) FROM provenet_event WHERE kind = 'fire'")
        expected = {"provenet_cases_started": 40.0, "provenet_cases_ended": 40.0, "provenet_firings": fired}
        while (counted := _counted(port)) != expected:
            assert time.monotonic() < until, counted
            time.sleep(0.1)
        # One dies: what it has counted stays counted, and its place is taken.
        victim = _workers(process.pid)[0]
        os.kill(victim, signal.SIGKILL)
        while len(now := _workers(process.pid)) < 2 or victim in now:
            assert time.monotonic() < until
            assert _counted(port) == expected
            time.sleep(0.1)
        time.sleep(1)
        assert _counted(port) == expected
        process.send_signal(signal.SIGTERM)
        said, wrong = process.communicate(timeout=60)
        assert process.returncode == 0, wrong
        assert "started 40 cases" in said
        assert "40 cases: 40 done" in said
        assert "started again" in wrong
        assert "Traceback" not in wrong
        assert audit(database).clean
    lines = [json.loads(x) for x in (folder_of_wishes / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sum(x["event"] == "fired" for x in lines) == fired
    assert {x.get("worker") for x in lines} == {None, 0, 1}


def _counted(port: int) -> dict[str, float]:
    """The sums of some counters."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    names = ("provenet_cases_started", "provenet_cases_ended", "provenet_firings")
    return {
        name: sum(float(x.split()[-1]) for x in text.splitlines() if x.startswith(f"{name}_total"))
        for name in names
    }


def _workers(pid: int) -> list[int]:
    """The worker processes of a supervisor."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def _done(database: str) -> bool:
    try:
        return Reader(database).counts() == {"done": 40}
    except StoreError:
        return False


def test_several_workers_need_a_server_and_no_end(cli: Cli, tmp_path: Path) -> None:
    for words, expected in (
        (["--db", "x.db", "--serve"], "one process runs cases on a file"),
        (["--db", "postgresql://127.0.0.1:1/x"], "add --serve"),
    ):
        said = cli("run", "wishes.py", *words, "--workers", "2")
        assert said.code == 2
        assert expected in said.err


@pytest.mark.parametrize(
    ("on", "database", "expected"),
    [
        ("celery", "x.db", "there is no dispatcher 'celery'"),
        ("temporal://host/a/b", "x.db", "names no Temporal server"),
        ("temporal://host:port", "x.db", "names no Temporal server"),
        ("temporal://127.0.0.1:1", "x.db", "no Temporal server answers"),
        ("dbos", "x.db", "keeps its queue in PostgreSQL"),
    ],
)
def test_a_dispatcher_that_is_not_there(
    cli: Cli, folder_of_wishes: Path, on: str, database: str, expected: str
) -> None:
    said = cli("run", "wishes.py", "--db", database, "--input", "in.csv", "--id", "id", "--on", on)
    assert said.code != 0
    assert expected in said.err
    assert "Traceback" not in said.err

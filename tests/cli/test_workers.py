"""`provenet run --workers`: cases of a PostgreSQL database, run by several processes until told to stop."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from provenet.engine import Reader, audit
from provenet.engine.errors import StoreError
from tests.cli.conftest import Cli
from tests.support.postgres import serving

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


def test_workers_run_what_was_started_until_they_are_told_to_stop(tmp_path: Path) -> None:
    (tmp_path / "wishes.py").write_text(AGENT, encoding="utf-8")
    (tmp_path / "in.csv").write_text(
        "id,n\n" + "".join(f"w{i},{i % 10}\n" for i in range(40)), encoding="utf-8"
    )
    with serving() as server:
        database = server.database()
        words = ["run", "wishes.py", "--db", database, "--input", "in.csv", "--serve", "--workers", "2"]
        process = subprocess.Popen(
            [sys.executable, "-m", "provenet", *words],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        until = time.monotonic() + 90
        while not _done(database):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        said, wrong = process.communicate(timeout=60)
        assert process.returncode == 0, wrong
        assert "40 cases: 40 done" in said
        assert audit(database).clean


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

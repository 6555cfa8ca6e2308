"""Ctrl-C: the work ends in good order, the exit code says so, and running it again goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, ledger

pytestmark = pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")

SLOW = """\
import asyncio, pathlib
import offers
from provenet.sdb.handlers import Agent

OFFERS = offers.agent()

class Slow:
    async def propose(self, request):
        pathlib.Path("asked").touch()
        if not pathlib.Path("quick").exists():
            await asyncio.sleep(60)
        return await OFFERS.handlers[HANDLER].propose(request)

HANDLER = next(n for n, h in OFFERS.handlers.items() if hasattr(h, "propose"))
agent = Agent(OFFERS.net, {**OFFERS.handlers, HANDLER: Slow()})
"""


def stopped(folder: Path, words: list[str], sign: Path, number: signal.Signals) -> tuple[int, str, str]:
    """A command's end, when it is stopped as soon as a file is there."""
    process = subprocess.Popen(
        [sys.executable, "-m", "provenet", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A parent that runs in the background may have told its children to ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )
    until = time.monotonic() + 60
    while not sign.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_says_so_and_goes_on(cli: Cli, folder: Path, number: signal.Signals, code: int) -> None:
    (folder / "slow.py").write_text(SLOW, encoding="utf-8")
    (folder / "in.csv").write_text("id,wants\nanna,10\n", encoding="utf-8")
    words = ["run", "slow.py", "--db", "x.db", "--input", "in.csv", "--json"]
    found, out, err = stopped(folder, words, folder / "asked", number)
    assert found == code, err
    assert json.loads(out)["stopped"] is True
    assert err == "stopped; what was committed is kept, running it again goes on\n"
    assert cli("audit", "--db", "x.db").code == 0
    (folder / "quick").touch()
    again = cli("run", "slow.py", "--db", "x.db", "--json")
    assert (again.code, again.json["statuses"], again.json["stopped"]) == (0, {"done": 1}, False)
    assert ledger(folder) == ["publish anna 10"]


def test_what_is_stopped_while_it_proves_says_one_line(folder: Path) -> None:
    text = "import pathlib, time\npathlib.Path('loading').touch()\ntime.sleep(60)\n"
    (folder / "long.py").write_text(text, encoding="utf-8")
    found = stopped(folder, ["verify", "long.py"], folder / "loading", signal.SIGINT)
    assert found == (130, "", "stopped\n")

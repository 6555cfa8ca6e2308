"""Kill the process at any instant, start it again: no effect lost, none doubled, every log replays."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest

from provenet.engine import Reader, audit, faults
from tests.engine.orders import run
from tests.support.ledger import Ledger

ROOT = Path(__file__).resolve().parents[2]


@cache
def reference(cases: int) -> list[tuple[str, str, str]]:
    """The effects of an undisturbed run."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "expected.db")
        asyncio.run(run(":memory:", ledger, cases))
        assert ledger.calls() == len(ledger.effects())
        return ledger.effects()


class Workers:
    """Starts processes that may be killed (see ``crash_worker``)."""

    def __init__(self, scratch: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.engine.crash_worker", str(scratch)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self, database: Path, ledger: Path, cases: int, *, fault: str = "-", kill_after: float | None = None
    ) -> int:
        """Run one process to its end, or kill it after some seconds; its exit code."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{database} {ledger} {cases} {fault}\n")
        self._process.stdin.flush()
        child = int(self._process.stdout.readline())
        if kill_after is not None:
            time.sleep(kill_after)
            # Where it has ended meanwhile it is not reaped yet, or its id is not used again that soon.
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        return int(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        assert self._process.wait(30) == 0


def kill_often(tmp_path: Path, *, cases: int, kills: int, seed: int, longest: float) -> None:
    """Kill at fault points and at random times; when a run ends by itself, take a fresh database."""
    expected = reference(cases)
    rng = random.Random(seed)
    workers = Workers(tmp_path / "scratch.db")
    killed, rounds = 0, 0
    while killed < kills:
        rounds += 1
        database, ledger = tmp_path / f"cases{rounds}.db", tmp_path / f"ledger{rounds}.db"
        Ledger(ledger)
        code = -signal.SIGKILL
        while code == -signal.SIGKILL:
            at_point = rng.random() < 0.6
            if killed >= kills:
                code = workers.run(database, ledger, cases)
            elif at_point:
                fault = f"{rng.choice(PASSED)}:kill:{rng.randint(1, cases)}"
                code = workers.run(database, ledger, cases, fault=fault)
            else:
                code = workers.run(database, ledger, cases, kill_after=rng.uniform(0.0, longest))
            killed += code == -signal.SIGKILL
        assert code == 0
        # The outside has seen every effect exactly once, whatever was repeated.
        assert Ledger(ledger).effects() == expected
        assert Reader(database).counts() == {"done": cases}
        result = audit(database)
        assert result.clean, [str(p) for p in result.problems[:5]]
    workers.close()


PASSED = [p for p in faults.POINTS if p != "signal"]
"""Points that the run passes; it sends no events."""

posix = pytest.mark.skipif(sys.platform == "win32", reason="kills processes the POSIX way")


@posix
def test_twenty_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    kill_often(tmp_path, cases=20, kills=20, seed=1, longest=0.5)


@posix
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_two_hundred_kills_of_a_run_of_two_hundred_cases(tmp_path: Path) -> None:
    kill_often(tmp_path, cases=200, kills=200, seed=2, longest=2.0)


@pytest.mark.parametrize("point", faults.POINTS)
@pytest.mark.parametrize("nth", [1, 6])
def test_a_failure_at_every_point_is_survived(tmp_path: Path, point: str, nth: int) -> None:
    cases = 8
    expected = reference(cases)
    database, ledger = str(tmp_path / "cases.db"), Ledger(tmp_path / "ledger.db")
    faults.plan(f"{point}:raise:{nth}")
    try:
        # Points that this run passes fewer than n times, or never, let it end by itself.
        with suppress(faults.FaultInjected):
            asyncio.run(run(database, ledger, cases))
    finally:
        faults.plan(None)
    asyncio.run(run(database, ledger, cases))
    assert ledger.effects() == expected
    result = audit(database)
    assert result.clean, [str(p) for p in result.problems[:5]]
    assert result.cases == cases


def test_a_mistyped_fault_plan_is_refused() -> None:
    for text in ("nowhere:kill:1", "after-intent:explode:1", "after-intent:kill:x"):
        with pytest.raises(ValueError, match="expected POINT:ACTION:N"):
            faults.plan(text)

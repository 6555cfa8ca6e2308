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


def worker(database: Path, ledger: Path, cases: int, fault: str | None) -> subprocess.Popen[bytes]:
    environment = {k: v for k, v in os.environ.items() if k != "PROVENET_FAULT"}
    if fault is not None:
        environment["PROVENET_FAULT"] = fault
    return subprocess.Popen(
        [sys.executable, "-m", "tests.engine.crash_worker", str(database), str(ledger), str(cases)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def kill_often(tmp_path: Path, *, cases: int, kills: int, seed: int) -> None:
    """Kill at fault points and at random times in turn; when a run ends by itself, go on with a fresh database."""
    expected = reference(cases)
    rng = random.Random(seed)
    killed, rounds = 0, 0
    while killed < kills:
        rounds += 1
        database, ledger = tmp_path / f"cases{rounds}.db", tmp_path / f"ledger{rounds}.db"
        Ledger(ledger)
        ended = False
        while not ended:
            at_point = killed < kills and rng.random() < 0.6
            fault = f"{rng.choice(faults.POINTS)}:kill:{rng.randint(1, 25)}" if at_point else None
            process = worker(database, ledger, cases, fault)
            if fault is None and killed < kills:
                # Starting takes most of a second; the kills are to fall into the run.
                time.sleep(rng.uniform(0.6, 2.0))
                process.send_signal(signal.SIGKILL)
            _, errors = process.communicate(timeout=120)
            if process.returncode == -signal.SIGKILL:
                killed += 1
                continue
            assert process.returncode == 0, errors.decode()
            ended = True
        # The outside has seen every effect exactly once, whatever was repeated.
        assert Ledger(ledger).effects() == expected
        assert Reader(database).counts() == {"done": cases}
        result = audit(database)
        assert result.clean, [str(p) for p in result.problems[:5]]


@pytest.mark.timeout(170)
def test_twenty_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    kill_often(tmp_path, cases=25, kills=20, seed=1)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_two_hundred_kills_of_a_run_of_two_hundred_cases(tmp_path: Path) -> None:
    kill_often(tmp_path, cases=200, kills=200, seed=2)


@pytest.mark.parametrize("point", faults.POINTS)
@pytest.mark.parametrize("nth", [1, 7])
def test_a_failure_at_every_point_is_survived(tmp_path: Path, point: str, nth: int) -> None:
    cases = 12
    expected = reference(cases)
    database, ledger = str(tmp_path / "cases.db"), Ledger(tmp_path / "ledger.db")
    faults.plan(f"{point}:raise:{nth}")
    try:
        # Points that this run passes fewer than n times, or never, let it end by itself.
        try:
            asyncio.run(run(database, ledger, cases))
        except faults.FaultInjected:
            pass
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

"""Kill the process at any instant, start it again: no effect lost, none doubled, every log replays."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import closing, suppress
from functools import cache
from pathlib import Path

import pytest

from provenet.engine import Reader, audit, faults
from tests.engine.orders import run
from tests.support.ledger import Ledger

ROOT = Path(__file__).resolve().parents[2]


@cache
def reference(cases: int) -> tuple[list[tuple[str, str, str]], int]:
    """The effects of an undisturbed run, and how long its logs are together."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "expected.db")
        asyncio.run(run(f"{folder}/cases.db", ledger, cases))
        assert ledger.calls() == len(ledger.effects())
        return ledger.effects(), logged(Path(folder) / "cases.db")


def logged(database: Path) -> int:
    """How many log entries are durable."""
    if not database.exists():
        return 0
    with closing(sqlite3.connect(database)) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'provenet_event'").fetchone():
            return 0
        return int(db.execute("SELECT COUNT(*) FROM provenet_event").fetchone()[0])


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
        self,
        database: Path,
        ledger: Path,
        cases: int,
        *,
        at_once: int = 64,
        fault: str = "-",
        kill_after: float = 1e9,
    ) -> str:
        """Run one process to its end, or to its own end at a fault point, or kill it after some seconds.

        Returns:
            ``done``, ``fault`` or ``time``.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{database} {ledger} {cases} {at_once} {fault} {kill_after}\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline().strip()
        assert said in {"done", "fault", "time"}, said
        return said

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        assert self._process.wait(30) == 0


def kill_often(tmp_path: Path, *, cases: int, kills: int, seed: int) -> Counter[str]:
    """Kill one run of so many cases again and again, at fault points and at random times.

    The kills are spread over the whole run: where the log is further than its share, they come quickly.

    Returns:
        How often the processes ended how.
    """
    expected, entries = reference(cases)
    rng = random.Random(seed)
    workers = Workers(tmp_path / "scratch.db")
    database, ledger = tmp_path / "cases.db", tmp_path / "ledger.db"
    Ledger(ledger)
    ended: Counter[str] = Counter()
    shares: list[float] = []
    while (killed := ended["fault"] + ended["time"]) < kills and not ended["done"]:
        shares.append(logged(database) / entries)
        ahead = shares[-1] > 0.75 * killed / kills
        # Little at a time makes many commits, hence many different instants to be killed at.
        at_once = 2 if ahead else rng.choice((2, 4, 16))
        if rng.random() < 0.7:
            fault = f"{rng.choice(PASSED)}:kill:{1 if ahead else rng.randint(1, 6)}"
            how = workers.run(
                database, ledger, cases, at_once=at_once, fault=fault, kill_after=0.2 if ahead else 0.3
            )
        else:
            after = rng.uniform(0.0, 0.05 if ahead else 0.25)
            how = workers.run(database, ledger, cases, at_once=at_once, kill_after=after)
        ended[how] += 1
        if killed % 25 == 24:
            # Also in the middle, each log leads to the marking beside it.
            assert (result := audit(database)).clean, [str(p) for p in result.problems[:5]]
    quarters = [sum(int(s * 4) == q for s in shares) for q in range(4)]
    print(f"ended by {dict(ended)}; kills in each quarter of the log: {quarters}")
    if not ended["done"]:
        assert workers.run(database, ledger, cases) == "done"
    workers.close()
    # The outside has seen every effect exactly once, whatever was repeated.
    assert Ledger(ledger).effects() == expected
    assert Reader(database).counts() == {"done": cases}
    result = audit(database)
    assert result.clean, [str(p) for p in result.problems[:5]]
    return ended


PASSED = [p for p in faults.POINTS if p != "signal"]
"""Points that the run passes; it sends no events."""

posix = pytest.mark.skipif(sys.platform == "win32", reason="kills processes the POSIX way")


@posix
def test_twenty_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    kill_often(tmp_path, cases=20, kills=20, seed=1)


@posix
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_two_hundred_kills_of_a_run_of_two_hundred_cases(tmp_path: Path) -> None:
    ended: Counter[str] = Counter()
    for seed in range(2, 10):
        # One run takes all of them, unless the machine is so fast that it comes to its end before that.
        kills = 200 - ended["fault"] - ended["time"]
        if kills:
            (folder := tmp_path / str(seed)).mkdir()
            ended += kill_often(folder, cases=200, kills=kills, seed=seed)
    assert ended["fault"] + ended["time"] == 200


@pytest.mark.parametrize("point", faults.POINTS)
@pytest.mark.parametrize("nth", [1, 6])
def test_a_failure_at_every_point_is_survived(tmp_path: Path, point: str, nth: int) -> None:
    cases = 8
    expected, _ = reference(cases)
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

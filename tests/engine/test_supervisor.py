"""Supervision: how often a dead worker is started again, what counts as silence, what a start may cost."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from provenet.engine.supervisor import Heart, Restarts, Supervisor

spans = st.floats(0.01, 300).map(lambda s: timedelta(seconds=s))


@given(
    st.builds(Restarts, most=st.integers(1, 20), within=spans, first=spans, longest=spans), st.floats(0, 0.99)
)
@example(Restarts(), 0.5)
def test_who_dies_too_often_is_a_fault_however_long_the_pauses(rule: Restarts, part: float) -> None:
    life = part * rule.within.total_seconds() / rule.most
    pauses = [rule.pause([life] * (n + 1)) for n in range(rule.most + 1)]
    assert pauses[-1] is None
    assert None not in pauses[:-1]


@given(
    st.builds(Restarts, most=st.integers(1, 20), within=spans, first=spans, longest=spans),
    st.lists(st.floats(0, 600), min_size=1, max_size=60),
)
def test_pauses_grow_with_deaths_and_no_more_restarts_than_most_come_in_a_span(
    rule: Restarts, lives: list[float]
) -> None:
    within = rule.within.total_seconds()
    pause = rule.pause(lives)
    # How many died in the last so many seconds that the worker lived.
    near = sum(sum(lives[n + 1 :]) < within for n in range(len(lives)))
    assert (pause is None) == (near > rule.most)
    if pause is not None:
        assert pause == min(rule.first.total_seconds() * 2 ** (near - 1), rule.longest.total_seconds())


def test_pauses_stay_at_the_longest_however_many_come_before() -> None:
    assert Restarts(most=100_000).pause([0.0] * 5_000) == 30


# with processes


def _has_nothing_to_do(heart: Heart) -> None:
    del heart


def test_a_worker_that_cannot_be_started_is_tried_again() -> None:
    before, told = resource.getrlimit(resource.RLIMIT_NOFILE), list[str]()

    def room(line: str) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        told.append(line)

    supervisor = Supervisor(_has_nothing_to_do, 1, told=room)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
    try:
        supervisor.run(threading.Event())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert told == ["worker 0 could not be started: Too many open files: started again in 0.1 s"]


FROZEN = """
import threading
from datetime import timedelta
from provenet.engine.supervisor import Restarts, Supervisor
from tests.engine.test_supervisor import _tells_its_number

if __name__ == "__main__":
    rule, stop = Restarts(silence=timedelta(seconds=4)), threading.Event()
    supervisor = Supervisor(_tells_its_number, 1, restarts=rule, told=lambda line: print(line, flush=True))
    threading.Thread(target=lambda: (input(), stop.set())).start()
    supervisor.run(stop)
"""


def _tells_its_number(heart: Heart) -> None:
    async def tell() -> None:
        beating = asyncio.ensure_future(heart.beat())
        await asyncio.sleep(1.5)  # between two beats
        print(os.getpid(), flush=True)
        await beating

    asyncio.run(tell())


def test_a_machine_that_stood_still_is_nobodys_silence() -> None:
    """Suspended or frozen, all of it: whoever wakes first has heard of nobody for long."""
    with subprocess.Popen(
        [sys.executable, "-c", FROZEN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        for pid in (worker, process.pid):
            os.kill(pid, signal.SIGSTOP)
        time.sleep(5)
        os.kill(process.pid, signal.SIGCONT)
        time.sleep(0.5)
        os.kill(worker, signal.SIGCONT)
        time.sleep(1)
        said, _ = process.communicate("\n", timeout=60)
        assert not said
        assert process.returncode == 0

"""`provenet run --workers N`: several processes on one database, supervised."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

from provenet.cli.driving import Job, begin
from provenet.cli.loading import load
from provenet.cli.printing import explain, visible
from provenet.cli.watching import Watching, observing_as, observing_workers
from provenet.engine import Engine, Progress, RealClock, VirtualClock
from provenet.engine.access.gate import Rules
from provenet.engine.reader import Reader
from provenet.engine.store.database import located
from provenet.engine.supervisor import Heart, Supervisor
from provenet.engine.watching import Observer
from provenet.nets.errors import ProvenetError


def run_workers(job: Job, workers: int, watching: Watching) -> Progress:
    """Deploy, start the cases, and keep so many workers running until somebody stops them.

    Args:
        job: What to run.
        workers: How many.
        watching: Who watches: a log that all of them append to, one endpoint for the metrics of all.

    Returns:
        Where the cases stand then.

    Raises:
        WorkersFailed: A worker died more often than restarts can mend.
    """
    with observing_workers(watching) as (observers, summed):
        asyncio.run(_prepare(job, observers))
        body = partial(_serve, job.loaded.target, job.database, watching, job.access)
        ended = (lambda _: None) if summed is None else summed.gone
        supervisor = Supervisor(body, workers, told=_tell, ended=ended)
        stop = threading.Event()
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, lambda *_: stop.set()) for number in numbers}
        job.out.line(f"{workers} workers run on {located(job.database)}", "bold")
        try:
            supervisor.run(stop)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    return Progress(datetime.now(UTC), 0, 0, Reader(job.database).counts())


def _tell(line: str) -> None:
    sys.stderr.write(f"{visible(line)}\n")


async def _prepare(job: Job, observers: Sequence[Observer]) -> None:
    """Deploy and start what the workers will find; nothing runs here."""
    clock = VirtualClock(datetime.now(UTC))
    async with Engine.open(
        job.database,
        agents=[job.loaded.agent],
        clock=clock,
        takes="asked",
        observers=observers,
        access=job.access,
    ) as engine:
        await begin(engine, job)


def _serve(target: str, database: str, watching: Watching, access: Rules | None, heart: Heart) -> None:
    """A worker's life."""
    # Ctrl-C reaches the whole group of processes: the supervisor tells its workers when to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with observing_as(heart.number, watching) as observers:
            asyncio.run(_until_told(target, database, observers, access, heart))
    except ProvenetError as error:
        explain(error, as_json=False)
        sys.exit(1)


async def _until_told(
    target: str, database: str, observers: Sequence[Observer], access: Rules | None, heart: Heart
) -> None:
    stop = asyncio.Event()
    async with Engine.open(
        database, agents=[load(target).agent], clock=RealClock(), observers=observers, access=access
    ) as engine:
        beating = asyncio.ensure_future(heart.beat())
        beating.add_done_callback(lambda _: stop.set())
        await engine.serve(stop)

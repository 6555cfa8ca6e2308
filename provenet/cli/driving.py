"""An engine driven from the command line: progress, requests of other processes, a good end on Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from provenet.cli.inputs import Inputs
from provenet.cli.loading import Loaded
from provenet.cli.printing import Out, counted, progress
from provenet.engine import Engine, RealClock, VirtualClock
from provenet.engine import Progress as Stand
from provenet.engine.access.gate import Rules
from provenet.engine.watching import Observer
from provenet.nets.quick import dataclass
from provenet.verify.verdict import Report


def deploy(loaded: Loaded, database: str, report: Report) -> str:
    """Deploy a net and do nothing else; the net's hash.

    Raises:
        DeployRefused: With everything that is missing.
    """
    return asyncio.run(_deploy(loaded, database, report))


def run(job: Job, observers: Sequence[Observer] = ()) -> tuple[Stand, int]:
    """Run until nothing moves by itself, or until somebody stops it.

    Args:
        job: What to run.
        observers: Who is told what happens.

    Returns:
        Where the cases stand then, and the number of the signal that stopped work on them, or 0: a job that
        serves until stopped has done what it was asked for.
    """
    return asyncio.run(_run(job, observers))


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One `provenet run`.

    Attributes:
        out: Where text goes.
        loaded: The agent.
        database: Its database.
        inputs: Cases to start.
        clock: ``real`` or ``virtual``.
        days: On the virtual clock, how far to go at most.
        serve: Go on when all is idle, until stopped.
        report: Where the net has to be deployed first: its proofs.
        access: Who may do what from outside, where somebody says so.
        token: Who starts the cases, where the database is guarded.
    """

    out: Out
    loaded: Loaded
    database: str
    inputs: Inputs | None
    clock: str
    days: float | None
    serve: bool
    report: Report | None
    access: Rules | None = None
    token: str | None = None


def stand_line(now: Stand) -> str:
    """Where the cases stand, in one line."""
    said = ", ".join(f"{n:,} {s}" for s, n in sorted(now.statuses.items()))
    rate = f"   {now.firings / now.seconds:,.0f} firings/s" if now.seconds > 0.5 else ""
    # Who supervises others does not count what they fire.
    fired = f"   {now.firings:,} firings{rate}" if now.firings or not now.cases else ""
    return f"{counted(now.cases, 'case')}: {said or 'none'}{fired}"


async def _deploy(loaded: Loaded, database: str, report: Report) -> str:
    # Nothing may run: no agent is given to the engine before the net is deployed, and no time passes. It is
    # none that runs cases there, so the database keeps the clock that they run on.
    async with Engine.open(database, clock=VirtualClock(datetime.now(UTC)), takes="asked") as engine:
        return engine.deploy(loaded.agent, report)


async def _run(job: Job, observers: Sequence[Observer]) -> tuple[Stand, int]:
    out, loaded = job.out, job.loaded
    start = datetime.now(UTC)
    time = VirtualClock(start) if job.clock == "virtual" else RealClock()
    async with Engine.open(
        job.database, agents=[loaded.agent], clock=time, observers=observers, access=job.access
    ) as engine:
        await begin(engine, job)
        with stopping() as stopped, shown_progress(out, loaded.net.name) as tell:
            until = None if job.days is None else engine.clock.now() + timedelta(days=job.days)
            await _until(engine, stopped.event, until, tell, serve=job.serve)
        now = engine.progress((datetime.now(UTC) - start).total_seconds())
        return now, 0 if job.serve else stopped.number


async def begin(engine: Engine, job: Job) -> None:
    """Deploy the net and start the cases, as far as that is to be done."""
    out, loaded = job.out, job.loaded
    if job.report is not None:
        found = engine.deploy(loaded.agent, job.report)
        proved = f"{len(job.report.verdicts)} verdicts proved for this hash"
        out.line(f"deployed {loaded.net.name} {found[:8]} ({proved})")
    if job.inputs is not None:
        started = await engine.start_cases(
            loaded.net.name, job.inputs.cases, existing="skip", token=job.token
        )
        before = len(job.inputs.cases) - started
        out.line(
            f"started {counted(started, 'case')}" + (f", {before:,} were there before" if before else "")
        )


async def _until(
    engine: Engine,
    stopped: asyncio.Event,
    until: datetime | None,
    tell: Callable[[Stand], None],
    *,
    serve: bool,
) -> None:
    """Run until idle, or until somebody stops it."""
    work = asyncio.create_task(engine.run_until_idle(progress=tell, until=until))
    waiter = asyncio.create_task(stopped.wait())
    await asyncio.wait({work, waiter}, return_when=asyncio.FIRST_COMPLETED)
    if not work.done():
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
    else:
        work.result()
        if serve and not stopped.is_set():
            await engine.serve(stopped)
    waiter.cancel()


class _Stop:
    """Whether somebody stops the work, and with which signal."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.number = 0

    def by(self, number: int) -> None:
        self.number = number
        self.event.set()


@contextlib.contextmanager
def stopping() -> Iterator[_Stop]:
    """What Ctrl-C and SIGTERM set: the engine then ends in good order."""
    stopped = _Stop()
    loop = asyncio.get_running_loop()
    taken = []
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
            loop.add_signal_handler(number, stopped.by, number)
            taken.append(number)
    try:
        yield stopped
    finally:
        for number in taken:
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def shown_progress(out: Out, name: str) -> Iterator[Callable[[Stand], None]]:
    """What is told where the cases stand, and shows it."""
    with progress(name, quiet=out.as_json) as shown:

        def tell(now: Stand) -> None:
            if shown is not None:
                shown.update(
                    shown.task_ids[0], completed=now.done, total=now.cases or None, note=stand_line(now)
                )

        yield tell

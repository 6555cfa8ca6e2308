"""`provenet run --on`: a worker whose cases are woken by Temporal or DBOS."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

from provenet.cli.driving import Job, shown_progress, stopping
from provenet.cli.printing import Unusable, counted
from provenet.engine import Engine
from provenet.engine import Progress as Stand
from provenet.engine.adapters.protocol import Adapter
from provenet.engine.adapters.stepper import Stepper
from provenet.engine.reader import Reader
from provenet.engine.watching import Observer

Ready: TypeAlias = Callable[[Stepper, Adapter], object]
Serve: TypeAlias = Callable[[Callable[[], Engine], asyncio.Event, Ready], Coroutine[Any, Any, None]]


def dispatcher(on: str) -> Serve:
    """What serves the cases of a database, by the name that the user gives it.

    Raises:
        Unusable: There is no such dispatcher.
        EngineError: Its package is not installed.
    """
    if on == "dbos":
        from provenet.engine.adapters.dbos import serve_dbos

        return lambda opened, stop, ready: serve_dbos(opened, stop=stop, ready=ready)
    if on.startswith("temporal:"):
        from provenet.engine.adapters.temporal import Temporal, serve_temporal

        server = Temporal.at(on)
        return lambda opened, stop, ready: serve_temporal(opened, server, stop=stop, ready=ready)
    raise Unusable(
        f"there is no dispatcher {on!r}", where="--on", hint="there are: temporal://host:port/namespace, dbos"
    )


def run_on(job: Job, serve: Serve, observers: Sequence[Observer] = ()) -> tuple[Stand, int]:
    """Be a worker, until told to stop or until no case of the database is at work.

    Returns:
        As for ``driving.run``; the cases are those of the whole database.
    """
    return asyncio.run(_run(job, serve, observers))


async def _run(job: Job, serve: Serve, observers: Sequence[Observer]) -> tuple[Stand, int]:
    began, last = datetime.now(UTC), Stand(datetime.now(UTC), 0, 0)
    parts: asyncio.Queue[tuple[Stepper, Adapter]] = asyncio.Queue()

    def opened() -> Engine:
        return Engine.open(
            job.database, agents=[job.loaded.agent], takes="turns", observers=observers, access=job.access
        )

    with stopping() as stopped, shown_progress(job.out, job.loaded.net.name) as tell:
        worker = asyncio.create_task(
            serve(opened, stopped.event, lambda stepper, adapter: parts.put_nowait((stepper, adapter)))
        )
        first = asyncio.create_task(parts.get())
        await asyncio.wait({first, worker}, return_when=asyncio.FIRST_COMPLETED)
        if not first.done():
            first.cancel()
            await worker
            return last, stopped.number
        stepper, adapter = first.result()
        try:
            await _begin(job, stepper, adapter)
            quiet = 0
            while not worker.done():
                last = _stand(job, stepper, began)
                tell(last)
                quiet = quiet + 1 if not last.statuses.get("running") else 0
                if quiet > 1 and not job.serve:
                    stopped.event.set()
                await asyncio.wait({worker}, timeout=0.3)
                while not parts.empty():
                    stepper, adapter = parts.get_nowait()
        finally:
            stopped.event.set()
            await worker
    return last, 0 if job.serve else stopped.number


async def _begin(job: Job, stepper: Stepper, adapter: Adapter) -> None:
    name, out = job.loaded.net.name, job.out
    if job.report is not None:
        found = stepper.engine.deploy(job.loaded.agent, job.report)
        out.line(f"deployed {name} {found[:8]} ({len(job.report.verdicts)} verdicts proved for this hash)")
    if job.inputs is not None:
        started = 0
        async for cases in stepper.start(name, job.inputs.cases, token=job.token):
            started += len(cases)
            if stepper.turns.outbox is None:
                await asyncio.gather(*(adapter.dispatch(case) for case in cases))
        before = len(job.inputs.cases) - started
        more = f", {before:,} were there before" if before else ""
        out.line(f"started {counted(started, 'case')}{more}")


def _stand(job: Job, stepper: Stepper, began: datetime) -> Stand:
    mine, now = stepper.engine.progress(), datetime.now(UTC)
    return Stand(
        now, mine.firings, mine.commits, Reader(job.database).counts(), (now - began).total_seconds()
    )

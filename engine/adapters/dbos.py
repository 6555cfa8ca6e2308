"""DBOS on PostgreSQL as the dispatcher: its queue lies in the database that the cases lie in.

::

    await serve_dbos(lambda: Engine.open(url, agents=[agent], takes="turns"), stop=stop)

What is to be done next is put into DBOS's queue in the very transaction that made it so, through its public
``enqueue_in_transaction``: no wake can be lost between the two. Each piece of work is a short workflow of its
own, and so is each timer, with a delay; nothing waits in memory.

DBOS's open-source edition does not take over what a dead process had begun. Here a process is known to be
dead by its lock in the database, so its peers find its workflows and resume them, by the public API again.
What DBOS loses all the same is found in the store (``provenet.engine.adapters.sweep``).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

from provenet.engine.adapters.protocol import Standing, Work
from provenet.engine.adapters.serving import missing, serve
from provenet.engine.errors import EngineError, NotDispatched

try:
    import sqlalchemy as sa
    from dbos import DBOS, DBOSClient, EnqueueOptions
    from sqlalchemy.pool import StaticPool
except ImportError as error:
    raise missing("DBOS", "dbos", error) from None

if TYPE_CHECKING:
    from provenet.engine.adapters.stepper import Stepper
    from provenet.engine.engine import Engine

T = TypeVar("T")

QUEUE = "provenet"

VERSION = "provenet-1"
"""What DBOS takes for the application's version. A workflow here has no steps and no memory, so it never
changes: a net's versions are the store's business."""

POLL = 0.1
"""Seconds between two looks of a worker into the queue."""

SUPERVISE = 1.0
"""Seconds between two looks for workflows of dead processes."""

ALIVE = ["ENQUEUED", "DELAYED", "PENDING"]

KEPT = timedelta(hours=1)
"""How long a workflow that is over stays in DBOS's tables: nothing is ever read of it there."""

TIDY = 60.0
"""Seconds between two looks for workflows that have been over for so long."""

MANY = 500
"""Workflows deleted with one call."""

REMEMBERED = 50_000
"""Ids of workflows that this process need not put into the queue again."""


class DbosAdapter:
    """Wakes cases by DBOS; see ``provenet.engine.adapters.protocol.Adapter``.

    Args:
        stepper: Takes the turns of this process.
        url: The database, as DBOS is told.
    """

    def __init__(self, stepper: Stepper, url: str) -> None:
        self.stepper = stepper
        self.loop = asyncio.get_running_loop()
        self._client = DBOSClient(system_database_url=url)
        # DBOS speaks SQLAlchemy: this lends it the connection whose transaction is open. It never commits.
        raw = stepper.connection
        self._lent = sa.create_engine(
            "postgresql+psycopg://",
            creator=lambda: raw,
            poolclass=StaticPool,
            pool_reset_on_return=None,
            isolation_level="AUTOCOMMIT",
        ).connect()
        self._enqueued: OrderedDict[str, None] = OrderedDict()
        self._threads = ThreadPoolExecutor(8, thread_name_prefix="provenet-dbos")

    def enqueue_all(self, case: str, standing: Standing) -> None:
        """Put into the queue what a turn found to be done, in the transaction of that turn."""
        for work in standing.work:
            self._within(_of(work), _options("provenet-work", _wait(standing, work)), case, work)
        if standing.next_due is not None:
            # A little late rather than a little early: early is another turn.
            delay = standing.seconds_until(standing.next_due) + 0.05
            self._within(f"due/{case}/{standing.next_due}", _options("provenet-advance", delay), case, None)

    async def dispatch(self, case: str, work: Work | None = None) -> None:
        """Put a turn, or a piece of work that nobody does, into the queue."""
        if work is None:
            await self._enqueue(uuid.uuid4().hex, _options("provenet-advance"), case)
        else:
            await self.ensure(case, work)

    async def ensure(self, case: str, work: Work, *, delay: float = 0.0, besides: str | None = None) -> None:
        """Put a piece of work into the queue that is to be done and that nobody does.

        Args:
            case: Id of the case.
            work: What is to be done.
            delay: Seconds to wait before.
            besides: A workflow that does it no longer.
        """
        known = await self.call(
            lambda: self._client.list_workflows(
                workflow_id_prefix=f"{work.key}/", load_input=False, load_output=False
            )
        )
        if not any(found.status in ALIVE and found.workflow_id != besides for found in known):
            # It was tried, and is to be done all the same: the store says so.
            taken = {found.workflow_id for found in known}
            name = next(n for i in count(len(known)) if (n := f"{_of(work)}/{i}") not in taken)
            await self._enqueue(name, _options("provenet-work", delay), *_arguments(case, work))

    def heartbeat(self) -> None:
        """DBOS wants none: that a process is dead is seen by its lock in the database."""

    async def cancel(self, case: str, work: Work) -> None:
        """Nothing need be done: a worker looks every second whether its work's token is still there."""
        del case, work

    async def signal(self, case: str, request: int) -> None:
        """Have a worker carry out a request."""
        await self._enqueue(f"request/{request}", _options("provenet-request"), case, request)

    async def supervise(self) -> None:
        """Resume, for as long as this process works, what dead processes had begun."""
        while True:
            # Not all at once: who resumes what a peer has just resumed has it done twice.
            await asyncio.sleep(SUPERVISE * random.uniform(0.5, 2))  # noqa: S311  nothing rests on it
            with contextlib.suppress(NotDispatched):
                begun = await self.call(
                    lambda: self._client.list_workflows(
                        status="PENDING", queue_name=QUEUE, load_input=False, load_output=False
                    )
                )
                alive = self.stepper.alive({str(found.executor_id) for found in begun})
                bereft = [found.workflow_id for found in begun if found.executor_id not in alive]
                if bereft:
                    await self.call(partial(self._client.resume_workflows, bereft, queue_name=QUEUE))

    async def tidy(self, kept: timedelta = KEPT) -> int:
        """Delete what DBOS keeps of workflows that have been over for so long; how many there were."""
        before, deleted = (datetime.now(UTC) - kept).isoformat(), 0
        while True:
            over = await self.call(
                lambda: self._client.list_workflows(
                    status=["SUCCESS", "ERROR"],
                    queue_name=QUEUE,
                    completed_before=before,
                    limit=MANY,
                    load_input=False,
                    load_output=False,
                )
            )
            if over:
                ids = [found.workflow_id for found in over]
                await self.call(partial(self._client.delete_workflows, ids))
            deleted += len(over)
            if len(over) < MANY:
                return deleted

    async def tidy_up(self) -> None:
        """Delete them every minute or so, for as long as this process works."""
        while True:
            await asyncio.sleep(TIDY * random.uniform(0.5, 1.5))  # noqa: S311  nothing rests on it
            with contextlib.suppress(NotDispatched):
                await self.tidy()

    async def call(self, do: Callable[[], T]) -> T:
        """Call DBOS in a thread: it waits for the database.

        Raises:
            NotDispatched: It failed.
        """
        try:
            return await self.loop.run_in_executor(self._threads, do)
        except Exception as error:
            raise NotDispatched(
                f"DBOS failed: {str(error).splitlines()[0]}", hint="nothing is lost; it is tried again"
            ) from error

    def close(self) -> None:
        """Let go of it; the lent connection is the engine's."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.destroy()

    def _within(self, name: str, options: EnqueueOptions, case: str, work: Work | None) -> None:
        if name in self._enqueued:
            return
        self.stepper.begin()
        options["workflow_id"] = name
        arguments = (case,) if work is None else _arguments(case, work)
        self._client.enqueue_in_transaction(self._lent, options, *arguments)
        self._enqueued[name] = None
        if len(self._enqueued) > REMEMBERED:
            self._enqueued.popitem(last=False)

    async def _enqueue(self, name: str, options: EnqueueOptions, *arguments: Any) -> None:
        options["workflow_id"] = name
        await self.call(lambda: self._client.enqueue(options, *arguments))


def _of(work: Work) -> str:
    return f"{work.key}/{work.tries}"


def _arguments(case: str, work: Work) -> tuple[str, str, int, int]:
    return case, work.transition, work.token, work.tries


def _options(name: str, delay: float = 0.0) -> EnqueueOptions:
    found = EnqueueOptions(workflow_name=name, queue_name=QUEUE, app_version=VERSION)
    if delay > 0:
        found["delay_seconds"] = delay
    return found


def _wait(standing: Standing, work: Work) -> float:
    return standing.seconds_until(work.not_before) if work.not_before else 0.0


async def serve_dbos(
    open_engine: Callable[[], Engine],
    *,
    stop: asyncio.Event,
    ready: Callable[[Stepper, DbosAdapter], object] = lambda *_: None,
    activities: int = 100,
) -> None:
    """Be one of the workers, until told to stop; one to a process, since DBOS is one to a process.

    Args:
        open_engine: Makes an engine that ``takes="turns"`` on PostgreSQL; called again after the database was
            away.
        stop: Set to end in good order.
        ready: Called with what starts and moves cases, whenever the worker is ready to.
        activities: Most pieces of work at a time.

    Raises:
        EngineError: The database is not there to begin with, or is no PostgreSQL.
    """

    @contextlib.asynccontextmanager
    async def working(stepper: Stepper) -> AsyncIterator[DbosAdapter]:
        global _worker  # noqa: PLW0603  DBOS is one to a process, and so is its worker
        url = stepper.url
        if not url:
            raise EngineError(
                "DBOS keeps its queue in PostgreSQL, and the cases are not there",
                hint="name a database as postgresql://user@host/name",
            )
        with ThreadPoolExecutor(1) as thread:
            await asyncio.get_running_loop().run_in_executor(
                thread, _launch, url, stepper.executor, activities
            )
            adapter = DbosAdapter(stepper, url)
            tasks = [asyncio.create_task(does) for does in (adapter.supervise(), adapter.tidy_up())]
            stepper.turns.outbox = adapter.enqueue_all
            _worker = adapter
            try:
                ready(stepper, adapter)
                yield adapter
            finally:
                _worker, stepper.turns.outbox = None, None
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await asyncio.get_running_loop().run_in_executor(thread, DBOS.destroy)
                adapter.close()

    await serve(open_engine, working, stop)


def _launch(url: str, executor: str, activities: int) -> None:
    DBOS(
        config={
            "name": "provenet",
            "system_database_url": url,
            "executor_id": executor,
            "application_version": VERSION,
            "log_level": "ERROR",
        }
    )
    DBOS.launch()
    DBOS.register_queue(QUEUE, worker_concurrency=activities, polling_interval_sec=POLL)


_worker: DbosAdapter | None = None
"""Who does this process's work; DBOS calls what is below from a thread of its own."""


async def _here(do: Callable[[DbosAdapter], Awaitable[None]]) -> None:
    """Have this process's worker do it, in its own event loop."""
    worker = _worker
    if worker is None:
        # It fails, and is found in the store by another worker.
        raise NotDispatched("this worker is about to end", hint="another one does it")

    async def done() -> None:
        await do(worker)

    await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(done(), worker.loop))


@DBOS.workflow(name="provenet-advance")
async def _advance(case: str) -> None:
    async def do(worker: DbosAdapter) -> None:
        for work in (await worker.stepper.advance(case)).work:
            await worker.dispatch(case, work)

    await _here(do)


@DBOS.workflow(name="provenet-work")
async def _do_work(case: str, transition: str, token: int, tries: int) -> None:
    this = DBOS.workflow_id

    async def do(worker: DbosAdapter) -> None:
        standing = await worker.stepper.work(case, transition, token, tries=tries, beat=worker.heartbeat)
        for work in standing.work:
            if (work.transition, work.token) == (transition, token):
                # To be tried again, or throttled: a name that was used up may keep it out of the queue.
                await worker.ensure(case, work, delay=_wait(standing, work), besides=this)

    await _here(do)


@DBOS.workflow(name="provenet-request")
async def _carry_out(case: str, number: int) -> None:
    async def do(worker: DbosAdapter) -> None:
        await worker.stepper.request(number)
        await worker.dispatch(case)

    await _here(do)

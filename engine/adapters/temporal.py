"""Temporal as the dispatcher: a worker, and the adapter that wakes cases.

::

    server = Temporal.at("temporal://127.0.0.1:7233/default")
    await serve_temporal(lambda: Engine.open(url, agents=[agent], takes="turns"), server, stop=stop)

Any number of such processes share the cases of a database. Temporal holds for each case a workflow that knows
nothing but its id (``provenet.engine.adapters.temporal_driver``), gives its activities to a worker that has
room, gives them to another when a worker dies, and keeps the timers. Losing all of Temporal's data would lose
nothing: the workers find unfinished cases in the store and start their workflows again.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import urlsplit

from provenet.engine.adapters.protocol import Standing, Work
from provenet.engine.adapters.serving import LOG, LONGEST, missing, serve
from provenet.engine.errors import EngineError, NotDispatched, StoreError

try:
    from temporalio import activity
    from temporalio.client import Client
    from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
    from temporalio.service import RPCError
    from temporalio.worker import UnsandboxedWorkflowRunner, Worker

    from provenet.engine.adapters.temporal_driver import DriveCase, Pace
except ImportError as error:
    raise missing("Temporal", "temporal", error) from None

if TYPE_CHECKING:
    from provenet.engine.adapters.stepper import Stepper
    from provenet.engine.engine import Engine

T = TypeVar("T")

PAGE = 500
"""Workflows looked at with one call."""

AGAIN = 600.0
"""Seconds between two looks for workflows whose case has ended."""

__all__ = ["Activities", "Pace", "Temporal", "TemporalAdapter", "serve_temporal"]


@dataclass(frozen=True, slots=True)
class Temporal:
    """Where a Temporal server is.

    Attributes:
        target: ``host:port``.
        namespace: Its namespace.
        pace: How long to wait for a worker.
        options: More for ``temporalio.client.Client.connect``: ``tls``, ``api_key``, ...
    """

    target: str = "127.0.0.1:7233"
    namespace: str = "default"
    pace: Pace = field(default_factory=Pace)
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def at(cls, url: str) -> Self:
        """The server that a URL names: ``temporal://host:port/namespace``; the rest may be left out.

        Raises:
            EngineError: It is no such URL.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "127.0.0.1", parts.port or 7233
        except ValueError:
            parts, host, port = urlsplit(""), "", 0
        namespace = parts.path.strip("/")
        if parts.scheme != "temporal" or parts.query or "/" in namespace:
            raise EngineError(
                f"{url!r} names no Temporal server", hint="write temporal://host:port/namespace"
            )
        return cls(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", namespace or "default")

    async def connect(self) -> Client:
        """A client of it.

        Raises:
            NotDispatched: Nobody answers there.
        """
        try:
            return await Client.connect(self.target, namespace=self.namespace, **self.options)
        except RuntimeError as error:
            raise NotDispatched(
                f"no Temporal server answers: {str(error).splitlines()[0]}",
                where=self.target,
                hint="start one, for a try with `temporal server start-dev`, or name another with --on",
            ) from None


class TemporalAdapter:
    """Wakes cases by Temporal; see ``provenet.engine.adapters.protocol.Adapter``.

    Args:
        client: A client of the server.
        database: The database's own id: several may share a namespace.
        pace: How long to wait for a worker.
    """

    def __init__(self, client: Client, database: str, pace: Pace) -> None:
        self._client, self._database, self._pace = client, database, pace
        self.queue = f"provenet-{database[:12]}"

    def workflow(self, case: str) -> str:
        """Id of a case's workflow."""
        return f"provenet/{self._database[:12]}/{case}"

    async def dispatch(self, case: str, work: Work | None = None) -> None:
        """Wake the case's workflow, and start it where there is none; it finds out what is to be done."""
        del work
        await self._start(case, "wake", [])

    def heartbeat(self) -> None:
        """Tell Temporal that this activity is alive."""
        activity.heartbeat()

    async def cancel(self, case: str, work: Work) -> None:
        """Wake the workflow: it cancels what is no longer wanted."""
        await self.dispatch(case, work)

    async def signal(self, case: str, request: int) -> None:
        """Have the case's workflow see to a request; nothing but its number travels."""
        await self._start(case, "request", [request])

    async def wake_ended(self, over: Callable[[Collection[str]], list[str]]) -> int:
        """Wake workflows whose case has ended without them: they end. How many there were.

        Somebody who knows of no Temporal may end a case: an approval while no worker ran, an engine of one's
        own. Its workflow would wait for the case's last deadline.

        Args:
            over: Those of some cases that never move again.
        """
        waiting, woken = f'TaskQueue = "{self.queue}" AND ExecutionStatus = "Running"', 0
        found = self._client.list_workflows(waiting, page_size=PAGE, rpc_timeout=timedelta(seconds=10))
        while True:
            await found.fetch_next_page()
            page = [e.id.removeprefix(self.workflow("")) for e in found.current_page or ()]
            for case in over(page) if page else ():
                with contextlib.suppress(RPCError):  # it has ended by now
                    await self._client.get_workflow_handle(self.workflow(case)).signal("wake")
                woken += 1
            if found.next_page_token is None:
                return woken

    async def _start(self, case: str, signal: str, args: list[Any]) -> None:
        try:
            await self._client.start_workflow(
                DriveCase.run,
                args=[case, self._pace],
                id=self.workflow(case),
                task_queue=self.queue,
                start_signal=signal,
                start_signal_args=args,
                task_timeout=timedelta(seconds=self._pace.turn),
                rpc_timeout=timedelta(seconds=10),
            )
        except RPCError as error:
            raise NotDispatched(
                f"Temporal did not take a wake: {error.message}",
                where=f"case {case!r}",
                hint="it is woken again when the server is back; nothing is lost",
            ) from None


class Activities:
    """What Temporal calls on a worker."""

    def __init__(self, stepper: Stepper, adapter: TemporalAdapter) -> None:
        self._stepper, self._adapter = stepper, adapter

    @activity.defn(name="provenet-advance")
    async def advance(self, case: str) -> Standing:
        """Take a turn on a case."""
        return await self._told(self._stepper.advance(case))

    @activity.defn(name="provenet-work")
    async def work(self, case: str, transition: str, token: int, tries: int) -> Standing:
        """Do a piece of a case's work."""
        work = self._stepper.work(case, transition, token, tries=tries, beat=self._adapter.heartbeat)
        return await self._told(work)

    @activity.defn(name="provenet-request")
    async def request(self, number: int) -> None:
        """Carry out what somebody left in the store."""
        await self._told(self._stepper.request(number))

    async def _told(self, turn: Awaitable[T]) -> T:
        """What a turn gives; what is refused is told in Temporal's terms."""
        try:
            return await turn
        except EngineError as error:
            if self._stepper.turns.failure is not None:
                # This worker is about to be closed, and its activities with it. One that failed at once would
                # come back at once.
                await asyncio.sleep(LONGEST)
            raise ApplicationError(
                str(error), type=type(error).__name__, category=ApplicationErrorCategory.BENIGN
            ) from None


async def serve_temporal(
    open_engine: Callable[[], Engine],
    server: Temporal,
    *,
    stop: asyncio.Event,
    ready: Callable[[Stepper, TemporalAdapter], object] = lambda *_: None,
    activities: int = 100,
) -> None:
    """Be one of the workers, until told to stop.

    Args:
        open_engine: Makes an engine that ``takes="turns"``; called again after the database was away.
        server: Where Temporal is.
        stop: Set to end in good order.
        ready: Called with what starts and moves cases, whenever the worker is ready to.
        activities: Most activities at a time.

    Raises:
        EngineError: The database, or the server, is not there to begin with.
    """
    client = await server.connect()

    @contextlib.asynccontextmanager
    async def working(stepper: Stepper) -> AsyncIterator[TemporalAdapter]:
        adapter = TemporalAdapter(client, stepper.database, server.pace)
        do = Activities(stepper, adapter)
        worker = Worker(
            client,
            task_queue=adapter.queue,
            workflows=[DriveCase],
            activities=[do.advance, do.work, do.request],
            max_concurrent_activities=activities,
            sticky_queue_schedule_to_start_timeout=timedelta(seconds=server.pace.turn),
            workflow_runner=UnsandboxedWorkflowRunner(),
        )
        looking = asyncio.create_task(_wake_ended(stepper, adapter))
        try:
            async with worker:
                ready(stepper, adapter)
                yield adapter
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    await serve(open_engine, working, stop)


async def _wake_ended(stepper: Stepper, adapter: TemporalAdapter) -> None:
    """Look now, and then every few minutes."""
    while True:
        try:
            await adapter.wake_ended(stepper.over)
        except (RPCError, StoreError) as error:
            LOG.warning("workflows of ended cases were not looked for: %s", error)
        # Not all workers at once.
        await asyncio.sleep(AGAIN * random.uniform(0.5, 1.5))  # noqa: S311  nothing rests on it

"""One face for the engine behind each adapter, for tests that all of them pass."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from provenet.engine import Engine, Reader
from provenet.engine.adapters.embedded import Embedded
from provenet.engine.adapters.protocol import Adapter
from provenet.engine.requests import ask, post
from provenet.sdb.handlers import Agent
from tests.engine.chaos import Shifted
from tests.engine.orders import proofs


@dataclass
class Fleet:
    """Workers on a database, and what wakes its cases."""

    url: str
    adapter: Adapter
    start: Callable[[str, list[tuple[str, dict[str, Any]]]], Any]

    @property
    def read(self) -> Reader:
        return Reader(self.url)

    async def tell(self, command: dict[str, Any]) -> dict[str, Any]:
        """Ask for something as another process would: by a row in the store and a number in a signal."""
        loop, case = asyncio.get_running_loop(), command.get("case") or command.get("target")
        if not case:
            return await asyncio.to_thread(ask, self.url, command)

        def told(number: int) -> None:
            asyncio.run_coroutine_threadsafe(self.adapter.signal(case, number), loop).result(20)

        return await asyncio.to_thread(post, self.url, command, told)

    async def until(self, settled: Callable[[dict[str, int]], bool], *, within: float = 60.0) -> None:
        """Wait until the numbers of cases in each status are so."""
        loop = asyncio.get_running_loop()
        end = loop.time() + within
        while not settled(counts := self.read.counts()):
            assert loop.time() < end, f"still {counts} after {within} s"
            await asyncio.sleep(0.05)


def one(agents: Iterable[Agent], engine: Engine) -> None:
    """Deploy what is not deployed yet."""
    there = {n["name"] for n in engine.read.nets()}
    for agent in agents:
        if agent.net.name not in there:
            engine.deploy(agent, proofs(agent.net))
            there.add(agent.net.name)  # a later version is for the test to deploy


@asynccontextmanager
async def embedded(url: str, agents: list[Agent], clock: Shifted) -> AsyncIterator[Fleet]:
    async with Engine.open(url, agents=agents, clock=clock) as engine:
        one(agents, engine)
        yield Fleet(url, Embedded(engine), engine.start_cases)


@asynccontextmanager
async def served(
    url: str, agents: list[Agent], clock: Shifted, serve: Any, workers: int = 1
) -> AsyncIterator[Fleet]:
    """Workers in this process, each with an engine of its own."""
    stop, ready = asyncio.Event(), asyncio.Queue[Any]()

    def opened() -> Engine:
        return Engine.open(url, agents=agents, clock=clock, takes="turns")

    tasks: list[asyncio.Task[None]] = []
    stepper: Any = None
    adapter: Any = None
    for _ in range(workers):
        # One after the other, so that one of them makes the tables.
        tasks.append(asyncio.create_task(serve(opened, stop, lambda *parts: ready.put_nowait(parts))))
        getting = asyncio.create_task(ready.get())
        await asyncio.wait({getting, tasks[-1]}, return_when=asyncio.FIRST_COMPLETED)
        if tasks[-1].done():
            tasks[-1].result()
        stepper, adapter = getting.result()
    one(agents, stepper.engine)

    async def start(net: str, cases: list[tuple[str, dict[str, Any]]]) -> None:
        async for ids in stepper.start(net, cases):
            if stepper.turns.outbox is None:
                await asyncio.gather(*(adapter.dispatch(case) for case in ids))

    try:
        yield Fleet(url, adapter, start)
    finally:
        stop.set()
        await asyncio.gather(*tasks)


@asynccontextmanager
async def temporal(url: str, agents: list[Agent], clock: Shifted, target: str) -> AsyncIterator[Fleet]:
    from provenet.engine.adapters.temporal import Temporal, serve_temporal

    async def serve(opened: Any, stop: asyncio.Event, ready: Any) -> None:
        await serve_temporal(opened, Temporal(target), stop=stop, ready=ready)

    async with served(url, agents, clock, serve, workers=2) as fleet:
        yield fleet


@asynccontextmanager
async def dbos(url: str, agents: list[Agent], clock: Shifted) -> AsyncIterator[Fleet]:
    from provenet.engine.adapters.dbos import serve_dbos

    async def serve(opened: Any, stop: asyncio.Event, ready: Any) -> None:
        await serve_dbos(opened, stop=stop, ready=ready)

    async with served(url, agents, clock, serve) as fleet:
        yield fleet

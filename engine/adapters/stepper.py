"""What a worker does for cases that it owns for no longer than a turn (``provenet.engine.adapters.turns``).

What takes time (a proposal, an external effect) runs between two turns, when nobody holds the case: the first
finds that its token is still there and makes the intent durable, the second fires with the result if the
token still is. So any process may take the next turn, a turn may be taken twice, and one that was lost is
taken by whoever is told to look next.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from provenet.engine.adapters.protocol import OVER, Adapter, Standing
from provenet.engine.adapters.sweep import Sweep
from provenet.engine.adapters.turns import Turns
from provenet.engine.case import LiveCase
from provenet.engine.jobs import Job
from provenet.engine.requests import answer_to, carry_out, finish
from provenet.engine.runner import Runner
from provenet.engine.store.database import LONGEST_REQUEST
from provenet.engine.store.store import Store
from provenet.engine.workers import Workers

if TYPE_CHECKING:
    from provenet.engine.engine import Engine

BEAT = 1.0
"""Seconds between two heartbeats of a handler."""

CALLED = "called by "
"""What is noted of an effect that may not be called twice, with the process that calls it."""

BATCH = 256
"""Cases started with one commit."""


class Stepper:
    """The work of an engine that ``takes="turns"``; made by ``Engine.stepper``.

    Args:
        engine: What carries out requests.
        store: Its database.
        runner: What moves cases.
        workers: What asks proposers and performs effects.
        lift: Claims and loads a case; its number, or 0 where it is over.
        begin: Starts a case in memory.
        admit: Lets somebody start cases, or not.

    Attributes:
        turns: Takes them.
    """

    def __init__(
        self,
        engine: Engine,
        store: Store,
        runner: Runner,
        workers: Workers,
        *,
        lift: Callable[[str], int],
        begin: Callable[[str, Mapping[str, Any], str, str], str],
        admit: Callable[..., Awaitable[str]],
    ) -> None:
        self.engine, self._store, self._runner, self._workers = engine, store, runner, workers
        self._begin, self._admit = begin, admit
        self.turns = Turns(store, runner, lift)
        self._calls: set[str] = set()

    @property
    def database(self) -> str:
        """The database's own id."""
        return self._store.uid

    @property
    def url(self) -> str:
        """The database's URL, where it is on a server; else empty."""
        return self._store.location.url

    @property
    def executor(self) -> str:
        """What this process is called: no other is or was called so on this database."""
        return f"worker-{self._store.database.worker}"

    @property
    def connection(self) -> Any:
        """The driver's own connection, in whose transaction ``outbox`` may write."""
        return self._store.database.connection  # type: ignore[attr-defined]  # only a server's database has one

    def begin(self) -> None:
        """Open the transaction that the next commit ends."""
        self._store.begin()

    def alive(self, executors: Collection[str]) -> set[str]:
        """Those of some processes that have not ended, as far as anybody has noticed."""
        named = {name: int(no) for name in executors if (no := name.removeprefix("worker-")).isdecimal()}
        marks = ",".join("?" * len(named)) or "0"
        ended = self._store.rows(
            f"SELECT no FROM provenet_worker WHERE ended = 1 AND no IN ({marks})",  # noqa: S608
            [*named.values()],
        )
        gone = {no for (no,) in ended}
        return {name for name in executors if named.get(name) not in gone}

    def over(self, cases: Collection[str]) -> list[str]:
        """Those of some cases that never move again."""
        marks, ended = ",".join("?" * len(cases)), ",".join("?" * len(OVER))
        found = self._store.rows(
            f"SELECT id FROM provenet_case WHERE id IN ({marks}) AND status IN ({ended})",  # noqa: S608
            [*cases, *OVER],
        )
        return [case for (case,) in found]

    async def start(
        self,
        net: str,
        cases: Iterable[tuple[str, Mapping[str, Any]]],
        *,
        tenant: str = "",
        token: str | None = None,
    ) -> AsyncIterator[list[str]]:
        """Start cases, those that are not there yet; they are durable, and nobody's, when their ids come.

        Args:
            net: Name of a deployed net.
            cases: Ids and inputs.
            tenant: For whom they run.
            token: Who asks, where the database is guarded.

        Yields:
            Ids of cases that were started, some hundreds at a time; unless there is an outbox, somebody has
            to dispatch them.

        Raises:
            EngineError: As for ``Engine.start_case``; the cases before the refused one are started.
        """
        asked = {"do": "start", "net": net, "tenant": tenant, "cases": "many"}
        await self._admit(asked, token, "", net=net)
        begun: list[str] = []
        try:
            for case, inputs in cases:
                if not self.engine.has_case(case):
                    begun.append(self._begin(net, inputs, case, tenant))
                    self.turns.tell(case)
                if len(begun) >= BATCH:
                    ids, begun = begun, []
                    await self._started(ids)
                    yield ids
        finally:
            await self._started(begun)
        if begun:
            yield begun

    async def advance(self, case: str) -> Standing:
        """Obey the kill switches, fire what is due, and say where the case stands.

        Raises:
            EngineError: There is no such case, its agent is not at hand, or its turn is another's.
        """
        return (await self.turns.take(case, _look))[0]

    async def work(
        self,
        case: str,
        transition: str,
        token: int,
        *,
        tries: int = 0,
        beat: Callable[[], None] = lambda: None,
    ) -> Standing:
        """Ask a proposer, or perform an effect, and fire with what it gives.

        Harmless where the token is gone by now: nothing is asked, and nothing fires.

        Args:
            case: Id of the case.
            transition: The work's transition.
            token: The token that stands for it.
            tries: How often it was tried before, as far as the caller knows.
            beat: Called every second while the handler runs.

        Returns:
            Where the case stands then. If the work has to be tried again, it is there, with its time.

        Raises:
            EngineError: As for ``advance``.
        """
        begun: list[str] = []

        async def begin(live: LiveCase) -> Job | None:
            step = live.program.by_name.get(transition)
            job = None if step is None else live.jobs.get((step.index, token))
            if not isinstance(job, Job):
                return None
            if job.kind == "ask":
                job.tries = max(job.tries, tries)  # of an effect the store knows
            else:
                if self._is_called(job):
                    return None
                instead = self._workers.admitted(job, by=CALLED + self.executor)
                if instead is not None:
                    instead()
                    return None
                if _only_once(job):
                    begun.append(job.key)
                    self._calls.add(job.key)
            return job

        try:
            standing, job = await self.turns.take(case, begin)
            return standing if job is None else await self._do(job, beat)
        finally:
            self._calls.difference_update(begun)

    async def _do(self, job: Job, beat: Callable[[], None]) -> Standing:
        """Let a handler run, and fire with what it gives."""
        case, once = job.case.id, _only_once(job)
        handle = self._workers.called if job.kind == "perform" else self._workers.asked
        handler = asyncio.create_task(handle(job))
        try:
            while not (await asyncio.wait({handler}, timeout=BEAT))[0]:
                beat()
                if not self._wanted(job):
                    break
        finally:
            if not handler.done():
                handler.cancel()
                await asyncio.wait({handler})
                if once:
                    # Whoever asked for it may be gone: a person learns of it all the same.
                    lost = partial(self._workers.lost, job, "it was stopped while it was called")
                    await asyncio.shield(self._fire(job, lost))
        if handler.cancelled():
            return await self.advance(case)
        error = handler.exception()
        if error is not None:
            # A handler's own failure is an outcome; this is the engine's, or a test's.
            self._runner.jobs.fail(error)
            raise error
        return await self._fire(job, handler.result())

    async def _fire(self, job: Job, then: Callable[[], None]) -> Standing:
        """A turn with what a handler gave."""

        async def fire(live: LiveCase) -> None:
            if job.kind == "perform" and not live.holds(job.step.anchor, job.token):
                return  # another delivery fired with its outcome: what is written of it stays
            fresh = live.jobs.get((job.step.index, job.token))
            if isinstance(fresh, Job):
                self._runner.jobs.become(fresh, "over")
            job.case, job.state = live, "armed"
            self._runner.jobs.armed(job)
            then()

        def late() -> None:
            if job.kind == "perform" and not self._holds(job):
                return
            # It is journaled; nothing fires, since the case as it was remembered is over.
            job.case.status, job.state = "done", "armed"
            self._runner.jobs.armed(job)
            then()
            self._runner.jobs.become(job, "over")

        return (await self.turns.take(job.case.id, fire, over=late))[0]

    def _is_called(self, job: Job) -> bool:
        """Whether somebody is calling an effect that may not be called twice."""
        if not _only_once(job) or not job.tries or job.receipt is not None:
            return False
        if job.key in self._calls:
            return True
        ((reason,),) = self._store.rows("SELECT reason FROM provenet_effect WHERE key = ?", (job.key,))
        by = (reason or "").removeprefix(CALLED)
        return by not in (reason, self.executor) and bool(self.alive({by}))

    async def outside(self, command: dict[str, Any]) -> tuple[dict[str, Any], Standing | None]:
        """Carry out a command (see ``provenet.engine.requests``): a decision, an event, a kill, ...

        Returns:
            What was done, and where its case stands then.

        Raises:
            EngineError: It is refused.
        """
        case = command.get("case") or (command.get("target") if command.get("scope") == "case" else None)
        if case is None:
            return await carry_out(self.engine, command), None

        async def do(live: LiveCase) -> dict[str, Any]:
            del live
            return await carry_out(self.engine, command)

        standing, answer = await self.turns.take(case, do)
        if answer is None:
            # The case is over: the engine says so in its own words.
            answer = await carry_out(self.engine, command)
        return answer, standing

    async def request(self, number: int) -> str | None:
        """Carry out and answer what another process asked for, if nobody else does; the id of its case."""
        self._store.flush()
        mine = "UPDATE provenet_request SET status = 'taken', worker = ? WHERE id = ? AND status = 'new'"
        if not self._store.run(mine, (self._store.database.worker, number)):
            return None
        self._store.flush()
        whole = "SELECT CASE WHEN length(command) <= ? THEN command ELSE '' END"
        whole += " FROM provenet_request WHERE id = ?"
        ((text,),) = self._store.rows(whole, (LONGEST_REQUEST, number))
        found = await answer_to(self._done, number, text, self.engine.seal)
        finish(self._store, number, found)
        await self._store.durable()
        return found.case or None

    def sweep(self, adapter: Adapter) -> Sweep:
        """What finds the cases that nobody wakes."""
        return Sweep(self, self._store, adapter)

    # inside

    async def _done(self, command: dict[str, Any]) -> dict[str, Any]:
        return (await self.outside(command))[0]

    async def _started(self, cases: list[str]) -> None:
        live = [found for case in cases if (found := self._runner.cases.get(case)) is not None]
        for found in live:
            self._runner.forget(found)
        self._store.give_back([found.no for found in live])
        await self._store.durable()

    def _holds(self, job: Job) -> bool:
        """Whether the token of a case that is over is still there, as after a kill."""
        where = job.case.no, job.token
        return bool(self._store.rows("SELECT 1 FROM provenet_token WHERE case_no = ? AND id = ?", where))

    def _wanted(self, job: Job) -> bool:
        """Whether the token of a handler that runs is still there; an effect in flight outlives a parking."""
        statuses = "'running', 'waiting'" + (", 'parked'" if job.kind == "perform" else "")
        return bool(
            self._store.rows(
                "SELECT 1 FROM provenet_token t JOIN provenet_case c ON c.no = t.case_no"  # noqa: S608
                f" WHERE t.case_no = ? AND t.id = ? AND c.status IN ({statuses})",
                (job.case.no, job.token),
            )
        )


def _only_once(job: Job) -> bool:
    return job.kind == "perform" and job.case.program.effect(job.step).idempotent == "no"


async def _look(live: LiveCase) -> None:
    del live

"""Moves cases a turn at a time, on an engine that owns none of them for longer than that.

A turn is: claim the case, load it, fire what is due and what the turn is about, commit, let go. What takes
time (a proposal, an external effect) runs between two turns, when nobody holds the case: the first finds that
its token is still there and makes the intent durable, the second fires with the result if the token still is.
So any process may take the next turn, a turn may be taken twice, and one that was lost is taken by whoever is
told to look next.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakValueDictionary

from provenet.engine.adapters.protocol import OVER, Adapter, Standing, Work
from provenet.engine.adapters.sweep import Sweep
from provenet.engine.case import LIVE, LiveCase
from provenet.engine.errors import CaseElsewhere, EngineError, StoreCorrupt, StoreError
from provenet.engine.jobs import Job
from provenet.engine.requests import answer_to, carry_out, finish
from provenet.engine.runner import Runner
from provenet.engine.store.store import Store
from provenet.engine.workers import Workers
from provenet.nets.net import Ask, Perform

if TYPE_CHECKING:
    from provenet.engine.engine import Engine

T = TypeVar("T")

PATIENCE = 5.0
"""Seconds to wait for another process's turn: it takes milliseconds, unless that process hangs."""

BEAT = 1.0
"""Seconds between two heartbeats of a handler."""

CALLED = "called by "
"""What is noted of an effect that may not be called twice, with the process that calls it."""

BATCH = 256
"""Cases started with one commit."""


class Stepper:
    """Turns on an engine that ``takes="turns"``; made by ``Engine.stepper``.

    Args:
        engine: What carries out requests.
        store: Its database.
        runner: What moves cases.
        workers: What asks proposers and performs effects.
        lift: Claims and loads a case; its number, or 0 where it is over.
        begin: Starts a case in memory.
        admit: Lets somebody start cases, or not.

    Attributes:
        outbox: Called with where a case stands at the end of each turn, before its commit: what it writes
            with the engine's own connection belongs to the same transaction.
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
        self._lift, self._begin, self._admit = lift, begin, admit
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._turns: set[asyncio.Task[Any]] = set()
        self._calls: set[str] = set()
        self.outbox: Callable[[str, Standing], None] | None = None

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

    @property
    def failure(self) -> BaseException | None:
        """What brought the engine down: it takes no turn any more, and has to be opened again."""
        return self._store.failure or self._runner.jobs.crash

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
        await self._admit({"do": "start", "net": net, "tenant": tenant}, token, "", net=net)
        begun: list[str] = []
        try:
            for case, inputs in cases:
                if not self.engine.has_case(case):
                    begun.append(self._begin(net, inputs, case, tenant))
                    self._tell(case)
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
        return (await self._turn(case, _look))[0]

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
            standing, job = await self._turn(case, begin)
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

        return (await self._turn(job.case.id, fire, over=late))[0]

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

        standing, answer = await self._turn(case, do)
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
        ((text,),) = self._store.rows("SELECT command FROM provenet_request WHERE id = ?", (number,))
        found = await answer_to(self._done, number, text, self.engine.seal)
        finish(self._store, number, found)
        await self._store.durable()
        return found.case or None

    def sweep(self, adapter: Adapter) -> Sweep:
        """What finds the cases that nobody wakes."""
        return Sweep(self, self._store, adapter)

    async def settled(self) -> None:
        """Wait for turns whose callers have gone away."""
        while self._turns:
            await asyncio.wait(tuple(self._turns))

    # inside

    async def _done(self, command: dict[str, Any]) -> dict[str, Any]:
        return (await self.outside(command))[0]

    def _tell(self, case: str) -> None:
        live = self._runner.cases.get(case)
        if self.outbox is not None and live is not None:
            self.outbox(case, self._standing(live))

    async def _started(self, cases: list[str]) -> None:
        live = [found for case in cases if (found := self._runner.cases.get(case)) is not None]
        for found in live:
            self._runner.forget(found)
        self._store.give_back([found.no for found in live])
        await self._store.durable()

    async def _turn(
        self, case: str, act: Callable[[LiveCase], Awaitable[T]], *, over: Callable[[], None] | None = None
    ) -> tuple[Standing, T | None]:
        """One turn. It goes on to its end even if its caller is cancelled: no case is let go half done."""
        turn = asyncio.create_task(self._hold(case, act, over))
        self._turns.add(turn)
        turn.add_done_callback(self._ended)
        return await asyncio.shield(turn)

    def _ended(self, turn: asyncio.Task[Any]) -> None:
        self._turns.discard(turn)
        if not turn.cancelled():
            turn.exception()  # who asked for it has it, or has gone away

    async def _hold(
        self, case: str, act: Callable[[LiveCase], Awaitable[T]], over: Callable[[], None] | None
    ) -> tuple[Standing, T | None]:
        lock = self._locks.setdefault(case, asyncio.Lock())
        async with lock:
            if self.failure is not None:
                # Never what is kept there: an exception that is raised again and again grows.
                raise StoreError("the engine failed", hint="it is opened again; nothing is lost")
            try:
                no = await self._claimed(case)
                live = self._runner.cases.get(case) if no else None
                if live is not None:
                    return await self._take(live, act)
                if over is not None:
                    over()
                if no:  # the kill switch ended it just now
                    self._store.give_back([no])
                await self._store.durable()
                return self._gone(case), None
            except StoreCorrupt:
                raise  # this one case's
            except StoreError as error:
                self._runner.jobs.fail(error)
                raise
            except EngineError:
                raise
            except Exception as error:
                # Memory may be ahead of what was meant: nothing of it may be written.
                self._runner.jobs.fail(error)
                raise

    async def _take(
        self, live: LiveCase, act: Callable[[LiveCase], Awaitable[T]]
    ) -> tuple[Standing, T | None]:
        refused: EngineError | None = None
        found: T | None = None
        if live.status in LIVE:
            self._runner.fire_due_of(live)
        if live.status in OVER:
            await self._store.durable()  # whoever asks the store for it shall see that
        try:
            found = await act(live)
        except StoreError:
            raise
        except EngineError as error:
            refused = error
        self._tell(live.id)
        standing = self._standing(live)
        # All of the turn, and its end, is one commit: nobody here may reach the case any more.
        self._runner.forget(live)
        self._store.give_back([live.no])
        await self._store.durable()
        if refused is not None:
            raise refused
        return standing, found

    async def _claimed(self, case: str) -> int:
        loop = asyncio.get_running_loop()
        until, pause = loop.time() + PATIENCE, 0.002
        while True:
            try:
                return self._lift(case)
            except CaseElsewhere:
                if loop.time() >= until:
                    raise
            await asyncio.sleep(pause)
            pause = min(0.1, pause * 1.5)

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

    def _standing(self, live: LiveCase) -> Standing:
        work = [
            Work(job.step.name, job.token, job.key, job.tries, job.due, _limit(job))
            for job in live.jobs.values()
            if isinstance(job, Job) and job.kind != "person" and job.state != "over"
        ]
        moves = live.status in LIVE
        return Standing(
            live.status,
            live.seq,
            self._runner.now(),
            tuple(work) if moves else (),
            min(_waits(live), default=None) if moves else None,
        )

    def _gone(self, case: str) -> Standing:
        ((status, version),) = self._store.rows(
            "SELECT status, version FROM provenet_case WHERE id = ?", (case,)
        )
        return Standing(status, version, self._runner.now())


def _waits(live: LiveCase) -> Iterator[int]:
    """When timers of a case are due, and when events that it keeps have waited long enough."""
    yield from live.timers.values()
    for kept in live.kept:
        if kept.until is not None:
            yield kept.until


def _only_once(job: Job) -> bool:
    return job.kind == "perform" and job.case.program.effect(job.step).idempotent == "no"


async def _look(live: LiveCase) -> None:
    del live


def _limit(job: Job) -> float:
    trigger = job.step.transition.trigger
    assert isinstance(trigger, Ask | Perform)
    return trigger.timeout.total_seconds()

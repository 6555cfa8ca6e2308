"""The engine: deploys proved nets, starts cases, and runs them durably to their end.

::

    async with Engine.open("renewals.db", agents=[agent], clock=VirtualClock(start)) as engine:
        engine.deploy(agent, report)
        await engine.start_case("renewal", inputs={"customer": customer}, case_id="r-1")
        await engine.run_until_idle()

Opening a database resumes the unfinished cases of its agents. One process runs cases on a SQLite file at a
time; on PostgreSQL each case is held by one of many.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from provenet.engine.access.gate import Gate, Rules
from provenet.engine.case import LIVE
from provenet.engine.clock import (
    Clock,
    RealClock,
    VirtualClock,
    cancel_and_wait,
    from_micros,
    to_micros,
)
from provenet.engine.errors import EngineError
from provenet.engine.faults import FaultInjected
from provenet.engine.holding import Holding, Takes
from provenet.engine.in_force import InForce
from provenet.engine.inbox import Inbox
from provenet.engine.keys import Keys
from provenet.engine.outside import Outside
from provenet.engine.personal import Seal
from provenet.engine.pruning import IN_FLIGHT, Schedule
from provenet.engine.publishing import Publishing
from provenet.engine.reader import Reader
from provenet.engine.requests import Requests
from provenet.engine.retention import Retention
from provenet.engine.runner import Runner
from provenet.engine.simulation import Stage, recording_of
from provenet.engine.snapshots import EVERY
from provenet.engine.store.store import Store
from provenet.engine.throttle import Throttle, Throttles
from provenet.engine.vault import Vault
from provenet.engine.verbs import Verbs
from provenet.engine.versions import Versions
from provenet.engine.watching.events import Deployed, Opened, Stopped
from provenet.engine.watching.watch import Observer, Watch
from provenet.engine.workers import People, Workers
from provenet.sdb.handlers import Agent
from provenet.verify.verdict import Report

if TYPE_CHECKING:
    from provenet.engine.adapters.stepper import Stepper

ATTENTION = 0.2
"""Seconds between two looks at what other processes want."""

LONGEST = 1.0
"""Seconds between two looks at the wall clock, which may be set, or go on while the machine sleeps."""

SHARE = 64
"""Cases of a process that died taken over at a look: its peers shall have their share."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands.

    Attributes:
        now: The clock's time.
        firings: Firings since the engine was opened.
        commits: Transactions since then.
        statuses: How many cases are in each status.
        seconds: Real seconds since the run began.
    """

    now: datetime
    firings: int
    commits: int
    statuses: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def cases(self) -> int:
        """How many cases there are."""
        return sum(self.statuses.values())

    @property
    def done(self) -> int:
        """How many do not move by themselves any more."""
        return self.cases - sum(self.statuses.get(s, 0) for s in LIVE)


class Engine(Verbs):
    """Runs cases on one database; made by ``Engine.open``. What may be asked of it is in ``Verbs``."""

    def __init__(
        self,
        url: str | Path,
        *,
        agents: Iterable[Agent],
        clock: Clock,
        people: People | None,
        proposals: int,
        effects: int,
        takes: Takes,
        observers: Iterable[Observer],
        throttles: Iterable[Throttle],
        access: Rules | None,
        snapshot_every: int,
        retention: Retention | None,
        keys: Keys | None,
    ) -> None:
        self._url, self._agents, self._people = url, tuple(agents), people
        self._limits, self._takes, self._snapshot_every = (proposals, effects), takes, snapshot_every
        self._retention = retention
        self._observers, self._throttles = tuple(observers), tuple(throttles)
        self._watch = None
        if people is not None and access not in (None, "off"):
            raise EngineError("people= decides without tokens", hint="leave it out beside access=")
        self._access, self._keys = access, keys
        self.clock = clock
        self._tasks: list[asyncio.Task[None]] = []
        self._requests: Requests

    @classmethod
    def open(
        cls,
        url: str | Path,
        *,
        agents: Iterable[Agent] = (),
        clock: Clock | None = None,
        people: People | None = None,
        proposals: int = 64,
        effects: int = 64,
        takes: Takes = "all",
        observers: Iterable[Observer] = (),
        throttles: Iterable[Throttle] = (),
        access: Rules | None = None,
        snapshot_every: int = EVERY,
        retention: Retention | None = None,
        keys: Keys | None = None,
    ) -> Engine:
        """An engine on a database, for ``async with``; entering it resumes unfinished cases of its agents.

        Args:
            url: ``renewals.db``, ``sqlite:///renewals.db`` or ``:memory:``.
            agents: The agents whose cases it runs; one that was deployed to this database before need not be
                deployed again.
            clock: The time; the wall clock unless said otherwise.
            people: Decides open tasks, for demos and tests.
            proposals: Most proposals at a time.
            effects: Most effects at a time.
            takes: Which unfinished cases it takes up; where not all, it starts no work by itself.
            observers: Who is told what happens: ``provenet.engine.watching``.
            throttles: How much may be called and spent in which time, by all processes together.
            access: Who may do what from outside, or the file that says so; everybody may where it was never
                given on this database. ``off`` takes that back.
            snapshot_every: Entries of a log from one snapshot of its case to the next; 0 for none.
            retention: What is dropped while it runs, and when; nothing unless said otherwise.
            keys: Master keys, for nets with personal fields; those of the environment unless given.
        """
        return cls(
            url,
            agents=agents,
            clock=clock or RealClock(),
            people=people,
            proposals=proposals,
            effects=effects,
            takes=takes,
            observers=observers,
            throttles=throttles,
            access=access,
            snapshot_every=snapshot_every,
            retention=retention,
            keys=keys,
        )

    async def __aenter__(self) -> Self:
        """Open the database and resume its cases.

        Raises:
            StoreError: The database cannot be opened.
        """
        self._store = Store(self._url)
        try:
            self._open()
        except BaseException:
            self._store.abandon()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop work in flight, commit what is done, and close the database."""
        await self.close()

    async def crash(self) -> None:
        """Stop as a power cut would: what is not durable by now is lost. For tests."""
        self._runner.jobs.fail(FaultInjected("crash"))
        await self.close()

    @property
    def retention(self) -> Retention | None:
        """How long what is kept, as the engine was opened."""
        return self._retention

    def hold_work(self, held: Callable[[], bool]) -> None:
        """Let no work outside begin, and no time pass, while ``held()`` is true. For tests.

        Runs end where work is held; what is in flight by then has come to its end.
        """
        self._runner.jobs.held = held

    async def close(self) -> None:
        """Stop work in flight, commit what is done, close the database; work resumes at the next opening."""
        self._runner.jobs.closing = "yes"  # what ends now makes room for nothing new
        tasks = self._runner.jobs.running(self._runner.cases.values())
        tasks += self._tasks
        self._tasks = []
        await cancel_and_wait([t for t in tasks if t is not asyncio.current_task()])
        self._workers.close()
        if self._runner.jobs.crash is None:
            self._gate.close()
        if self._runner.jobs.crash is not None:
            self._store.abandon()
        else:
            self._store.close()
        if self._watch is not None:
            failure = self._runner.jobs.crash or self._store.failure
            self._watch.say(Stopped(self._runner.now(), "" if failure is None else type(failure).__name__))

    # deploy and start

    def deploy(self, agent: Agent, report: Report) -> str:
        """Let a net version start cases.

        Args:
            agent: The net with its handlers.
            report: What ``provenet.verify`` says of this very net.

        Returns:
            The net's content hash.

        Raises:
            DeployRefused: With everything that is missing.
        """
        before = set(self._versions.programs)
        found = self._versions.deploy(agent, report, self._runner.now())
        self._tell(Deployed(agent.net.name, found, self._runner.now()))
        if found not in before:
            self._holding.adopt({found: self._versions.programs[found]})
        return found

    async def start_case(
        self,
        net: str,
        *,
        inputs: Mapping[str, Any] | None = None,
        case_id: str | None = None,
        tenant: str = "",
        subject: str = "",
        known_by: Mapping[str, str] | None = None,
        token: str | None = None,
    ) -> str:
        """Start a case; it is durable when this returns.

        Args:
            net: Name of a deployed net; its latest version is used.
            inputs: A value for each entry place: a model instance, a mapping of fields, or a token value.
            case_id: Unique in the database; one is made up where none is given.
            tenant: For whom it runs, where throttles tell tenants apart.
            subject: Whom it is about, where personal data of one person in several cases are to be erased
                together; an internal number, since it is stored as it is.
            known_by: Keys that the outside knows it by, besides those that its net reads off its input:
                ``{"order": "17"}``.
            token: Who asks, where the database is guarded.

        Returns:
            The case's id.

        Raises:
            NotDeployed: No version of the net may start cases here.
            InputRefused: An input is missing, unknown, of another type, or outside what the net was proved
            for.
            CaseExists: The id is taken.
            KillSwitchOn: The net, or everything, was killed.
        """
        if self._gate.is_guarded:
            asked = {"do": "start", "net": net, "case": case_id, "inputs": inputs, "tenant": tenant}
            asked |= ({"known_by": known_by} if known_by else {}) | ({"subject": subject} if subject else {})
            await self._gate.admit(asked, token, "", net=net)
        case_id = case_id or uuid.uuid4().hex[:12]
        made = self._holding.start(net, inputs or {}, case_id, tenant, subject, known_by or {})
        await self._store.durable()
        return made

    async def start_cases(
        self,
        net: str,
        cases: Iterable[tuple[str, Mapping[str, Any]]],
        *,
        existing: Literal["refuse", "skip"] = "refuse",
        tenant: str = "",
        subject: str = "",
        token: str | None = None,
    ) -> int:
        """Start many cases in few commits; durable when this returns.

        Args:
            net: Name of a deployed net.
            cases: Ids and inputs.
            existing: What to do about an id that the database has already; ``skip`` makes a repeated import
                harmless.
            tenant: For whom they run.
            subject: Whom they are about.
            token: Who asks, where the database is guarded.

        Returns:
            How many were started.

        Raises:
            EngineError: As for ``start_case``; the cases before the refused one are started.
        """
        # Never what a signed start of one case is for.
        asked = {"do": "start", "net": net, "tenant": tenant, "subject": subject, "cases": "many"}
        await self._gate.admit(asked, token, "", net=net)
        started = 0
        for case_id, inputs in cases:
            if existing == "skip" and self._holding.has(case_id):
                continue
            self._holding.start(net, inputs, case_id, tenant, subject)
            started += 1
            if started % 256 == 0:
                await self._store.durable()
        await self._store.durable()
        return started

    def is_shared(self) -> bool:
        """Whether other processes may run cases on the database meanwhile."""
        return self._holding.is_shared()

    def has_case(self, case_id: str) -> bool:
        """Whether the database has a case of that id."""
        return self._holding.has(case_id)

    # running

    async def run_until_idle(
        self, *, progress: Callable[[Progress], None] | None = None, until: datetime | None = None
    ) -> Progress:
        """Run until nothing can happen without the outside.

        On a virtual clock that includes all timers, however far off; on the real clock it means that no work
        is in flight.

        Args:
            progress: Called a few times a second.
            until: A virtual clock goes no further than this.

        Raises:
            StoreError: The database failed; what was committed is safe, and the next opening resumes it.
        """
        began = told = time.monotonic()
        clock, jobs = self.clock, self._runner.jobs
        jobs.begin_queued()
        while True:
            await self._quiet()
            if jobs.held():
                break
            if progress is not None and time.monotonic() - told > 0.2:
                told = time.monotonic()
                progress(self.progress(told - began))
            if not isinstance(clock, VirtualClock):
                break
            due = self._next_due(clock)
            if due is None or (until is not None and due > until):
                if until is not None:
                    clock.jump(until)
                break
            clock.jump(due)
            self._runner.fire_due()
            self._holding.check()
            await asyncio.sleep(0)
        await self._store.durable()
        if progress is not None:
            progress(self.progress(time.monotonic() - began))
        return self.progress(time.monotonic() - began)

    async def serve(self, stop: asyncio.Event) -> None:
        """Run on the real clock until told to stop.

        Raises:
            StoreError: The database failed.
        """
        waiter = asyncio.ensure_future(stop.wait())
        try:
            while not waiter.done():
                self._holding.check()
                await asyncio.wait([waiter], timeout=0.2)
        finally:
            waiter.cancel()

    async def attend(self) -> None:
        """Look now at what is due and at what other processes want; it does so by itself a little later."""
        self._holding.check()
        await self._look()
        self._runner.alarm.set()

    def progress(self, seconds: float = 0.0) -> Progress:
        """Where the engine stands."""
        counts = {k: n for k, n in self._runner.statuses.items() if n}
        return Progress(self.clock.now(), self._runner.firings, self._store.commits, counts, seconds)

    def stepper(self) -> Stepper:
        """What moves cases a turn at a time, for an engine that ``takes="turns"``."""
        from provenet.engine.adapters.stepper import Stepper

        return Stepper(
            self,
            self._store,
            self._runner,
            self._workers,
            lift=self._holding.lift,
            begin=self._holding.start,
            admit=self._gate.admit,
        )

    def seal(self, key: str) -> Seal:
        """What reads and writes personal values under a key.

        Raises:
            NoKeys: There is no such key, or no master key at hand opens it.
        """
        return self._vault.named(key)

    def missed(self) -> list[str]:
        """Cases with events that were published for them while they were being started: they need a look."""
        return self._publishing.missed()

    # reading

    @property
    def read(self) -> Reader:
        """The read side: cases, logs, tasks, exports; sees what is durable."""
        if self._store.failure is None:
            self._store.flush()
        return Reader(self._url if self._store.location.kind != "memory" else self._store.database.sa)

    # inside

    def _is_alone_in_time(self) -> bool:
        """Whether its clock stands still, and nobody else can be running cases beside it."""
        beside = self._takes == "asked" and self._store.database.shared == "yes"
        return isinstance(self.clock, VirtualClock) and not beside

    def _open(self) -> None:
        self._workers = Workers(
            self._store,
            self.clock,
            people=self._people,
            throttles=Throttles(self._throttles, self._store),
        )
        work: dict[Any, Any] = {"ask": self._workers.ask, "perform": self._workers.perform}
        if self._people is not None:
            work["person"] = self._workers.person
        if self._observers:
            self._watch = self._store.watch = Watch(self._observers, lambda: to_micros(self.clock.now()))
        limits: dict[Any, int] = {"ask": self._limits[0], "perform": self._limits[1]}
        self._runner = Runner(
            self._store, self.clock, limits, work, watch=self._watch, snapshot_every=self._snapshot_every
        )
        self._store.on_failure = self._runner.jobs.fail
        self._schedule = Schedule(
            self._store,
            self._runner.now,
            self._runner.uncount,
            self._retention,
            ended_for=timedelta(0) if self._is_alone_in_time() else IN_FLIGHT,
        )
        self._gate = Gate(self._store, self._runner.now, self._access)
        if self._people is not None and self._access != "off" and self._gate.is_guarded:
            raise EngineError(
                "people= decides without tokens, and the database is guarded", hint="leave it out"
            )
        if self._takes != "asked":
            self._gate.listen()
        self._outside = Outside(self._store, self._runner)
        recording = recording_of(self._store.rows("SELECT name, value FROM provenet_meta"))
        if recording is None:
            self._versions = Versions(self._store)
            self._runner.waits.in_force = InForce(self._versions)
        else:
            # In a simulation no agent reaches the outside, whoever gave it.
            self._versions = Versions(self._store, Stage(self._store, self._runner, recording).dressed)
        self._workers.runner, self._workers.outside = self._runner, self._outside
        self._vault = Vault(self._store, self._keys)
        self._holding = Holding(
            self._store,
            self._runner,
            self._versions,
            self._outside,
            clock=self.clock,
            takes=self._takes,
            watch=self._watch,
            vault=self._vault,
        )
        self._inbox = Inbox(self._store, self._runner, self._holding, self._vault)
        self._publishing = Publishing(
            self._store, self._runner, self._holding, self._versions, self._vault, inbox=self._inbox
        )
        self._holding.resume_clock()
        if self._watch is not None:
            self._watch.say(Opened(self._store.uid, self._runner.now()))
        self._versions.load(self._agents)
        if self._takes != "all":
            self._runner.jobs.runs = "elsewhere"
        self._holding.resume()
        self._gate.declare()
        create = asyncio.get_running_loop().create_task
        if self._takes == "all":
            self._requests = Requests(self, self._store)
            self._tasks.append(create(self._attend()))
        if self._takes != "turns" and not isinstance(self.clock, VirtualClock):
            self._tasks.append(create(self._tick()))

    async def _attend(self) -> None:
        """See a few times a second to what other processes want, and to cases that nobody runs any more."""
        while True:
            await asyncio.sleep(ATTENTION)
            try:
                await self._look()
            except Exception as error:  # noqa: BLE001  whatever it is, the engine must not go on half blind
                self._runner.jobs.fail(error)
                return

    async def _look(self) -> None:
        if self.is_shared():
            await self._holding.obey_others()
            self._versions.load()
            self._holding.adopt(self._versions.programs, SHARE)
            self._publishing.catch_up()
        await self._requests.answer_new()
        await self._schedule.look()

    def _next_due(self, clock: VirtualClock) -> datetime | None:
        mine, sleeper = self._runner.waits.next_due(), clock.next_due()
        due = [d for d in (None if mine is None else from_micros(mine), sleeper) if d is not None]
        return min(due, default=None)

    async def _quiet(self) -> None:
        await self._runner.jobs.quiet()
        self._holding.check()

    async def _tick(self) -> None:
        """On the real clock: fire timers when they are due."""
        runner = self._runner
        while True:
            runner.alarm.clear()
            runner.waits.notice_clock()
            try:
                runner.fire_due()
            except BaseException as error:  # noqa: BLE001  the engine must not go on without its timers
                runner.jobs.fail(error)
                return
            due = runner.waits.next_due()
            wait = LONGEST if due is None else min(LONGEST, max(0.0, (due - runner.now()) / 1e6))
            try:
                async with asyncio.timeout(wait):
                    await runner.alarm.wait()
            except TimeoutError:
                continue

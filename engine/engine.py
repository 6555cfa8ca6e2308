"""The engine: deploys proved nets, starts cases, and runs them durably to their end.

::

    async with Engine.open("renewals.db", agents=[agent], clock=VirtualClock(start)) as engine:
        engine.deploy(agent, report)
        await engine.start_case("renewal", inputs={"customer": customer}, case_id="r-1")
        await engine.run_until_idle()

Opening a database resumes every unfinished case in it. One process runs cases on a database at a time.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from provenet.engine.case import LIVE, LiveCase
from provenet.engine.clock import Clock, RealClock, VirtualClock, cancel_and_wait, from_micros, to_micros
from provenet.engine.codec import clean
from provenet.engine.errors import (
    CaseClosed,
    CaseElsewhere,
    CaseExists,
    DecisionRefused,
    DuplicateSignal,
    EngineError,
    InputRefused,
    KillSwitchOn,
    NoSuchCase,
    NotDeployed,
)
from provenet.engine.faults import FaultInjected, fault_point
from provenet.engine.outside import Outside
from provenet.engine.program import Program
from provenet.engine.recovery import load_cases
from provenet.engine.requests import Requests
from provenet.engine.runner import Runner
from provenet.engine.simulation import Stage, recording_of
from provenet.engine.store.store import Store
from provenet.engine.throttle import Throttle, Throttles
from provenet.engine.versions import Versions, entry_values
from provenet.engine.views import Reader
from provenet.engine.watching.events import (
    CaseStarted,
    CaseTaken,
    Deployed,
    Event,
    Opened,
    Pulled,
    Signalled,
    Stopped,
)
from provenet.engine.watching.watch import Observer, Watch
from provenet.engine.workers import People, Workers
from provenet.nets.errors import did_you_mean
from provenet.nets.marking import initial_marking
from provenet.sdb.handlers import Agent
from provenet.verify.verdict import Report

if TYPE_CHECKING:
    from provenet.engine.adapters.stepper import Stepper
    from provenet.engine.marking_map import MarkingMap
    from provenet.engine.migrate import Migration
    from provenet.engine.reaching import Evidence

ALL = 1_000_000_000
"""As many cases as there are."""

ATTENTION = 0.2
"""Seconds between two looks at what other processes want."""

SHARE = 64
"""Cases of a process that died taken over at a look: its peers shall have their share."""

NUMBERS = 256
"""Case numbers taken from a database at a time."""

KillScope: TypeAlias = Literal["case", "net", "all"]

Takes: TypeAlias = Literal["all", "asked", "turns"]
"""Which unfinished cases an engine takes up: all that it can run, only those that it is asked for, or each for
one short turn at a time, when somebody else says that it is time (``provenet.engine.adapters``)."""


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


class Engine:
    """Runs cases on one database; made by ``Engine.open``."""

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
    ) -> None:
        self._url, self._agents, self._people = url, tuple(agents), people
        self._limits, self._takes = (proposals, effects), takes
        self._observers, self._throttles = tuple(observers), tuple(throttles)
        self._watch: Watch | None = None
        self.clock = clock
        self._tasks: list[asyncio.Task[None]] = []
        self._known: dict[str, int] = {}
        self._fresh = range(0)
        self._store: Store
        self._workers: Workers
        self._runner: Runner
        self._versions: Versions
        self._outside: Outside
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
    ) -> Engine:
        """An engine on a database, for ``async with``; entering it resumes every unfinished case.

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
        self._later(Deployed(agent.net.name, found, self._runner.now()))
        if found not in before:
            self._adopt({found: self._versions.programs[found]}, ALL)
        return found

    async def start_case(
        self,
        net: str,
        *,
        inputs: Mapping[str, Any] | None = None,
        case_id: str | None = None,
        tenant: str = "",
    ) -> str:
        """Start a case; it is durable when this returns.

        Args:
            net: Name of a deployed net; its latest version is used.
            inputs: A value for each entry place: a model instance, a mapping of fields, or a token value.
            case_id: Unique in the database; one is made up where none is given.
            tenant: For whom it runs, where throttles tell tenants apart.

        Returns:
            The case's id.

        Raises:
            NotDeployed: No version of the net may start cases here.
            InputRefused: An input is missing, unknown, of another type, or outside what the net was proved
            for.
            CaseExists: The id is taken.
            KillSwitchOn: The net, or everything, was killed.
        """
        made = self._start(net, inputs or {}, case_id or uuid.uuid4().hex[:12], tenant)
        await self._store.durable()
        return made

    async def start_cases(
        self,
        net: str,
        cases: Iterable[tuple[str, Mapping[str, Any]]],
        *,
        existing: Literal["refuse", "skip"] = "refuse",
        tenant: str = "",
    ) -> int:
        """Start many cases in few commits; durable when this returns.

        Args:
            net: Name of a deployed net.
            cases: Ids and inputs.
            existing: What to do about an id that the database has already; ``skip`` makes a repeated import
                harmless.
            tenant: For whom they run.

        Returns:
            How many were started.

        Raises:
            EngineError: As for ``start_case``; the cases before the refused one are started.
        """
        started = 0
        for case_id, inputs in cases:
            if existing == "skip" and self.has_case(case_id):
                continue
            self._start(net, inputs, case_id, tenant)
            started += 1
            if started % 256 == 0:
                await self._store.durable()
        await self._store.durable()
        return started

    def is_shared(self) -> bool:
        """Whether other processes may run cases on the database meanwhile."""
        return self._store.database.shared == "yes"

    def has_case(self, case_id: str) -> bool:
        """Whether the database has a case of that id."""
        if case_id not in self._known and self.is_shared():
            asked = clean(case_id).replace("\0", "")
            for (no,) in self._store.rows("SELECT no FROM provenet_case WHERE id = ?", (asked,)):
                self._known[case_id] = no
        return case_id in self._known

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
            self._check()
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
                self._check()
                await asyncio.wait([waiter], timeout=0.2)
        finally:
            waiter.cancel()

    async def attend(self) -> None:
        """Look now at what is due and at what other processes want; it does so by itself a little later."""
        self._check()
        await self._look()
        self._runner.alarm.set()

    def progress(self, seconds: float = 0.0) -> Progress:
        """Where the engine stands."""
        counts = {k: n for k, n in self._runner.statuses.items() if n}
        return Progress(self.clock.now(), self._runner.firings, self._store.commits, counts, seconds)

    # people, events, the kill switch

    async def decide(
        self, case: str, task: str, choice: str, who: str, *, about_hash: str | None = None, note: Any = None
    ) -> None:
        """Decide an open task.

        Args:
            case: Id of the case.
            task: Name of the task.
            choice: One of its choices.
            who: The person with role, ``dana@pricing``.
            about_hash: Hash of what the person was shown; the decision is refused if the task is about
                something else.
            note: Payload for a choice that brings one.

        Raises:
            DecisionRefused: Wrong role, past the deadline, about something else, or no such open task or
            choice.
            CaseClosed: The case does not move.
        """
        live = self._live(case)
        found = [t for t in live.tasks.values() if t.task == task]
        if about_hash is not None:
            bound = [t for t in found if t.about_hash == about_hash]
            if found and not bound:
                raise DecisionRefused(
                    f"task {task!r} is about something else by now: "
                    f"{found[0].about_hash[:12]}, not {about_hash[:12]}",
                    where=f"case {case!r}",
                    hint="look at the task again and decide on what it says now",
                )
            found = bound
        if not found:
            open_tasks = sorted({t.task for t in live.tasks.values()})
            raise DecisionRefused(
                f"there is no open task {task!r}", where=f"case {case!r}", hint=did_you_mean(task, open_tasks)
            )
        self._outside.decide(live, found[0], choice, who, about_hash=about_hash, note=note)
        await self._store.durable()

    async def approve(self, case: str, task: str, who: str, *, about_hash: str | None = None) -> None:
        """Decide ``approve``; see ``decide``."""
        await self.decide(case, task, "approve", who, about_hash=about_hash)

    async def deny(self, case: str, task: str, who: str, *, about_hash: str | None = None) -> None:
        """Decide ``deny``; see ``decide``."""
        await self.decide(case, task, "deny", who, about_hash=about_hash)

    async def signal(self, case: str, event: str, payload: Any = None, *, key: str | None = None) -> None:
        """Tell a case that something happened outside; every event is kept in the inbox, accepted or not.

        Args:
            case: Id of the case.
            event: Name of the event.
            payload: Its payload, where the net wants one.
            key: What tells this event from others; a key that was accepted before is refused.

        Raises:
            DuplicateSignal: The key was accepted before.
            SignalRefused: The net has no such event, nothing waits for it now, or the payload does not fit.
            NoSuchCase: There is no such case.
        """
        fault_point("signal")
        self._check()
        no = self._number(case)
        try:
            self._outside.signal(self._live(case), event, payload, key)
        except EngineError as error:
            status = "duplicate" if isinstance(error, DuplicateSignal) else "refused"
            self._outside.inbox(no, key, event, payload, status=status, reason=error.message)
            self._later(Signalled(case, event, status, self._runner.now()))
            await self._store.durable()
            raise
        self._later(Signalled(case, event, "accepted", self._runner.now()))
        await self._store.durable()

    async def kill(self, scope: KillScope, target: str = "", *, who: str = "", reason: str = "") -> int:
        """Pull the kill switch: no commit begins any more, what was committed is compensated.

        A net or everything stays killed, and starts no new case, until ``release``.

        Args:
            scope: One case, all cases of a net, or all.
            target: Id of the case, or name of the net.
            who: Who pulls it.
            reason: Why.

        Returns:
            How many cases it reached.

        Raises:
            NoSuchCase: There is no such case.
            CaseClosed: The case is over already.
        """
        self._check()
        if scope == "case":
            self._number(target)
            if target not in self._runner.cases:
                self._ask_for(target)
            stopped = self._runner.cases.get(target)
            reached = [stopped if stopped is not None and stopped.status == "parked" else self._live(target)]
        else:
            reached = [
                c
                for c in tuple(self._runner.cases.values())
                if scope == "all" or c.program.net.name == target
            ]
            self._outside.kills[scope, target] = self._runner.now()
        self._store.append(
            "provenet_kill", (scope, target, clean(who), clean(reason), self._runner.now(), None)
        )
        for case in reached:
            self._store.flush_if_large()
            self._outside.kill(case, who, reason)
        self._later(Pulled(scope, target, who, reason, len(reached), "no", self._runner.now()))
        await self._store.durable()
        return len(reached)

    async def release(self, scope: Literal["net", "all"], target: str = "") -> None:
        """Let a killed net, or everything, start new cases again."""
        self._store.flush()
        self._outside.kills.pop((scope, target), None)
        self._store.run(
            "UPDATE provenet_kill SET released = ? WHERE scope = ? AND target = ? AND released IS NULL",
            (self._runner.now(), scope, target),
        )
        self._later(Pulled(scope, target, "", "", 0, "yes", self._runner.now()))
        await self._store.durable()

    async def resume(self, case: str) -> None:
        """Let a parked case go on, after what stopped it was mended.

        Raises:
            CaseClosed: The case is not parked.
        """
        live = self._parked(case)
        self._outside.unpark(live)
        await self._go_on(live)

    async def settle(
        self, case: str, effect: str, *, who: str, receipt: Any = None, failed: str | None = None
    ) -> None:
        """Say what became of an effect whose fate is unknown, and let its case go on.

        Args:
            case: Id of the parked case.
            effect: Name of the effect.
            who: Who found out.
            receipt: What the effect gave; it was performed.
            failed: Why it was not performed, where it was not.

        Raises:
            NotSettled: No effect of that name waits for this, or the receipt does not fit.
            CaseClosed: The case is not parked.
        """
        live = self._parked(case)
        job = self._outside.unsettled(live, effect)
        if failed is None:
            self._outside.settle(job, receipt, who)
        self._outside.unpark(live)
        if failed is not None:
            live.receipts.pop((job.step.index, job.token))
            self._workers.settle_failed(job, f"{who}: {failed}")
        await self._go_on(live)

    def stepper(self) -> Stepper:
        """What moves cases a turn at a time, for an engine that ``takes="turns"``."""
        from provenet.engine.adapters.stepper import Stepper

        return Stepper(self, self._store, self._runner, self._workers, lift=self._lift, begin=self._start)

    async def migrate(
        self,
        old: str,
        new: str,
        marking_map: MarkingMap,
        *,
        accept: Evidence = "history",
        dry_run: Literal["no", "yes"] = "no",
    ) -> Migration:
        """Move unfinished cases of a net version to another one, which is deployed here.

        Both agents are at hand. Every case is looked at by itself: one that cannot go stays as it is.

        Args:
            old: The version that they leave: its content hash, or the beginning of it.
            new: The version that they go to, likewise, or the net's name for its latest one.
            marking_map: Where their tokens go.
            accept: The least that has to show that the new version's proofs cover a case there; see
                ``provenet.engine.reaching``.
            dry_run: ``yes`` to look only.

        Raises:
            MigrationRefused: There are no such versions, or the map does not fit them.
            NotDeployed: The agent of one of them was not given.
        """
        from provenet.engine.migrate import migrate

        self._check()
        found = migrate(
            self._store,
            self._runner,
            self._versions.programs,
            (old, new),
            marking_map,
            accept=accept,
            dry_run=dry_run,
            lift=self._lifted,
        )
        await self._store.durable()
        return found

    # reading

    @property
    def read(self) -> Reader:
        """The read side: cases, logs, tasks, exports; sees what is durable."""
        if self._store.failure is None:
            self._store.flush()
        return Reader(self._url if self._store.location.kind != "memory" else self._store.database.sa)

    # inside

    def _open(self) -> None:
        self._workers = Workers(
            self._store,
            self.clock,
            threads=self._limits[1],
            people=self._people,
            throttles=Throttles(self._throttles, self._store),
        )
        work: dict[Any, Any] = {"ask": self._workers.ask, "perform": self._workers.perform}
        if self._people is not None:
            work["person"] = self._workers.person
        if self._observers:
            self._watch = self._store.watch = Watch(self._observers, lambda: to_micros(self.clock.now()))
        limits: dict[Any, int] = {"ask": self._limits[0], "perform": self._limits[1]}
        self._runner = Runner(self._store, self.clock, limits, work, watch=self._watch)
        self._store.on_failure = self._runner.jobs.fail
        self._outside = Outside(self._store, self._runner)
        recording = recording_of(self._store.rows("SELECT name, value FROM provenet_meta"))
        if recording is None:
            self._versions = Versions(self._store)
        else:
            # In a simulation no agent reaches the outside, whoever gave it.
            self._versions = Versions(self._store, Stage(self._store, self._runner, recording).dressed)
        self._workers.runner, self._workers.decide = self._runner, self._outside.decide
        self._resume_clock()
        if self._watch is not None:
            self._watch.say(Opened(self._store.uid, self._runner.now()))
        self._versions.load(self._agents)
        if self._store.database.shared == "no":
            self._known = {
                case_id: no for no, case_id in self._store.rows("SELECT no, id FROM provenet_case")
            }
        self._outside.kills = self._kills()
        for status, count in self._store.rows("SELECT status, COUNT(*) FROM provenet_case GROUP BY status"):
            if status not in (*LIVE, "parked"):
                self._runner.statuses[status] += count
        if self._takes != "all":
            self._runner.jobs.runs = "elsewhere"
        self._adopt(self._versions.programs, ALL)
        create = asyncio.get_running_loop().create_task
        if self._takes == "all":
            self._requests = Requests(self, self._store)
            self._tasks.append(create(self._attend()))
        if self._takes != "turns" and not isinstance(self.clock, VirtualClock):
            self._tasks.append(create(self._tick()))

    def _adopt(self, programs: Mapping[str, Program], most: int) -> int:
        """Take up unfinished cases of some net versions that nobody runs; how many."""
        if self._takes == "turns":
            return 0
        # Where nobody else runs, all cases are asked for.
        all_of_them = self._takes == "all" or not self.is_shared()
        numbers = self._store.claim([*programs], most) if all_of_them else []
        self._take_up(programs, numbers)
        return len(numbers)

    def _take_up(self, programs: Mapping[str, Program], numbers: Sequence[int]) -> None:
        for case in load_cases(self._store, programs, numbers):
            self._runner.adopt(case)
            self._later(CaseTaken(case.id, case.program.net.name, case.status, self._runner.now()))
            self._outside.obey(case)
            if case.status in LIVE:
                self._runner.rearm(case, case.seq)
            self._store.flush_if_large()

    def _kills(self) -> dict[tuple[str, str], int]:
        """The kill switches that are on, for a net or for all."""
        rows = self._store.rows(
            "SELECT scope, target, at FROM provenet_kill WHERE released IS NULL AND scope <> 'case'"
        )
        return {(scope, target): at for scope, target, at in rows}

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
            await self._obey_others()
            self._versions.load()
            self._adopt(self._versions.programs, SHARE)
        await self._requests.answer_new()

    async def _obey_others(self) -> None:
        """Let a kill switch that another process pulled reach the cases here."""
        pulled = self._kills()
        new = pulled.items() - self._outside.kills.items()
        self._outside.kills = pulled
        if new:
            for case in tuple(self._runner.cases.values()):
                self._store.flush_if_large()
                self._outside.obey(case)
            await self._store.durable()

    def _resume_clock(self) -> None:
        kind = "virtual" if isinstance(self.clock, VirtualClock) else "real"
        known = self._store.rows("SELECT value FROM provenet_meta WHERE name = 'clock'")
        if self._takes != "asked" and known != [(kind,)]:
            self._store.put("provenet_meta", "clock", ("clock", kind))
        if isinstance(self.clock, VirtualClock):
            last = self._store.rows("SELECT MAX(at) FROM provenet_event")[0][0]
            if last is not None:
                self.clock.jump(from_micros(last))

    def _start(self, net: str, inputs: Mapping[str, Any], case_id: str, tenant: str) -> str:
        self._check()
        for scope in (("all", ""), ("net", net)):
            if scope in self._outside.kills:
                what = "everything" if scope[0] == "all" else f"net {net!r}"
                raise KillSwitchOn(
                    f"{what} was killed", hint="release the kill switch before new cases start"
                )
        program = self._versions.program(net)
        if not case_id or len(case_id) > 200 or not case_id.isprintable():
            raise InputRefused(f"a case id is 1 to 200 printable characters, not {case_id!r:.80}")
        if len(tenant) > 200 or not tenant.isprintable():
            raise InputRefused(f"a tenant is up to 200 printable characters, not {tenant!r:.80}")
        marking = initial_marking(program.net, entry_values(program, inputs))
        fault_point("start")
        now = self._runner.now()
        if case_id in self._known:
            raise _taken(case_id)
        case = LiveCase(self._number_for_case(), case_id, program, now, tenant)
        owner = self._store.database.worker
        row = (case.no, case_id, program.hash, "running", 0, 1, case.head, now, *[None] * 4, 0, owner, tenant)
        if self._store.add_case(row) == "exists":
            raise _taken(case_id)
        self._known[case_id] = case.no
        self._runner.adopt(case)
        self._later(CaseStarted(case_id, program.net.name, program.hash, now))
        case.start(self._store, marking, now)
        self._runner.settle(case, 0, [], all_places=True)
        return case_id

    def _later(self, event: Event) -> None:
        if self._watch is not None:
            self._watch.later(event)

    def _number_for_case(self) -> int:
        if not self._fresh:
            first = self._store.database.case_numbers(NUMBERS)
            self._fresh = range(first, first + NUMBERS)
        no, self._fresh = self._fresh[0], self._fresh[1:]
        return no

    def _number(self, case: str) -> int:
        if not self.has_case(case):
            raise NoSuchCase(f"there is no case {case!r}", hint=did_you_mean(case, list(self._known)[:2000]))
        return self._known[case]

    def _parked(self, case: str) -> LiveCase:
        self._check()
        self._number(case)
        if case not in self._runner.cases:
            self._ask_for(case)
        live = self._runner.cases.get(case)
        if live is None or live.status != "parked":
            raise CaseClosed(f"case {case!r} is not parked", hint="only a parked case can be resumed")
        return live

    async def _go_on(self, case: LiveCase) -> None:
        """Set a case in motion that was parked."""
        self._outside.obey(case)
        if case.status in LIVE:
            self._runner.rearm(case, case.seq)
        await self._store.durable()

    def _live(self, case: str) -> LiveCase:
        self._check()
        self._number(case)
        if case not in self._runner.cases:
            self._ask_for(case)
        live = self._runner.cases.get(case)
        if live is None or live.status not in LIVE:
            state = (
                "parked: " + (live.reason or "") if live is not None else "over, or its agent was not given"
            )
            raise CaseClosed(
                f"case {case!r} does not move: it is {state}", hint=f"see `provenet case {case}`"
            )
        return live

    def _ask_for(self, case: str) -> None:
        """Take up a case that nobody runs."""
        no = self._known[case]
        rows = self._store.rows("SELECT status FROM provenet_case WHERE no = ?", (no,))
        if not rows or rows[0][0] not in (*LIVE, "parked"):
            return
        if self._store.claim_one(no) == "elsewhere":
            raise CaseElsewhere(
                f"another process runs case {case!r}", hint="ask that process: provenet.engine.ask"
            )
        self._take_up(self._versions.programs, [no])

    def _lift(self, case: str) -> int:
        """Take up a case for one turn; its number, or 0 if it is over.

        Raises:
            CaseElsewhere: Another process is at its turn.
            NotDeployed: The agent of its net is not at hand.
        """
        self._check()
        no = self._number(case)
        ((net, status),) = self._store.rows("SELECT net, status FROM provenet_case WHERE no = ?", (no,))
        if status not in (*LIVE, "parked"):
            return 0
        if net not in self._versions.programs:
            self._versions.load()
        if net not in self._versions.programs:
            raise NotDeployed(f"the agent of net {net[:12]} is not at hand", where=f"case {case!r}")
        self._store.flush()  # a claim must not wait for anybody's commit
        if self._store.claim_one(no) == "elsewhere":
            raise CaseElsewhere(f"another process is at case {case!r}", hint="its turn is over soon")
        self._outside.kills = self._kills()
        self._take_up(self._versions.programs, [no])
        return no

    def _lifted(self, case: str) -> LiveCase | None:
        """An unfinished case in memory; ``None`` where another process runs it."""
        self._number(case)
        if case not in self._runner.cases:
            try:
                self._ask_for(case)
            except CaseElsewhere:
                return None
        return self._runner.cases.get(case)

    def _next_due(self, clock: VirtualClock) -> datetime | None:
        mine, sleeper = self._runner.next_due(), clock.next_due()
        due = [d for d in (None if mine is None else from_micros(mine), sleeper) if d is not None]
        return min(due, default=None)

    async def _quiet(self) -> None:
        await self._runner.jobs.quiet()
        self._check()

    def _check(self) -> None:
        if self._store.failure is not None:
            raise self._store.failure
        if self._runner.jobs.crash is not None:
            raise self._runner.jobs.crash

    async def _tick(self) -> None:
        """On the real clock: fire timers when they are due."""
        runner = self._runner
        while True:
            runner.alarm.clear()
            try:
                runner.fire_due()
            except BaseException as error:  # noqa: BLE001  the engine must not go on without its timers
                runner.jobs.fail(error)
                return
            due = runner.next_due()
            wait = 3600.0 if due is None else min(3600.0, max(0.0, (due - runner.now()) / 1e6))
            try:
                async with asyncio.timeout(wait):
                    await runner.alarm.wait()
            except TimeoutError:
                continue


def _taken(case_id: str) -> CaseExists:
    return CaseExists(f"there is a case {case_id!r} already", hint="give the case another id")

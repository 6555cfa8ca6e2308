"""The bench: an engine on a virtual clock, with scripts where the agent's handlers were.

``AsyncBench`` is for tests that are coroutines; ``Bench`` (``provenet.engine.testing.plain``) is the same for
plain functions.
"""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from provenet.engine import faults
from provenet.engine.audit import audit
from provenet.engine.clock import VirtualClock
from provenet.engine.engine import Engine
from provenet.engine.errors import CaseClosed, DecisionRefused, DuplicateSignal
from provenet.engine.keys import Keys
from provenet.engine.reader import Reader
from provenet.engine.testing.case import CaseView
from provenet.engine.testing.failures import BenchError, NotAsExpected
from provenet.engine.testing.scripts import EffectScript, PersonScript, ProposerScript, Script, tester
from provenet.engine.testing.stories import standing, story
from provenet.engine.testing.targets import Target, target, tasks_of
from provenet.engine.views import CaseDetail, TaskView
from provenet.engine.workers import Decision, Task
from provenet.nets.build import NetBuilder
from provenet.nets.errors import did_you_mean
from provenet.nets.formats.canonical import content_hash
from provenet.nets.net import Net
from provenet.sdb.handlers import Agent, Effect, Proposer
from provenet.verify.verdict import Report

T = TypeVar("T")
S = TypeVar("S", bound=Script)

START = datetime(2026, 1, 1, tzinfo=UTC)
"""When a bench's clock starts, unless told otherwise."""


class BenchCore:
    """What both kinds of bench have: scripts, the clock, the read side.

    Args:
        agents: The agents; their proposers and external effects are replaced by scripts.
        database: A file, or a PostgreSQL URL; by default a temporary file. ``:memory:`` is the fastest, and
            cannot be restarted.
        start: When the virtual clock starts.
        report: What is proved of the agent's net; by default it is proved now, once for each content.
    """

    def __init__(
        self,
        *agents: Agent | NetBuilder,
        database: str | Path | None = None,
        start: datetime = START,
        report: Report | None = None,
    ) -> None:
        if not agents:
            raise BenchError("a bench has no agent", hint="Bench(agent)")
        given = [Agent.of(a) if isinstance(a, NetBuilder) else a for a in agents]
        self._stack = ExitStack()
        self._database, self._report = database, report
        self._clock = VirtualClock(start)
        self._proposers: dict[str, ProposerScript] = {}
        self._effects: dict[str, EffectScript] = {}
        self._people: dict[str, PersonScript] = {}
        self._agents = {content_hash(agent.net): self._scripted(agent) for agent in given}
        self._engine: Engine | None = None
        self._reader: Reader | None = None
        self._keys = Keys.from_env() or Keys.generate()
        self._crashes: list[tuple[str, int]] = []
        self._mistakes: list[BenchError] = []
        self._closing = False
        self._seen: dict[str, int] = {}
        self._wanted: tuple[str, Target] | None = None
        self._moves = False
        self._looked: tuple[Any, bool] = (None, False)
        self.crashed: list[str] = []
        """The crash points that were passed, each of them a crash with a restart."""

    # scripts

    def proposer(self, name: str) -> ProposerScript:
        """The script of a proposer, by its contract or the name of its handler.

        Raises:
            BenchError: There is no such proposer.
        """
        full = name if name in self._proposers else f"{name}.propose"
        return self._script(self._proposers, full if full in self._proposers else name)

    def effect(self, name: str) -> EffectScript:
        """The script of an effect, and what it has done.

        Raises:
            BenchError: There is no such effect.
        """
        return self._script(self._effects, name)

    def person(self, task: str) -> PersonScript:
        """The script of who decides a task; without one, the test does.

        Raises:
            BenchError: There is no such task.
        """
        return self._script(self._people, task)

    # time, crashes, reading

    @property
    def now(self) -> datetime:
        """The virtual time."""
        return self._clock.now()

    def crash_at(self, point: str, *, nth: int = 1) -> None:
        """Crash when a fault point is passed, and restart; after earlier plans of this kind.

        The engine loses what is not durable by then, opens its database again, and goes on with what it was
        told to do. A bench whose crash point is never passed fails in the end.

        Args:
            point: One of ``provenet.engine.faults.POINTS``.
            nth: At which pass.
        """
        if point not in faults.POINTS:
            raise BenchError(f"there is no fault point {point!r}", hint=did_you_mean(point, faults.POINTS))
        if nth < 1:
            raise BenchError(f"a crash at pass {nth}", hint="nth is 1 for the first pass")
        self._durable_needed("crash")
        self._crashes.append((point, nth))
        if len(self._crashes) == 1:
            self._plan()

    @property
    def engine(self) -> Engine:
        """The engine itself; another one after each restart."""
        if self._engine is None:
            raise BenchError("the bench is not open", hint="with Bench(agent) as bench: ...")
        return self._engine

    @property
    def reader(self) -> Reader:
        """The read side."""
        if self._reader is None:
            raise BenchError("the bench is not open", hint="with Bench(agent) as bench: ...")
        return self._reader

    def story(self) -> str:
        """All cases, as failure messages show them."""
        return "\n\n".join(self.stories())

    def stories(self) -> list[str]:
        """The cases, one text each."""
        return [story(self.reader.case(case.id)) for case in self.reader.cases(limit=20)]

    @property
    def database(self) -> str:
        """Where the cases live."""
        return str(self._database)

    # inside: what scripts need

    def _scripted(self, agent: Agent) -> Agent:
        world = _World(self)
        handlers: dict[str, object] = {}
        for name, handler in agent.handlers.items():
            if isinstance(handler, Effect):
                effect = self._effects[name] = EffectScript(name, world, handler)
                handlers[name] = effect.bound()
            elif isinstance(handler, Proposer):
                handlers[name] = self._proposers[name] = ProposerScript(name, world, handler)
            else:
                handlers[name] = handler  # a verifier is deterministic: it is what is tested
        for task in tasks_of(agent.net):
            self._people[task] = PersonScript(task, world)
        return Agent(agent.net, handlers)

    @staticmethod
    def _script(scripts: Mapping[str, S], name: str) -> S:
        if name not in scripts:
            raise BenchError(f"the agent has nothing called {name!r}", hint=did_you_mean(name, scripts))
        return scripts[name]

    async def _decided(self, task: Task) -> Decision | None:
        return await self._people[task.task].decide(task)

    def _left_alone(self, task: TaskView) -> bool:
        return self._people[task.task].leaves_alone(task.case, task.token, len(task.approved))

    def _plan(self) -> None:
        faults.plan("{}:raise:{}".format(*self._crashes[0]) if self._crashes else None)

    def _durable_needed(self, what: str) -> None:
        if self._database == ":memory:":
            raise BenchError(f"a database in memory is gone after a {what}", hint="leave out database=...")

    def _held(self) -> bool:
        """Whether the engine may do nothing now: nobody runs it, or it is where the test wants it."""
        if not self._moves or self._mistakes:
            return True
        if self._wanted is None:
            return False
        progress = self.engine.progress()
        now = (progress.firings, progress.commits, tuple(sorted(progress.statuses.items())))
        if self._looked[0] != now:
            case, wanted = self._wanted
            self._looked = now, wanted.reached(self.engine.read.case(case))
        return self._looked[1]


class _World:
    def __init__(self, bench: BenchCore) -> None:
        self._bench = bench

    def now(self) -> datetime:
        return self._bench.now

    async def sleep(self, span: timedelta) -> None:
        await self._bench._clock.sleep(span)  # noqa: SLF001  the bench's own other half

    def mistake(self, error: BenchError) -> None:
        self._bench._mistakes.append(error)  # noqa: SLF001

    def is_closing(self) -> bool:
        return self._bench._closing  # noqa: SLF001


class AsyncCase(CaseView):
    """A case under test, for coroutines."""

    def __init__(self, bench: AsyncBench, case_id: str) -> None:
        super().__init__(bench, case_id)
        self._on = bench

    async def run_until(
        self, wanted: str | Callable[[CaseDetail], bool], *, within: timedelta | None = None
    ) -> None:
        """Run until the case is there, and no further: no work begins and no time passes after that.

        Args:
            wanted: A place (marked, or passed since the last run), a task (open), a transition (fired since
                the last run), a status, ``human_required`` (a task that no script decides), or a condition
                on ``case.detail``. ``place:NAME`` and so on where a name is several of these.
            within: Most virtual time that may pass.

        Raises:
            NotAsExpected: It came to rest elsewhere, or ran out of time.
            BenchError: The name means nothing, or a script has no answer.
        """
        __tracebackhide__ = True
        await self._on.run_case_until(self, wanted, within)

    async def run(self) -> None:
        """Run until nothing can happen any more without the test; all timers included."""
        await self._on.run()

    async def decide(
        self, choice: str, who: str | None = None, *, task: str | None = None, note: Any = None
    ) -> None:
        """Decide an open task.

        Args:
            choice: One of its choices.
            who: Who decides, ``dana@pricing``; somebody of the right role unless told otherwise.
            task: Its name, where several are open.
            note: Payload for a choice that brings one.

        Raises:
            DecisionRefused: As it would be for anybody.
            NotAsExpected: No such task is open.
        """
        __tracebackhide__ = True
        view = self.the_task(task)
        who = tester(view.role, len(view.approved)) if who is None else who

        async def decide() -> None:
            await self._on.engine.decide(
                self.id, view.task, choice, who, about_hash=view.about_hash, note=note
            )

        def is_decided() -> bool:
            return any(
                (t.task, t.token, t.choice, t.who) == (view.task, view.token, choice, who)
                or ((t.task, t.token) == (view.task, view.token) and who in t.approved)
                for t in self.detail.tasks
            )

        await self._on.through(decide, unless=is_decided, refused=(DecisionRefused, CaseClosed))

    async def approve(self, who: str | None = None, *, task: str | None = None) -> None:
        """Decide ``approve``; see ``decide``."""
        __tracebackhide__ = True
        await self.decide("approve", who, task=task)

    async def deny(self, who: str | None = None, *, task: str | None = None) -> None:
        """Decide ``deny``; see ``decide``."""
        __tracebackhide__ = True
        await self.decide("deny", who, task=task)

    async def delegate(self, to: str | None, who: str, *, task: str | None = None) -> None:
        """Let somebody else decide an open task in one's place; ``None`` takes it back.

        Args:
            to: Who, with role.
            who: Who may decide by their own role.
            task: Its name, where several are open.

        Raises:
            DecisionRefused: As it would be for anybody.
            NotAsExpected: No such task is open.
        """
        __tracebackhide__ = True
        name = self.the_task(task).task

        async def delegate() -> str:
            return await self._on.engine.delegate(self.id, name, to=to, who=who)

        await self._on.through(delegate, unless=lambda: to is None, refused=(DecisionRefused,))

    async def signal(
        self, event: str, payload: Any = None, *, key: str | None = None, at: datetime | None = None
    ) -> None:
        """Tell the case that something happened outside, at a time of its own where ``at`` says so.

        Raises:
            SignalRefused: Nothing waits for it, or its payload does not fit.
        """
        heard = len(self.detail.inbox)
        await self._on.through(
            lambda: self._on.engine.signal(self.id, event, payload, key=key, at=at),
            unless=lambda: any(i["status"] in {"accepted", "buffered"} for i in self.detail.inbox[heard:]),
            refused=(DuplicateSignal, CaseClosed),
        )

    async def kill(self, *, who: str = "", reason: str = "") -> None:
        """Pull the kill switch for this case.

        Raises:
            CaseClosed: It is over already.
        """
        await self._on.through(
            lambda: self._on.engine.kill("case", self.id, who=who, reason=reason),
            unless=lambda: True,
            refused=(CaseClosed,),
        )

    async def resume(self) -> None:
        """Let it go on after it was parked.

        Raises:
            CaseClosed: It is not parked.
        """
        await self._on.through(
            lambda: self._on.engine.resume(self.id), unless=lambda: True, refused=(CaseClosed,)
        )


class AsyncBench(BenchCore):
    """An engine under test, for coroutines: ``async with AsyncBench(agent) as bench``.

    Leaving it without an exception checks that the audit is clean, that what was performed outside is what
    the database says, and that every planned crash happened.
    """

    async def __aenter__(self) -> Self:
        """Open the database and deploy what it has not."""
        if self._database is None:
            folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="provenet-bench-"))
            self._database = Path(folder) / "cases.db"
        try:
            await self._open()
        except BaseException:
            await self._shut("crash")
            self._stack.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close, and check."""
        __tracebackhide__ = True
        faults.plan(None)
        try:
            wrong = self._check() if kind is None and self._engine is not None else []
            await self._shut("close")
            if wrong:
                raise NotAsExpected("\n".join(wrong))
        finally:
            self._stack.close()

    # cases and time

    async def start(
        self, inputs: Any = None, *, case_id: str | None = None, net: str | None = None
    ) -> AsyncCase:
        """Start a case.

        Args:
            inputs: A value for each entry place by its name; of a net with one entry, its value will do.
            case_id: Its id; ``case-1`` and so on where none is given.
            net: Name of the net, where the bench has several.

        Raises:
            EngineError: As for ``Engine.start_case``.
        """
        name = self._net(net).name if net is None else net
        entries = [e.place for e in self._net(net).entries]
        if not (isinstance(inputs, Mapping) and set(inputs) <= set(entries)) and len(entries) == 1:
            inputs = {entries[0]: inputs}
        case_id = case_id or f"case-{len(self.reader.cases()) + 1}"
        again = False

        async def begin() -> None:
            nonlocal again
            existing: Literal["refuse", "skip"] = "skip" if again else "refuse"
            again = True
            await self.engine.start_cases(name, [(case_id, inputs or {})], existing=existing)

        await self.through(begin)
        return AsyncCase(self, case_id)

    def case(self, case_id: str) -> AsyncCase:
        """A case of the database."""
        self.reader.case(case_id)
        return AsyncCase(self, case_id)

    async def run(self) -> None:
        """Run all cases until nothing can happen any more without the test; all timers included.

        Raises:
            BenchError: A script has no answer.
        """
        __tracebackhide__ = True
        await self._run(None, None)

    async def advance(
        self, span: timedelta | None = None, *, days: float = 0, hours: float = 0, minutes: float = 0
    ) -> None:
        """Let time pass, and everything happen that happens meanwhile."""
        __tracebackhide__ = True
        span = (span or timedelta(0)) + timedelta(days=days, hours=hours, minutes=minutes)
        await self._run(None, self.now + span)

    async def restart(self, how: Literal["close", "crash"] = "close") -> None:
        """Open the database again.

        Args:
            how: After an orderly end, or after a crash that loses what was not durable.
        """
        self._durable_needed("restart")
        await self._shut(how)
        await self._open()

    # inside

    async def through(
        self,
        act: Callable[[], Awaitable[T]],
        *,
        unless: Callable[[], bool] = lambda: False,
        refused: tuple[type[Exception], ...] = (),
    ) -> T | None:
        """Do something, through crashes, as whoever got no answer would: ask again, unless it was done."""
        __tracebackhide__ = True
        crashed = False
        while True:
            try:
                return await act()
            except faults.FaultInjected as fault:
                await self._recover(fault)
                crashed = True
            except refused:
                if crashed and unless():
                    return None
                raise

    async def run_case_until(
        self, case: AsyncCase, wanted: str | Callable[[CaseDetail], bool], within: timedelta | None
    ) -> None:
        """See ``AsyncCase.run_until``."""
        __tracebackhide__ = True
        found = (
            target(wanted, case.net, since=self._seen.get(case.id, 0), left_alone=self._left_alone)
            if isinstance(wanted, str)
            else Target(getattr(wanted, "__name__", "the condition"), wanted)
        )
        await self._run((case.id, found), None if within is None else self.now + within)
        detail = case.detail
        if not found.reached(detail):
            stopped = "" if within is None else f" within {within}"
            raise NotAsExpected(
                f"case {case.id!r} did not reach {found.text}{stopped}: it is {standing(detail)}\n"
                f"{story(detail)}"
            )

    async def _run(self, wanted: tuple[str, Target] | None, until: datetime | None) -> None:
        __tracebackhide__ = True
        self._wanted, self._looked, self._moves = wanted, (None, False), True
        try:
            await self.through(lambda: self.engine.run_until_idle(until=until))
        finally:
            self._wanted, self._moves = None, False
        if self._mistakes:
            raise self._mistakes.pop(0)
        self._seen = {c.id: c.firings for c in self.reader.cases()}

    async def _open(self) -> None:
        while True:
            engine = Engine.open(
                self._database or ":memory:",
                agents=self._agents.values(),
                clock=self._clock,
                people=self._decided,
                keys=self._keys,
            )
            try:
                self._engine = await engine.__aenter__()
                self._engine.hold_work(self._held)
                self._reader = Reader(engine.read.engine, personal="shown", keys=self._keys)
                self._deploy()
            except faults.FaultInjected as fault:
                self._crashed(fault)
                if self._engine is not None:
                    await self._shut("crash")
                continue
            return

    def _deploy(self) -> None:
        there = {n["hash"] for n in self.reader.nets()}
        for found, agent in self._agents.items():
            if found not in there:
                self.engine.deploy(agent, self._report or proved(agent.net))

    async def _shut(self, how: Literal["close", "crash"]) -> None:
        engine, self._engine, self._reader = self._engine, None, None
        if engine is None:
            return
        self._closing = True
        try:
            await (engine.close() if how == "close" else engine.crash())
        except faults.FaultInjected as fault:
            self._crashed(fault)
        finally:
            self._closing = False

    async def _recover(self, fault: faults.FaultInjected) -> None:
        self._crashed(fault)
        await self._shut("crash")
        await self._open()

    def _crashed(self, fault: faults.FaultInjected) -> None:
        self.crashed.append(str(fault))
        if self._crashes:
            self._crashes.pop(0)
        self._plan()

    def _net(self, name: str | None) -> Net:
        nets = {agent.net.name: agent.net for agent in self._agents.values()}
        if name is None and len(nets) == 1:
            return next(iter(nets.values()))
        if name not in nets:
            said = "the bench has several nets" if name is None else f"the bench has no net {name!r}"
            raise BenchError(said, hint=did_you_mean(name or "", nets))
        return nets[name]

    def _check(self) -> list[str]:
        """What is wrong with the database, or with the test."""
        source = self.reader.engine if self._database == ":memory:" else str(self._database)
        wrong = [f"the audit finds: {problem}" for problem in audit(source).problems]
        keys: set[str] = set()
        for case in self.reader.cases():
            keys |= {e["key"] for e in self.reader.case(case.id).effects}
        for script in self._effects.values():
            wrong += [
                f"effect {script.name!r} was performed for case {call.case!r} under a key that the database "
                f"does not know: {key[:12]}"
                for key, call in script.performed.items()
                if key not in keys
            ]
        wrong += [str(mistake) for mistake in self._mistakes]
        wrong += [
            f"the crash at {point!r} (pass {nth}) never happened: that point was not passed so often"
            for point, nth in self._crashes
        ]
        return wrong


_PROVED: dict[str, Report] = {}


def proved(net: Net) -> Report:
    """What the checker says of a net; asked once for each content."""
    found = content_hash(net)
    if found not in _PROVED:
        from provenet.verify.check import prove  # heavy, and not needed where a report is given

        _PROVED[found] = prove(net)
    return _PROVED[found]

"""The bench for tests that are plain functions: the same words, without ``await``.

Nothing happens between two calls: time stands still, and no work goes on behind the test's back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from provenet.engine.engine import Engine
from provenet.engine.reader import Reader
from provenet.engine.testing.bench import START, AsyncBench, AsyncCase
from provenet.engine.testing.case import CaseView
from provenet.engine.testing.failures import BenchError, NotAsExpected
from provenet.engine.testing.scripts import EffectScript, PersonScript, ProposerScript
from provenet.engine.views import CaseDetail
from provenet.nets.build import NetBuilder
from provenet.nets.errors import ProvenetError
from provenet.sdb.handlers import Agent
from provenet.verify.verdict import Report

T = TypeVar("T")


class Bench:
    """An engine under test: ``with Bench(agent) as bench``.

    Leaving it without an exception checks that the audit is clean, that what was performed outside is what
    the database says, and that every planned crash happened.

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
        self._bench = AsyncBench(*agents, database=database, start=start, report=report)
        self._runner: asyncio.Runner | None = None

    def __enter__(self) -> Self:
        """Open the database and deploy what it has not."""
        self._runner = asyncio.Runner()
        try:
            self.wait_for(self._bench.__aenter__())
        except BaseException:
            self._runner.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close, and check."""
        __tracebackhide__ = True
        assert self._runner is not None
        try:
            self.wait_for(self._bench.__aexit__(kind, error, trace))
        finally:
            self._runner.close()

    # scripts

    def proposer(self, name: str) -> ProposerScript:
        """The script of a proposer, by its contract or the name of its handler."""
        return self._bench.proposer(name)

    def effect(self, name: str) -> EffectScript:
        """The script of an effect, and what it has done."""
        return self._bench.effect(name)

    def person(self, task: str) -> PersonScript:
        """The script of who decides a task; without one, the test does."""
        return self._bench.person(task)

    # cases, time, crashes

    def start(self, inputs: Any = None, *, case_id: str | None = None, net: str | None = None) -> Case:
        """Start a case; see ``AsyncBench.start``."""
        __tracebackhide__ = True
        return Case(self, self.wait_for(self._bench.start(inputs, case_id=case_id, net=net)))

    def case(self, case_id: str) -> Case:
        """A case of the database."""
        return Case(self, self._bench.case(case_id))

    @property
    def now(self) -> datetime:
        """The virtual time."""
        return self._bench.now

    def run(self) -> None:
        """Run all cases until nothing can happen any more without the test; all timers included."""
        __tracebackhide__ = True
        self.wait_for(self._bench.run())

    def advance(
        self, span: timedelta | None = None, *, days: float = 0, hours: float = 0, minutes: float = 0
    ) -> None:
        """Let time pass, and everything happen that happens meanwhile."""
        __tracebackhide__ = True
        self.wait_for(self._bench.advance(span, days=days, hours=hours, minutes=minutes))

    def restart(self, how: Literal["close", "crash"] = "close") -> None:
        """Open the database again, after an orderly end or after a crash; see ``AsyncBench.restart``."""
        self.wait_for(self._bench.restart(how))

    def crash_at(self, point: str, *, nth: int = 1) -> None:
        """Crash when a fault point is passed, and restart; see ``AsyncBench.crash_at``."""
        self._bench.crash_at(point, nth=nth)

    @property
    def crashed(self) -> list[str]:
        """The crash points that were passed, each of them a crash with a restart."""
        return self._bench.crashed

    def ask(self, act: Callable[[Engine], Coroutine[Any, Any, T]]) -> T:
        """Do something with the engine itself: ``bench.ask(lambda engine: engine.kill("all"))``."""
        return self.wait_for(act(self._bench.engine))

    def story(self) -> str:
        """All cases, as failure messages show them."""
        return self._bench.story()

    def stories(self) -> list[str]:
        """The cases, one text each."""
        return self._bench.stories()

    @property
    def engine(self) -> Engine:
        """The engine itself; another one after each restart."""
        return self._bench.engine

    @property
    def reader(self) -> Reader:
        """The read side."""
        return self._bench.reader

    @property
    def database(self) -> str:
        """Where the cases live."""
        return self._bench.database

    def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the bench's own loop."""
        __tracebackhide__ = True
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            work.close()
            raise BenchError("this test is a coroutine", hint="async with AsyncBench(agent) as bench: ...")
        if self._runner is None:
            work.close()
            raise BenchError("the bench is not open", hint="with Bench(agent) as bench: ...")
        try:
            return self._runner.run(work)
        except (NotAsExpected, ProvenetError) as error:
            # What lies between is the event loop, and of no use to whoever reads the failure.
            raise error.with_traceback(None) from error.__cause__


class Case(CaseView):
    """A case under test."""

    def __init__(self, bench: Bench, case: AsyncCase) -> None:
        super().__init__(bench, case.id)
        self._on, self._case = bench, case

    def run_until(
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
        self._on.wait_for(self._case.run_until(wanted, within=within))

    def run(self) -> None:
        """Run until nothing can happen any more without the test; all timers included."""
        __tracebackhide__ = True
        self._on.run()

    def decide(
        self, choice: str, who: str | None = None, *, task: str | None = None, note: Any = None
    ) -> None:
        """Decide an open task; see ``AsyncCase.decide``."""
        __tracebackhide__ = True
        self._on.wait_for(self._case.decide(choice, who, task=task, note=note))

    def approve(self, who: str | None = None, *, task: str | None = None) -> None:
        """Decide ``approve``; see ``decide``."""
        __tracebackhide__ = True
        self.decide("approve", who, task=task)

    def delegate(self, to: str | None, who: str, *, task: str | None = None) -> None:
        """Let somebody else decide an open task in one's place; ``None`` takes it back."""
        __tracebackhide__ = True
        self._on.wait_for(self._case.delegate(to, who, task=task))

    def deny(self, who: str | None = None, *, task: str | None = None) -> None:
        """Decide ``deny``; see ``decide``."""
        __tracebackhide__ = True
        self.decide("deny", who, task=task)

    def signal(
        self, event: str, payload: Any = None, *, key: str | None = None, at: datetime | None = None
    ) -> None:
        """Tell the case that something happened outside; see ``AsyncCase.signal``."""
        __tracebackhide__ = True
        self._on.wait_for(self._case.signal(event, payload, key=key, at=at))

    def kill(self, *, who: str = "", reason: str = "") -> None:
        """Pull the kill switch for this case; see ``AsyncCase.kill``."""
        __tracebackhide__ = True
        self._on.wait_for(self._case.kill(who=who, reason=reason))

    def resume(self) -> None:
        """Let it go on after it was parked; see ``AsyncCase.resume``."""
        __tracebackhide__ = True
        self._on.wait_for(self._case.resume())

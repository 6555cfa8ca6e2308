"""Work outside any transaction: queued, limited in number, counted, so that time knows what to wait for."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from provenet.engine.case import LiveCase, OpenTask
from provenet.engine.clock import Clock, VirtualClock, in_job
from provenet.engine.program import Step
from provenet.engine.store.store import Store
from provenet.nets.schema import Value

Kind: TypeAlias = Literal["ask", "perform", "person"]


@dataclass(slots=True, eq=False)
class Job:
    """One piece of work outside the database, bound to the token that stands for it.

    ``began`` is when this try began, by the engine's clock and by a monotonic one, where anybody watches.
    ``called`` is ``no`` where it is certain that an effect has not been called.
    """

    kind: Kind
    case: LiveCase
    step: Step
    token: int
    key: str
    binding: Mapping[str, Value]
    state: Literal["armed", "queued", "running", "retrying", "over"] = "armed"
    tries: int = 0
    due: int = 0
    receipt: str | None = None
    called: Literal["no", "maybe"] = "maybe"
    opened: OpenTask | None = None
    began: tuple[int, float] | None = None
    task: asyncio.Task[None] | None = None


Work: TypeAlias = Callable[[Job], Awaitable[None]]


class Jobs:
    """All work of one engine.

    Args:
        store: No work goes on where it has failed.
        clock: A virtual clock is told when nothing is going on.
        limits: Most proposals and effects at a time.
        work: What to do for each kind of job.
        on_crash: Called when a job brings the engine down.

    Attributes:
        crash: What brought the engine down.
        closing: Whether the engine closes: what ends now makes room for nothing new.
        asked: The kinds of work that there is somebody for.
        held: Whether no work may begin for now: what is running comes to its end, what is queued stays so.
        runs: Where they run: by this engine's own loop, or wherever somebody else dispatches them to.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        limits: Mapping[Kind, int],
        work: Mapping[Kind, Work],
        *,
        on_crash: Callable[[], None],
    ) -> None:
        self._store, self._limits, self._work = store, limits, work
        self._on_crash = on_crash
        self.crash: BaseException | None = None
        self.closing: Literal["no", "yes"] = "no"
        self.runs: Literal["here", "elsewhere"] = "here"
        self.asked = frozenset(work)
        self._states = dict.fromkeys(("armed", "queued", "running", "retrying"), 0)
        self._queues: dict[Kind, deque[Job]] = {"ask": deque(), "perform": deque(), "person": deque()}
        self._busy: Counter[Kind] = Counter()
        self.held: Callable[[], bool] = lambda: False
        self._quiet = asyncio.Event()
        self._virtual = clock if isinstance(clock, VirtualClock) else None
        if self._virtual is not None:
            self._virtual.on_change = self.check_quiet

    def armed(self, job: Job) -> None:
        """Take up a job that waits for its commit; time stands still for it from now on."""
        job.case.jobs[job.step.index, job.token] = job
        self._states["armed"] += 1

    def enqueue_all(self, jobs: Iterable[Job]) -> None:
        """Let jobs run as soon as there is room; their commit is durable."""
        if self.runs == "elsewhere":
            return
        kinds: dict[Kind, None] = {}
        for job in jobs:
            if job.state != "over":
                self.become(job, "queued")
                self._queues[job.kind].append(job)
                kinds[job.kind] = None
        for kind in kinds:
            self._pump(kind)

    def begin_queued(self) -> None:
        """Let begin what was held."""
        for kind in self._queues:
            self._pump(kind)

    def drop(self, job: Job) -> None:
        """Stop a job whose token is gone."""
        if job.state == "running" and job.task is not None and in_job.get() is not job:
            job.task.cancel()
        if self._virtual is not None:
            self._virtual.forget(job)
        self.become(job, "over")

    def become(self, job: Job, state: Any) -> None:
        """Change the state of a job, keeping count; one that is over stays so."""
        if job.state == "over":
            return
        self._states[job.state] -= 1
        job.state = state
        if state != "over":
            self._states[state] += 1
        if state != "running":
            self.check_quiet()

    def running(self, cases: Iterable[LiveCase]) -> list[asyncio.Task[None]]:
        """The tasks of running jobs."""
        return [j.task for c in cases for j in c.jobs.values() if isinstance(j, Job) and j.task]

    def check_quiet(self) -> None:
        """Tell who waits for it where nothing is going on any more; they look again."""
        if self.is_quiet():
            self._quiet.set()

    def is_quiet(self) -> bool:
        """Whether nothing happens before time passes or the outside speaks."""
        states, clock = self._states, self._virtual
        if clock is not None:
            return states["armed"] + states["running"] - clock.asleep() <= 0
        return states["armed"] + states["running"] + states["queued"] + states["retrying"] <= 0

    async def quiet(self) -> None:
        """Wait until nothing is going on, or the engine failed."""
        while not self.is_quiet() and self.crash is None and self._store.failure is None:
            self._quiet.clear()
            await self._quiet.wait()

    def fail(self, error: BaseException) -> None:
        """Stop the engine: nothing more is written."""
        self.crash = self.crash or error
        self._quiet.set()
        self._on_crash()

    def _pump(self, kind: Kind) -> None:
        queue, most = self._queues[kind], self._limits.get(kind, 1_000_000)
        if self.closing == "yes" or self.crash is not None:
            return
        if not queue or self.held():
            return
        create = asyncio.get_running_loop().create_task
        while queue and self._busy[kind] < most:
            job = queue.popleft()
            if job.state == "queued":
                self._busy[kind] += 1
                self.become(job, "running")
                job.task = create(self._run(job))

    async def _run(self, job: Job) -> None:
        try:
            await self._work[job.kind](job)
        except asyncio.CancelledError:
            pass  # the token is gone, or the engine closes
        except BaseException as error:  # noqa: BLE001  whatever it is, the engine must not go on as if nothing had happened
            self.fail(error)
        finally:
            self._busy[job.kind] -= 1
            if job.state == "running":
                self.become(job, "over")
            job.task = None
            self._pump(job.kind)

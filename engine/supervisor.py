"""Several worker processes on one database, each restarted by itself when it dies or falls silent.

One-for-one supervision, after Armstrong, "Making reliable distributed systems in the presence of software
errors", 2003, chapter 5: a worker that dies is started again after a pause that grows, and one that dies too
often in too short a time is a fault that restarts do not mend: then all end, and the supervisor says so.
What a worker was doing is in the database; its peers take its cases over before it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeAlias, cast

from provenet.engine.errors import WorkersFailed

Body: TypeAlias = Callable[["Heart"], None]
"""What a worker does, in a process of its own; can be pickled. Returns when the heart says so."""

BEAT = 1.0
"""Seconds between two heartbeats."""


@dataclass(frozen=True, slots=True)
class Restarts:
    """When a worker is started again.

    Attributes:
        most: Restarts of one worker ...
        within: ... in so much time that it lived, pauses not counted; one more ends them all.
        first: Pause before the first of them; doubled each time.
        longest: The longest pause.
        silence: A worker that was not heard of for so long is killed, and started again.
    """

    most: int = 10
    within: timedelta = timedelta(minutes=1)
    first: timedelta = timedelta(seconds=0.1)
    longest: timedelta = timedelta(seconds=30)
    silence: timedelta = timedelta(seconds=15)

    def pause(self, lives: Sequence[float]) -> float | None:
        """How many seconds until a worker is started again; ``None`` where that mends nothing.

        Pauses grow: were they counted, the last of them would make a worker's deaths look rare.

        Args:
            lives: How many seconds each of its processes lived, the last one last.
        """
        within, lived = self.within.total_seconds(), 0.0
        deaths = 0
        for life in reversed(lives):
            deaths += 1
            lived += life
            if lived >= within:
                break
        if deaths > self.most:
            return None
        doubled = self.first.total_seconds() * 2.0 ** min(deaths - 1, 64)
        return min(doubled, self.longest.total_seconds())


class Heart:
    """A worker's line to its supervisor.

    Args:
        number: Which worker this is, from 0.
        line: Where it beats, and hears that it is to end.
    """

    def __init__(self, number: int, line: Connection) -> None:
        self.number, self._line = number, line

    async def beat(self) -> None:
        """Beat until told to end, or until the supervisor is gone; run it beside the worker's own work.

        It beats from the event loop: a loop that hangs falls silent.
        """
        with contextlib.suppress(OSError, EOFError):
            while not self._line.poll():
                self._line.send_bytes(b".")
                await asyncio.sleep(BEAT)


@dataclass(slots=True)
class _Worker:
    number: int
    process: BaseProcess | None = None
    line: Connection | None = None
    began: float = 0.0
    silent: float = 0.0
    due: float | None = 0.0
    lives: deque[float] = field(default_factory=deque)


class Supervisor:
    """Keeps so many workers running.

    Args:
        body: What each of them does.
        workers: How many.
        restarts: When one is started again.
        told: Called with what happens, in words.
        ended: Called with the number of a process that is no more.
    """

    def __init__(
        self,
        body: Body,
        workers: int,
        *,
        restarts: Restarts = Restarts(),
        told: Callable[[str], None] = lambda _: None,
        ended: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._body, self._restarts, self._told, self._gone = body, restarts, told, ended
        self._context = multiprocessing.get_context("spawn")
        self._workers = [_Worker(number) for number in range(workers)]
        self.restarted = 0
        self._looked = time.monotonic()

    def pids(self) -> list[int]:
        """The processes that run now."""
        return [w.process.pid for w in self._workers if w.process is not None and w.process.pid is not None]

    def run(self, stop: threading.Event) -> None:
        """Keep the workers running until told to stop, or until all have ended by themselves.

        Raises:
            WorkersFailed: One of them died too often.
        """
        try:
            while not stop.is_set() and any(w.process or w.due is not None for w in self._workers):
                for worker in self._workers:
                    if worker.due is not None and worker.due <= time.monotonic():
                        self._start(worker)
                self._listen()
        finally:
            self._end()

    def _start(self, worker: _Worker) -> None:
        worker.began = time.monotonic()
        try:
            mine, theirs = self._context.Pipe()
        except OSError as error:
            self._again(worker, f"could not be started: {error.strerror}")
            return
        worker.line, worker.due = mine, None
        process = self._context.Process(
            target=_work, args=(self._body, worker.number, theirs), name=f"provenet worker {worker.number}"
        )
        try:
            process.start()
        except OSError as error:
            self._forget(worker)
            self._again(worker, f"could not be started: {error.strerror}")
            return
        finally:
            theirs.close()
        worker.process = process
        # It has to import all that it needs first.
        worker.silent = -60.0

    def _listen(self) -> None:
        lines = {w.line: w for w in self._workers if w.line is not None}
        ends = {w.process.sentinel: w for w in self._workers if w.process is not None}
        waited: list[Any] = [*lines, *ends]
        for found in wait(waited, timeout=0.1):
            if isinstance(found, Connection):
                with contextlib.suppress(OSError, EOFError):
                    found.recv_bytes()
                    lines[found].silent = 0.0
            else:
                self._ended(ends[cast("int", found)])
        silence = self._restarts.silence.total_seconds()
        # Who was stopped meanwhile, with all of the machine or alone, heard nobody: that is nobody's silence.
        now = time.monotonic()
        passed, self._looked = min(now - self._looked, BEAT), now
        for worker in self._workers:
            worker.silent += passed
            if worker.process is not None and worker.silent > silence:
                worker.silent = 0.0
                self._told(f"worker {worker.number} is silent: killed")
                worker.process.kill()

    def _ended(self, worker: _Worker) -> None:
        process = worker.process
        assert process is not None
        process.join()
        self._forget(worker)
        if process.exitcode != 0:
            self._again(worker, f"ended with {process.exitcode}")

    def _again(self, worker: _Worker, why: str) -> None:
        """Start a worker again after a pause.

        Raises:
            WorkersFailed: It has died too often.
        """
        now, rule, lives = time.monotonic(), self._restarts, worker.lives
        lives.append(now - worker.began)
        pause = rule.pause(lives)
        if pause is None:
            raise WorkersFailed(
                f"worker {worker.number} died {rule.most + 1} times in {rule.within}",
                where=f"the last one {why}",
                hint="what it said before it died is above; cases are safe, and resume when it is mended",
            )
        if len(lives) > rule.most:
            lives.popleft()
        worker.due = now + pause
        self.restarted += 1
        self._told(f"worker {worker.number} {why}: started again in {pause:.1f} s")

    def _end(self) -> None:
        """Ask all to end, and kill those who do not."""
        for worker in self._workers:
            if worker.line is not None:
                with contextlib.suppress(OSError):
                    worker.line.send_bytes(b"end")
        for worker in self._workers:
            if worker.process is not None:
                worker.process.join(10)
                if worker.process.is_alive():
                    worker.process.kill()
                    worker.process.join()
                self._forget(worker)

    def _forget(self, worker: _Worker) -> None:
        if worker.line is not None:
            worker.line.close()
        if worker.process is not None and worker.process.pid is not None:
            self._gone(worker.process.pid)
        worker.process = worker.line = None


def _work(body: Body, number: int, line: Connection) -> None:
    body(Heart(number, line))

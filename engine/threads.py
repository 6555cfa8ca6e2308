"""Threads for handlers that are plain functions.

A service that never answers keeps the thread of its call for ever: nothing can stop a thread. A pool of a
fixed size would be used up by such calls, and a process could not end before they do. So a call that finds no
idle thread gets a new one, and all of them are daemons: the process ends without them.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeAlias

IDLE = 30.0
"""Seconds after which a thread with nothing to do ends."""

MOST = 2_000
"""Threads at most: what comes then waits, until its time-out, for one that comes free."""

_Call: TypeAlias = tuple["Future[Any]", Callable[[], Any]]


class Threads:
    """Calls plain functions, each in a thread."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._count = 0
        self._free = 0  # threads without a call, less the calls that wait for one
        self._closed = threading.Event()

    async def run(self, call: Callable[[], Any]) -> Any:
        """What a function returns or raises; where the caller is cancelled, the call goes on unheard."""
        done: Future[Any] = Future()
        with self._lock:
            self._free -= 1
            if self._free < 0 and self._count < MOST:
                name = f"provenet-effect-{self._count + 1}"
                try:
                    threading.Thread(target=self._work, name=name, daemon=True).start()
                except RuntimeError:  # the system has no room for one
                    if not self._count:
                        self._free += 1
                        raise
                else:
                    self._count += 1
                    self._free += 1
        self._calls.put((done, call))
        return await asyncio.wrap_future(done)

    def close(self) -> None:
        """Let go of the threads: what has not begun never begins, and nobody waits for what has."""
        self._closed.set()
        for _ in range(self._count):
            self._calls.put(None)

    def _work(self) -> None:
        while (found := self._next()) is not None:
            done, call = found
            if done.set_running_or_notify_cancel():
                try:
                    result = call()
                except BaseException as error:  # noqa: BLE001  it is the caller's
                    _tell(done.set_exception, error)
                else:
                    _tell(done.set_result, result)
                    del result
            del found, done, call
            with self._lock:
                self._free += 1

    def _next(self) -> _Call | None:
        while True:
            with suppress(queue.Empty):
                found = self._calls.get(timeout=IDLE)
                if found is None or not self._closed.is_set():
                    return found
                found[0].cancel()
                continue
            with self._lock:
                if self._free > 0 or self._closed.is_set():
                    self._free -= 1
                    self._count -= 1
                    return None


def _tell(how: Callable[[Any], None], what: Any) -> None:
    # The loop of who asked may be closed by now.
    with suppress(RuntimeError):
        how(what)

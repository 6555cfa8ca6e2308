"""Between an engine and its observers: what happened is told once it is durable.

A firing that a crash undoes never happened, so nobody is told of it: facts wait here for the commit that they
are part of. Work that begins outside any transaction, an engine that opens or stops, is told at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from provenet.engine.watching.events import Committed, Event

_log = logging.getLogger("provenet.watching")


class Observer(Protocol):
    """Somebody who watches an engine.

    It is called on the engine's own event loop, so it must be quick and must not block; one that raises is
    left out from then on.
    """

    def see(self, event: Event) -> None:
        """Be told what happened."""
        ...


class Watch:
    """The observers of one engine; an engine without observers has no watch, and pays one look for that.

    Args:
        observers: Whom to tell.
        now: The engine's time in microseconds.
    """

    def __init__(self, observers: Iterable[Observer], now: Callable[[], int]) -> None:
        self._observers, self.now = list(observers), now
        self._waiting: list[Event] = []
        self.later = self._waiting.append

    def say(self, event: Event) -> None:
        """Tell at once."""
        for observer in tuple(self._observers):
            try:
                observer.see(event)
            except Exception:  # noqa: BLE001  whatever it is, it may not reach the engine
                # Watching must never change what is watched.
                self._observers.remove(observer)
                _log.exception("observer %s failed and is left out from now on", type(observer).__name__)

    def committed(self, rows: int, seconds: float) -> None:
        """Tell what waited: it is durable now."""
        if self._waiting:
            told = self._waiting[:]
            self._waiting.clear()
            for event in told:
                self.say(event)
        if rows:
            self.say(Committed(rows, seconds, self.now()))

    def forget(self) -> None:
        """Tell nobody of what waited: the database refused it."""
        self._waiting.clear()

"""Throttles: so many calls, tokens or dollars in a span of time, held across all processes of a database.

Time is cut into windows of a throttle's span, aligned to 1970. What a window still has room for is counted in
the database: calls are taken before they are made, tokens and dollars are added when an answer says what it
cost. So calls are never exceeded; of tokens and dollars no call begins once they are spent, and those in
flight by then come on top. Work that finds a window used up waits for the next one.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import ROUND_CEILING, Decimal
from typing import Literal, Protocol, TypeAlias

from provenet.engine.case import LiveCase
from provenet.engine.errors import EngineError
from provenet.engine.jobs import Job
from provenet.engine.store.database import Posting, open_to_post
from provenet.engine.store.store import Store
from provenet.nets.net import Ask, Perform
from provenet.nets.schema import microseconds
from provenet.sdb.handlers import Proposal

MICRO = 1_000_000
"""Dollars are counted in millionths."""

_ENDLESS = 2**62

_MOST = 10**9
"""Most tokens or dollars of one answer: those of all that come at once are still a number of the database."""

Key: TypeAlias = tuple[str, str, int]
"""Name of the throttle, whose share it is, and number of the window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttle:
    """At most so much in a span of time.

    Attributes:
        name: What it is called in the database; two processes that name the same share it.
        per: The span.
        calls: Most calls of handlers.
        tokens: Most tokens of models, in and out together.
        dollars: Most dollars.
        handlers: Names of the handlers that it is about; all proposers where there are none.
        each: Whether all cases share it, or those of each tenant, or of each net.
    """

    name: str
    per: timedelta
    calls: int | None = None
    tokens: int | None = None
    dollars: Decimal | None = None
    handlers: frozenset[str] = frozenset()
    each: Literal["all", "tenant", "net"] = "all"

    def __post_init__(self) -> None:
        if self.per <= timedelta(0):
            raise EngineError(f"throttle {self.name!r} needs a span of time", hint="per=timedelta(minutes=1)")
        limits = [x for x in (self.calls, self.tokens, self.dollars) if x is not None]
        if not limits or any(limit <= 0 for limit in limits):
            raise EngineError(
                f"throttle {self.name!r} limits nothing, or lets nothing through",
                hint="give calls=, tokens= or dollars=, above zero",
            )

    def concerns(self, job: Job) -> bool:
        """Whether it holds for a piece of work."""
        trigger = job.step.transition.trigger
        if not isinstance(trigger, Ask | Perform):
            return False
        return trigger.handler in self.handlers if self.handlers else isinstance(trigger, Ask)

    def key(self, case: LiveCase, now: int) -> Key:
        """The window of a case at a time, in microseconds."""
        part = {"all": "", "tenant": case.tenant, "net": case.program.net.name}[self.each]
        return self.name, part, now // microseconds(self.per)

    def wait(self, now: int) -> timedelta:
        """How long it is until the next window."""
        span = microseconds(self.per)
        return timedelta(microseconds=span - now % span)

    def limits(self) -> tuple[int, int, int]:
        """Most calls, tokens and millionths of dollars."""
        return (
            _ENDLESS if self.calls is None else self.calls,
            _ENDLESS if self.tokens is None else self.tokens,
            _ENDLESS if self.dollars is None else _micros(self.dollars),
        )


def countable(answer: Proposal) -> Proposal:
    """An answer that says what it cost in numbers which can be counted: what is none counts as nothing."""
    tokens, cost = (answer.tokens_in, answer.tokens_out), answer.cost_usd
    paid = isinstance(cost, Decimal) and cost.is_finite() and 0 <= cost < _MOST
    used = [type(n) is int and 0 <= n < _MOST for n in tokens]
    if paid and all(used):
        return answer
    into, out = (n if known else 0 for n, known in zip(tokens, used, strict=True))
    return replace(answer, tokens_in=into, tokens_out=out, cost_usd=cost if paid else Decimal(0))


def _micros(dollars: Decimal) -> int:
    """Millionths, rounded up: many calls that cost less than one each shall cost something."""
    return int((dollars * MICRO).to_integral_value(ROUND_CEILING))


class _Meter(Protocol):
    """Where windows are counted."""

    def take(self, key: Key, limits: tuple[int, int, int]) -> Literal["taken", "full"]:
        """Take a call, if there is room for one."""
        ...

    def add(self, key: Key, calls: int, tokens: int, micros: int) -> None:
        """Add what something cost; a call less than none is one that is given back."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


class Throttles:
    """The throttles of one engine.

    Args:
        throttles: What they are.
        store: Where they count.
    """

    def __init__(self, throttles: Iterable[Throttle], store: Store) -> None:
        self._throttles = tuple(throttles)
        names = [t.name for t in self._throttles]
        if twice := next((n for n in names if names.count(n) > 1), None):
            raise EngineError(f"two throttles are called {twice!r}", hint="give each a name of its own")
        self._meter: _Meter | None = None
        if self._throttles:
            self._meter = _Shared(store) if store.database.shared == "yes" else _Alone(store)

    def admit(self, job: Job, now: int) -> timedelta | None:
        """Let a piece of work begin, or say how long it has to wait."""
        taken: list[Key] = []
        for throttle in self._throttles:
            if not throttle.concerns(job):
                continue
            assert self._meter is not None
            key = throttle.key(job.case, now)
            if self._meter.take(key, throttle.limits()) == "full":
                for other in taken:
                    self._meter.add(other, -1, 0, 0)
                return throttle.wait(now)
            taken.append(key)
        return None

    def spent(self, job: Job, answer: Proposal, now: int) -> None:
        """Count what an answer cost, in the window that it came in."""
        for throttle in self._throttles:
            if throttle.concerns(job) and (throttle.tokens is not None or throttle.dollars is not None):
                assert self._meter is not None
                tokens = answer.tokens_in + answer.tokens_out
                self._meter.add(throttle.key(job.case, now), 0, tokens, _micros(answer.cost_usd))

    def close(self) -> None:
        """Let go of the database."""
        if self._meter is not None:
            self._meter.close()


class _Alone:
    """One process: the windows are in memory, and written with the next commit."""

    def __init__(self, store: Store) -> None:
        self._store = store
        rows = store.rows("SELECT name, part, number, calls, tokens, micros FROM provenet_window")
        self._windows: dict[Key, tuple[int, int, int]] = {(r[0], r[1], r[2]): r[3:] for r in rows}
        self._newest: dict[str, int] = {}

    def take(self, key: Key, limits: tuple[int, int, int]) -> Literal["taken", "full"]:
        used = self._windows.get(key, (0, 0, 0))
        if any(u >= most for u, most in zip(used, limits, strict=True)):
            return "full"
        self.add(key, 1, 0, 0)
        return "taken"

    def add(self, key: Key, calls: int, tokens: int, micros: int) -> None:
        name, _, number = key
        if self._newest.get(name, -1) < number:
            # Of everybody's share: a tenant that never comes again leaves nothing behind.
            self._newest[name] = number
            for old in [k for k in self._windows if k[0] == name and k[2] < number - 1]:
                del self._windows[old]
                self._store.drop("provenet_window", old)
        used = self._windows.get(key, (0, 0, 0))
        now = (used[0] + calls, used[1] + tokens, used[2] + micros)
        self._windows[key] = now
        self._store.put("provenet_window", key, (*key, *now))

    def close(self) -> None:
        """Nothing is held."""


class _Shared:
    """Several processes: the windows are in the database, on a session of their own.

    The session that cases are written through may have a transaction open, and would hold a window's row
    until it ends; here each count is a transaction of its own.
    """

    def __init__(self, store: Store) -> None:
        self._stack = ExitStack()
        self._session: Posting = self._stack.enter_context(open_to_post(store.location))
        # A window that a crash forgets is one that lets a few more calls through; no case depends on it.
        self._session.run("SET synchronous_commit = off")
        self._newest: dict[str, int] = {}

    def take(self, key: Key, limits: tuple[int, int, int]) -> Literal["taken", "full"]:
        name, _, number = key
        if self._newest.get(name, -1) < number:
            # As above; as many processes as there are do so once.
            self._newest[name] = number
            self._session.run(_OLD, (name, number - 1))
        return "taken" if self._session.rows(_TAKE, (*key, *limits)) else "full"

    def add(self, key: Key, calls: int, tokens: int, micros: int) -> None:
        self._session.run(_ADD, (*key, calls, tokens, micros))

    def close(self) -> None:
        self._stack.close()


_ADD = """
INSERT INTO provenet_window (name, part, number, calls, tokens, micros) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (name, part, number) DO UPDATE SET calls = provenet_window.calls + excluded.calls,
  tokens = provenet_window.tokens + excluded.tokens, micros = provenet_window.micros + excluded.micros"""

_TAKE = """
INSERT INTO provenet_window (name, part, number, calls, tokens, micros) VALUES (?, ?, ?, 1, 0, 0)
ON CONFLICT (name, part, number) DO UPDATE SET calls = provenet_window.calls + 1
WHERE provenet_window.calls < ? AND provenet_window.tokens < ? AND provenet_window.micros < ?
RETURNING 1"""

# Two processes that do so at once do not wait for each other.
_OLD = """
DELETE FROM provenet_window WHERE (name, part, number) IN
  (SELECT name, part, number FROM provenet_window WHERE name = ? AND number < ? FOR UPDATE SKIP LOCKED)"""

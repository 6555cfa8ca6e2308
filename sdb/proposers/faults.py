"""The faults that proposers give, and the deadline around each call."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from provenet.sdb.handlers import Proposal, ProposalFault
from provenet.sdb.reject import Reject

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

FaultRule: TypeAlias = Literal[
    "schema",
    "refusal",
    "timeout",
    "rate_limit",
    "unavailable",
    "malformed",
    "truncated",
    "auth",
    "bad_request",
    "fault",
]
"""What went wrong: the ``rule`` of a fault's reject signal."""

FINAL: frozenset[str] = frozenset({"auth", "bad_request"})
"""Rules after which the same question cannot get a better answer."""

_LONGEST = 300
# How long a cancelled call may take to clean up before it is left to itself.
_GRACE = 1.0
_SECRETS = re.compile(
    r"(?i)(bearer\s+|x-api-key['\"]?\s*[:=]\s*['\"]?|[?&](?:api[-_]?)?key=)[^\s'\"&,)}]+|\b(?:sk|pk|rk|gsk|xai|AIza)[-_A-Za-z0-9*]{8,}"
)


class DeadlinePassed(Exception):
    """A call did not end in time; it has been cancelled."""


def fault(
    rule: FaultRule,
    *,
    expected: str,
    got: str = "",
    field: str = "",
    hint: str = "",
    spent: Proposal | None = None,
) -> ProposalFault:
    """A fault; whether it can be retried follows from its rule."""
    signal = Reject(
        rule=rule,
        field=field,
        expected=expected,
        got=got,
        retryable=rule not in FINAL,
        hint=hint,
    )
    return ProposalFault(signal, spent=spent)


def timed_out(limit: timedelta, *, spent: Proposal | None = None) -> ProposalFault:
    """The fault of an answer that did not come in time."""
    return fault(
        "timeout",
        expected=f"an answer within {limit.total_seconds():g} s",
        got="none",
        hint="raise timeout= if answers usually take longer",
        spent=spent,
    )


def exception_text(error: BaseException, *, secrets: Iterable[str] = ()) -> str:
    """An exception's type and message, cut, on one line, and free of keys."""
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - a broken __str__ must not hide what happened
        message = "(its message cannot be shown)"
    return redact(f"{type(error).__name__}: {message}" if message else type(error).__name__, secrets=secrets)


def redact(text: str, *, secrets: Iterable[str] = ()) -> str:
    """A text cut to a line, with the given secrets and whatever looks like a key taken out."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "[key]")
    text = _SECRETS.sub(lambda m: (m[1] or "") + "[key]", text)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


async def within(
    limit: timedelta, work: Coroutine[Any, Any, T], *, gently: Callable[[], bool] = lambda: False
) -> T:
    """The result of ``work``, if it ends in time.

    Unlike ``asyncio.wait_for`` it does not wait for ever for work that ignores its cancellation.

    Args:
        limit: How long it may take.
        work: What to do.
        gently: Called before the work is cancelled; returns whether the work is about to end by itself and
            should get the chance.

    Raises:
        DeadlinePassed: It did not; the work is cancelled.
    """
    import asyncio  # here, since a net with proposers is built and proved without one being called

    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=max(limit.total_seconds(), 0))
    except asyncio.CancelledError:
        await _stop(task, gently)
        raise
    if not done:
        await _stop(task, gently)
        raise DeadlinePassed
    return task.result()


async def _stop(task: asyncio.Future[Any], gently: Callable[[], bool]) -> None:
    import asyncio

    task.add_done_callback(_swallow)
    if gently():
        await asyncio.wait({task}, timeout=_GRACE)
    task.cancel()
    await asyncio.wait({task}, timeout=_GRACE)


def _swallow(task: asyncio.Future[Any]) -> None:
    """Look at the outcome, so that asyncio does not report it as never retrieved."""
    if not task.cancelled():
        task.exception()

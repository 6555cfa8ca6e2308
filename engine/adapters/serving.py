"""What every worker does, whoever wakes its cases: open the engine, sweep, begin again after a failure."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, TypeAlias

from provenet.engine.adapters.protocol import Adapter
from provenet.engine.errors import EngineError

if TYPE_CHECKING:
    from provenet.engine.adapters.stepper import Stepper
    from provenet.engine.engine import Engine

LOG = logging.getLogger("provenet.engine.adapters")

FIRST, LONGEST = 0.2, 5.0
"""Seconds before the first reopening, and at most; doubled while it fails."""

Working: TypeAlias = Callable[["Stepper"], AbstractAsyncContextManager[Adapter]]
"""Takes work from a dispatcher for as long as it is entered."""


async def serve(open_engine: Callable[[], Engine], working: Working, stop: asyncio.Event) -> None:
    """Work until told to stop; an engine that failed (the database went away, say) is opened again.

    Args:
        open_engine: Makes an engine that ``takes="turns"``.
        working: Takes work from the dispatcher.
        stop: Set to end in good order.

    Raises:
        EngineError: It cannot even begin.
    """
    begun, pause = asyncio.Event(), FIRST
    while not stop.is_set():
        try:
            async with open_engine() as engine:
                failure = await _once(engine.stepper(), working, stop, begun)
            if failure is None:
                return
            LOG.warning("the engine failed and is opened again: %s", failure)
            pause = FIRST
        except EngineError as error:
            if not begun.is_set():
                raise
            LOG.warning("the engine cannot be opened; trying again: %s", error)
            pause = min(LONGEST, pause * 2)
        try:
            async with asyncio.timeout(pause):
                await stop.wait()
        except TimeoutError:
            continue


def missing(name: str, extra: str, error: ImportError) -> Exception:
    """What to say where a dispatcher's SDK is not installed."""
    if error.name is None or error.name.startswith("provenet"):
        return error
    return EngineError(
        f"{name} needs a package that is not installed: {error.name}", hint=f"pip install 'provenet[{extra}]'"
    )


async def _once(
    stepper: Stepper, working: Working, stop: asyncio.Event, begun: asyncio.Event
) -> BaseException | None:
    """Work until told to stop, or until the engine fails; why it failed."""
    async with working(stepper) as adapter:
        begun.set()
        sweep = asyncio.create_task(stepper.sweep(adapter).run())
        waiter = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({sweep, waiter}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiter.cancel()
            sweep.cancel()
            await asyncio.gather(waiter, sweep, return_exceptions=True)
    if stepper.turns.failure is None:
        await stepper.turns.settled()
    if stepper.turns.failure is not None:
        return stepper.turns.failure
    return None if sweep.cancelled() else sweep.exception()

"""The engine's own loop as an adapter: what is to be done runs in the process that found it out.

An engine that takes all cases dispatches them by itself, in its own event loop, and its peers on a PostgreSQL
database take over what a dead process held. So there is little left to do here, but for those who wake cases
without knowing by what.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from provenet.engine.adapters.protocol import Work

if TYPE_CHECKING:
    from provenet.engine.engine import Engine


class Embedded:
    """Wakes the cases of one engine; see ``provenet.engine.adapters.protocol.Adapter``.

    Args:
        engine: An engine that takes all cases.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def dispatch(self, case: str, work: Work | None = None) -> None:
        """Have the engine look now; work that it holds runs already, and more it takes up by itself."""
        del case, work
        await self._engine.attend()

    def heartbeat(self) -> None:
        """Nobody waits for one: work dies with its process, and the database notices that."""

    async def cancel(self, case: str, work: Work) -> None:
        """The loop stops work whose token is gone."""
        del case, work

    async def signal(self, case: str, request: int) -> None:
        """Have the engine answer what waits for it."""
        del case, request
        await self._engine.attend()
        await asyncio.sleep(0)

"""Worker processes for the chaos tests: the orders agent on the real clock; they may kill themselves."""

from __future__ import annotations

import asyncio
import os
import random
import zlib
from dataclasses import dataclass
from pathlib import Path

from provenet.engine import Decision, Engine, RealClock, Task, faults
from provenet.engine.supervisor import Heart
from tests.engine.orders import dice, orders
from tests.support.ledger import Ledger

POINTS = [p for p in faults.POINTS if p not in {"signal", "start", "timer-due"}]
"""Points that these workers pass."""


@dataclass(frozen=True)
class Chaotic:
    """A worker's body.

    Attributes:
        database: Where the cases are.
        ledger: Where the effects go.
        suicidal: How many of a hundred starts end at a fault point, by SIGKILL.
    """

    database: str
    ledger: Path
    suicidal: int = 0

    def __call__(self, heart: Heart) -> None:
        rng = random.Random(zlib.crc32(f"{os.getpid()} {os.times().elapsed}".encode()))
        if rng.randrange(100) < self.suicidal:
            faults.plan(f"{rng.choice(POINTS)}:kill:{rng.randint(1, 60)}")
        asyncio.run(self._serve(heart))

    async def _serve(self, heart: Heart) -> None:
        agent, stop = orders(Ledger(self.ledger)), asyncio.Event()
        async with Engine.open(self.database, agents=[agent], clock=RealClock(), people=decide) as engine:
            beating = asyncio.ensure_future(heart.beat())
            beating.add_done_callback(lambda _: stop.set())
            await engine.serve(stop)


async def decide(task: Task) -> Decision:
    """Decides at once, as the orders' own script does after some days."""
    await asyncio.sleep(0)
    return Decision("approve" if dice(task.about["order"], "mood") < 70 else "deny", "dana@pricing")


async def expected(database: str, ledger: Ledger, cases: int) -> None:
    """The same cases, undisturbed."""
    from tests.engine.kit import opened
    from tests.engine.orders import Order, proofs

    agent = orders(ledger)
    async with opened(agent, database, people=decide) as engine:
        engine.deploy(agent, proofs(agent.net))
        await engine.start_cases(
            "orders", [(f"o-{i}", {"order": Order(id=f"o-{i}", amount=i)}) for i in range(cases)]
        )
        await engine.run_until_idle()

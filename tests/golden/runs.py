"""Runs whose histories are kept: the orders, the contract renewal, and a net with every kind of everything.

What is here keeps to what 0.1.0 could do, so that its own code could record it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from provenet.engine import Engine, VirtualClock
from provenet.engine.errors import EngineError
from provenet.nets.build import NetBuilder
from provenet.nets.models import Token
from provenet.nets.net import Choice, OnFailure, Perform
from provenet.sdb.handlers import Agent, Effect, Request
from provenet.sdb.reject import REJECT
from tests.engine.orders import proofs
from tests.engine.orders import run as run_orders
from tests.support.ledger import Ledger

START = datetime(2026, 1, 1, tzinfo=UTC)


class Part(Token):
    name: str
    weight: float


class Everything(Token):
    id: str
    n: int
    price: Decimal
    share: float
    sure: bool
    kind: Literal["wood", "Blech", "紙"]
    due: datetime
    span: timedelta
    remark: str | None
    parts: list[Part]


class Note(Token):
    text: str


def everything() -> Agent:
    """A net with every kind of trigger, arc and type."""

    def store(request: Request) -> int:
        if request.payload.n == 5:
            raise TypeError("nobody knows why")
        return int(request.payload.n)

    async def send(request: Request) -> Any:
        # A receipt of another type parks the case.
        return "much" if request.payload.n == 4 else request.payload.n

    net = NetBuilder("everything")
    entry = net.entry("in", Everything)
    kept, noted, waiting, timed = (net.place(p, Everything) for p in ("kept", "noted", "waiting", "timed"))
    sending, sent = net.place("sending", Everything), net.place("sent", Everything)
    black, coin = net.place("black", initial=[(), (), ()]), net.place("coin")
    numbers = net.place("numbers", int)
    end, lost = net.final("end", Everything), net.place("lost", REJECT)
    net.rests(lost, numbers, kept)
    net.route("fork", takes={"e": entry}, puts={kept: "e", waiting: "e"})
    net.route("change", takes=[black, black], puts=[coin, coin, coin])
    net.transition(
        "store",
        takes={"e": waiting},
        reads={"k": kept},
        brings={"r": int},
        puts={noted: "e", numbers: "r"},
        trigger=Perform(
            net.handle("store", Effect("store", store, payload=Everything, receipt=int, external=False)),
            None,
            external=False,
        ),
    )
    net.transition(
        "store failed",
        takes={"e": waiting},
        brings={"why": REJECT},
        puts={noted: "e", lost: "why"},
        trigger=OnFailure("store"),
    )
    net.event(
        "heard",
        event="news",
        takes={"e": noted},
        brings={"news": Note},
        resets=[numbers, black, coin],
        puts={timed: "e"},
    )
    net.timer(
        "gone", after=timedelta(days=30), takes={"e": noted}, resets=[numbers, black, coin], puts={timed: "e"}
    )
    net.timer("due", after=lambda e: e.due, takes={"e": timed}, when=lambda e: e.sure, puts={sending: "e"})
    net.transition(
        "sign",
        takes={"e": timed},
        when=lambda e: ~e.sure,
        brings={"note": Note},
        puts={sending: "e"},
        trigger=Choice("sign", "yes", "boss"),
    )
    net.transition(
        "send",
        takes={"e": sending},
        brings={"r": int},
        puts={sent: "e", numbers: "r"},
        trigger=Perform(
            net.handle("send", Effect("send", send, payload=Everything, receipt=int, tries=2)), None
        ),
    )
    net.route("end it", takes={"e": sent}, when=lambda e: e.n != 7, puts={end: "e"})
    net.require("DATA-2")
    return Agent.of(net)


def thing(n: int) -> Everything:
    """An input with values that are easy to get wrong as text."""
    return Everything(
        id='"\\ \u2028 ß 紙 \U0001f980 \x7f' + "long " * 40 * (n % 2),
        n=n,
        price=Decimal("12.50") if n else Decimal("-0.00"),
        share=(0.1 + 0.2, 1e-300, 1e22)[n % 3],
        sure=n % 2 == 0,
        kind=("wood", "Blech", "紙")[n % 3],
        due=START + timedelta(days=40, microseconds=n),
        span=timedelta(days=-1, microseconds=n),
        remark=None if n % 2 else "",
        parts=[Part(name=str(i), weight=i / 7) for i in range(n % 4)],
    )


async def run_everything(folder: Path) -> Path:
    """Nine cases that end, are parked, resumed, killed, and stuck."""
    agent, database = everything(), folder / "everything.db"
    async with Engine.open(database, agents=[agent], clock=VirtualClock(START)) as engine:
        engine.deploy(agent, proofs(agent.net))
        await engine.start_cases("everything", [(f"e-{n}", {"in": thing(n)}) for n in range(9)])
        await engine.run_until_idle(until=START + timedelta(days=2))
        for n in (0, 1, 2, 8):
            await engine.signal(f"e-{n}", "news", {"text": f"news {n} ✓"}, key=f"k{n}")
        await engine.kill("case", "e-6", who="dana@ops", reason="a test")
        await engine.run_until_idle(until=START + timedelta(days=60))
        for n in (1, 3, 5, 7):
            await engine.decide(f"e-{n}", "sign", "yes", "ann@boss", note={"text": "so be it"})
        await engine.run_until_idle()
        for n in range(9):
            try:
                await engine.resume(f"e-{n}")
            except EngineError:
                continue
        await engine.run_until_idle()
    return database


async def run_all(folder: Path) -> list[Path]:
    """All runs; their databases."""
    orders = folder / "orders.db"
    await run_orders(str(orders), Ledger(folder / "ledger.db"), 40)
    return [orders, await run_everything(folder)]


def run_renewal(folder: Path) -> Path:
    """The contract renewal, beside its outside world."""
    from provenet.examples.contract_renewal.demo import Demo, run

    demo = Demo(folder=folder / "renewal", limit=60)
    run(demo)
    return demo.database

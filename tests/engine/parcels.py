"""An agent whose effects go to a service outside: by coroutines and functions, with keys and without."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from provenet.nets.build import NetBuilder
from provenet.nets.expr.build import make
from provenet.nets.models import Token
from provenet.sdb.handlers import Agent, Backoff, Effect, EffectRefused, Proposal, Request
from provenet.sdb.policy import within
from provenet.sdb.saga import Saga
from tests.engine.orders import dice, for_good, offered
from tests.support.world import HOSTILE, call

PATIENCE = timedelta(seconds=0.5)
SOON = Backoff(first=timedelta(seconds=0.05), longest=timedelta(seconds=0.5))


class Parcel(Token):
    id: str


class Offer(Token):
    parcel: str
    price: int


class Receipt(Token):
    number: str


class Proposer:
    """Says too much, too little, or nothing; whatever it says comes from somebody hostile."""

    async def propose(self, request: Request) -> Proposal:
        roll = dice(request.payload.id, request.attempt)
        if roll < 10:
            await asyncio.sleep(3600)
        if roll < 20:
            raise RuntimeError(HOSTILE)
        value: Any = (request.payload.id, HOSTILE if roll < 30 else 90 if roll < 50 else roll % 30)
        return Proposal(value, model=HOSTILE, prompt_hash=HOSTILE, tokens_in=7, tokens_out=3)


def parcels(url: str) -> Agent:
    """The agent, calling the service at an address."""

    async def ship(request: Request) -> Any:
        return _read(request, *await _asked(url, _body(request, "ship")))

    def recall(request: Request) -> None:
        _read(request, *call(url, _body(request, "recall"), 60.0))

    def charge(request: Request) -> Any:
        if dice(request.payload.parcel, "card") < 20:
            raise EffectRefused(HOSTILE)
        return _read(request, *call(url, _body(request, "charge"), 60.0))

    async def letter(request: Request) -> Any:
        body = _body(request, "letter")
        del body["key"]
        return _read(request, *await _asked(url, body))

    more: dict[str, Any] = {"timeout": PATIENCE, "tries": None, "backoff": SOON, "payload": Offer}
    net = NetBuilder("parcels")
    entry = net.entry("parcel", Parcel)
    review, approved = net.place("review", Offer), net.place("approved", Offer)
    shipped, arrived, paid = (net.place(name, Offer) for name in ("shipped", "arrived", "paid"))
    gone, denied, refused = (net.place(name, Offer) for name in ("gone", "denied", "refused"))
    thanked, unthanked = net.place("thanked", Offer), net.place("unthanked", Offer)
    closed = net.final("closed", Offer)
    scope = net.add(Saga("scope", outcome=Offer, completes=closed, aborts=closed))
    put = Effect("carrier.ship", ship, receipt=Receipt, **more)
    undo = Effect("carrier.recall", recall, **more)
    pay = Effect("bank.charge", charge, receipt=Receipt, **more)
    thank = Effect(
        "post.letter", letter, payload=Offer, receipt=Receipt, timeout=PATIENCE, idempotent="no", tries=1
    )
    fair = within(Offer, lambda o: (o.price >= 0) & (o.price <= 30), name="price")
    any_price = within(Offer, lambda o: o.price <= 50, name="cap")
    nothing = lambda inputs: make(Offer, parcel=inputs.id, price=40)  # noqa: E731
    offered(
        net,
        ("label", "ship approved"),
        (entry, review, approved, denied),
        returns=Offer,
        propose=Proposer(),
        verify=fair,
        escalate=nothing,
        cap=any_price,
        who="desk",
        done={"gives": shipped, "commit": put, "undo": undo, "saga": scope},
        timeout=PATIENCE,
    )
    net.event("delivered", event="delivered", takes={"o": shipped}, puts={arrived: "o"})
    net.timer("lost", takes={"o": shipped}, after=timedelta(seconds=3), puts={gone: "o"})
    common: dict[str, Any] = {"verify": any_price, "saga": scope}
    for_good(net, "charge", takes=arrived, gives=paid, commit=pay, bad=refused, **common)
    for_good(net, "thank", takes=paid, gives=thanked, commit=thank, bad=unthanked, **common)
    for name, place in (("thanked", thanked), ("not thanked", unthanked)):
        scope.complete(net, name, takes={"o": place}, outcome="o")
    for name, place in (("was lost", gone), ("was denied", denied), ("was refused", refused)):
        scope.abort(net, name, takes={"o": place}, outcome="o")
    net.require("SDB-1", "SDB-5", "SAGA-1")
    return Agent.of(net)


def _body(request: Request, name: str) -> dict[str, Any]:
    offer = request.payload
    return {"key": request.key, "name": name, "subject": offer.parcel, "detail": str(offer.price)}


def _read(request: Request, status: int, body: bytes) -> Any:
    """The receipt, just as it came; but for one that is about something else."""
    if status != 200:
        raise ConnectionError(f"{status}: {body.decode()}")
    found = json.loads(body)
    if isinstance(found, dict) and found.pop("key", request.key) != request.key:
        raise ValueError("the answer is about another key")
    return found


async def _asked(url: str, body: dict[str, Any]) -> tuple[int, bytes]:
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        text = json.dumps(body).encode()
        writer.write(b"POST / HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(text) + text)
        answer = await reader.read()
    finally:
        writer.close()
    head, _, rest = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), rest

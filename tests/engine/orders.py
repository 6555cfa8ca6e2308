"""An agent with everything that can go wrong: rejects, faults, a person, a saga, failing effects.

All it does is a function of the case's id, so two runs of the same cases must have the same effects,
whatever happened in between.
"""

from __future__ import annotations

import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

from provenet.engine import Decision, Engine, People, Task, VirtualClock
from provenet.nets.build import NetBuilder, PlaceRef
from provenet.nets.expr.build import make
from provenet.nets.formats.canonical import content_hash
from provenet.nets.models import Token
from provenet.nets.net import Net
from provenet.sdb.contract import Contract
from provenet.sdb.handlers import Agent, Effect, EffectRefused, Proposal, ProposalFault, Request
from provenet.sdb.human import Human
from provenet.sdb.policy import Policy, within
from provenet.sdb.reject import Reject
from provenet.sdb.saga import Saga
from provenet.verify.verdict import Report
from tests.support.ledger import Ledger

START = datetime(2026, 1, 1, tzinfo=UTC)


class Order(Token):
    id: str
    amount: int


class Offer(Token):
    order: str
    discount: int


class Receipt(Token):
    number: str


def dice(*parts: object) -> int:
    """A number from 0 to 99 that depends on the parts only."""
    return zlib.crc32(repr(parts).encode()) % 100


class Proposer:
    """Misbehaves at known rates."""

    async def propose(self, request: Request) -> Proposal:
        roll = dice(request.payload.id, request.attempt)
        if roll < 10:
            raise RuntimeError("the model is out to lunch")
        if roll < 20:
            raise ProposalFault(Reject(rule="refusal", expected="an offer", got="I would rather not"))
        if roll < 25:
            return Proposal((request.payload.id, "much"))
        return Proposal(
            (request.payload.id, 90 if roll < 55 else roll % 30), model="dice-1", tokens_in=7, tokens_out=3
        )


def orders(ledger: Ledger) -> Agent:
    """The agent, writing to a ledger."""

    async def publish(request: Request) -> Receipt:
        offer = request.payload
        if dice(offer.order, "flaky") < 20 and request.attempt < 3:
            raise ConnectionError("the CRM is away")
        ledger.write(request.key, "publish", offer.order, str(offer.discount))
        return Receipt(number=f"P-{offer.order}")

    def withdraw(request: Request) -> None:
        ledger.write(request.key, "withdraw", request.payload.order, str(request.payload.discount))

    async def charge(request: Request) -> Receipt:
        offer = request.payload
        if dice(offer.order, "card") < 25:
            raise EffectRefused("the card is refused")
        ledger.write(request.key, "charge", offer.order, str(offer.discount))
        return Receipt(number=f"C-{offer.order}")

    net = NetBuilder("orders")
    order = net.entry("order", Order)
    review, approved = net.place("review", Offer), net.place("approved", Offer)
    published, charged = net.place("published", Offer), net.place("charged", Offer)
    refused, denied = net.place("refused", Offer), net.place("denied", Offer)
    closed = net.final("closed", Offer)
    scope = net.add(Saga("scope", outcome=Offer, completes=closed, aborts=closed))
    put = Effect("crm.publish", publish, payload=Offer, receipt=Receipt)
    undo = Effect("crm.withdraw", withdraw, payload=Offer)
    pay = Effect("billing.charge", charge, payload=Offer, receipt=Receipt)
    nothing = lambda inputs: make(Offer, order=inputs.id, discount=0)  # noqa: E731
    offered(
        net,
        ("quote", "publish approved"),
        (order, review, approved, denied),
        returns=Offer,
        propose=Proposer(),
        verify=within(Offer, lambda o: (o.discount <= 30) & (o.discount >= 0), name="discount v1"),
        escalate=nothing,
        cap=within(Offer, lambda o: o.discount <= 50, name="cap"),
        who="pricing",
        done={"gives": published, "commit": put, "undo": undo, "saga": scope},
    )
    cap = within(Offer, lambda o: o.discount <= 50, name="charge cap")
    for_good(net, "charge", takes=published, gives=charged, verify=cap, commit=pay, bad=refused, saga=scope)
    scope.complete(net, "done", takes={"o": charged}, outcome="o")
    scope.abort(net, "card refused", takes={"o": refused}, outcome="o")
    scope.abort(net, "not approved", takes={"o": denied}, outcome="o")
    scope.kill(net, "kill", outcome=make(Offer, order="", discount=0))
    net.require("SDB-1", "SDB-5", "SAGA-1")
    return Agent.of(net)


def offered(
    net: NetBuilder,
    names: tuple[str, str],
    places: tuple[PlaceRef, PlaceRef, PlaceRef, PlaceRef],
    *,
    cap: Policy,
    who: str,
    done: dict[str, Any],
    **first: Any,
) -> None:
    """A model's offer is carried out, or what a person approves in its place.

    Args:
        net: Where this is drawn.
        names: Of the two contracts.
        places: What the model sees; what a person is asked about; what is approved, and what is denied.
        cap: What an approved offer has to pass.
        who: The person's role.
        done: What carries an offer out.
        first: What else the model's contract is made of.
    """
    takes, review, approved, denied = places
    net.add(Contract(names[0], takes=takes, otherwise=review, **first, **done))
    net.add(Human("approve", takes=review, approve=approved, deny=denied, who=who, within=timedelta(days=7)))
    net.add(Contract(names[1], takes=approved, verify=cap, otherwise=denied, **done))


def for_good(net: NetBuilder, name: str, *, bad: PlaceRef, **parts: Any) -> None:
    """A contract of a saga whose effect nothing undoes; what is refused, or fails, has one place."""
    net.add(Contract(name, irreversible=True, otherwise=bad, on_failure=bad, **parts))


_PROOFS: dict[str, Report] = {}


def proofs(net: Net) -> Report:
    """What the checker says of a net; asked once per content."""
    from provenet.verify.check import prove  # heavy, and most processes of the crash tests never need it

    found = content_hash(net)
    if found not in _PROOFS:
        _PROOFS[found] = prove(net)
    return _PROOFS[found]


def person(clock: VirtualClock) -> People:
    """Decides after some days, some orders too late."""

    async def decide(task: Task) -> Decision | None:
        # Counted from when the task was opened, so that a restart in between changes nothing.
        at = task.opened + timedelta(hours=dice(task.about["order"], "slow") * 2)
        await clock.sleep(at - clock.now())
        yes = dice(task.about["order"], "mood") < 70
        return Decision("approve" if yes else "deny", "dana@pricing")

    return decide


async def run(
    database: str, ledger: Ledger, cases: int, *, ids: str = "o", at_once: int = 64
) -> dict[str, int]:
    """Deploy where that is needed, start the cases that are not there yet, and run to the end."""
    agent = orders(ledger)
    clock = VirtualClock(START)
    async with Engine.open(
        database, agents=[agent], clock=clock, people=person(clock), proposals=at_once, effects=at_once
    ) as engine:
        if not engine.read.nets():
            engine.deploy(agent, proofs(agent.net))
        wanted = [(f"{ids}-{i}", {"order": Order(id=f"{ids}-{i}", amount=i)}) for i in range(cases)]
        await engine.start_cases("orders", wanted, existing="skip")
        await engine.run_until_idle()
        return engine.read.counts()

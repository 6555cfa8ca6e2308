"""A small agent for tests of the command line: an offer is proposed, published, or decided by a person."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from provenet import (
    Agent,
    Contract,
    Effect,
    Human,
    NetBuilder,
    Request,
    Saga,
    Token,
    function,
    make,
    never,
    within,
)

LEDGER = Path(__file__).with_name("ledger.txt")


class Customer(Token):
    id: str
    wants: int


class Offer(Token):
    customer: str
    discount_pct: int


def propose(customer: Customer) -> Offer:
    return Offer(customer=customer.id, discount_pct=customer.wants)


def publish(request: Request) -> None:
    with LEDGER.open("a", encoding="utf-8") as ledger:
        ledger.write(f"publish {request.payload.customer} {request.payload.discount_pct}\n")


def withdraw(request: Request) -> None:
    with LEDGER.open("a", encoding="utf-8") as ledger:
        ledger.write(f"withdraw {request.payload.customer}\n")


def build(limit: int = 30) -> NetBuilder:
    net = NetBuilder("offers")
    customer = net.entry("customer", Customer)
    review = net.place("review", Offer)
    approved = net.place("approved", Offer)
    published = net.place("published", Offer)
    refused = net.place("refused", Offer)
    closed = net.final("closed", Offer)
    dropped = net.final("dropped", Offer)
    scope = net.add(Saga("scope", outcome=Offer, completes=closed, aborts=dropped))
    crm = Effect("crm.publish", publish, payload=Offer)
    undo = Effect("crm.withdraw", withdraw, payload=Offer)
    net.add(
        Contract(
            "publish offer",
            takes=customer,
            gives=published,
            propose=function(propose),
            returns=Offer,
            verify=within(Offer, lambda o: o.discount_pct <= limit, name="discount v7"),
            commit=crm,
            undo=undo,
            undo_payload=lambda payload, receipt: payload,
            saga=scope,
            otherwise=review,
            escalate=lambda inputs, proposal: proposal.or_else(
                make(Offer, customer=inputs.id, discount_pct=0)
            ),
        )
    )
    net.add(
        Human(
            "approve offer",
            takes=review,
            approve=approved,
            deny=refused,
            who="pricing",
            within=timedelta(days=7),
        )
    )
    net.add(
        Contract(
            "publish approved",
            takes=approved,
            gives=published,
            verify=within(Offer, lambda o: o.discount_pct <= 50, name="cap"),
            commit=crm,
            undo=undo,
            undo_payload=lambda payload, receipt: payload,
            saga=scope,
            otherwise=refused,
        )
    )
    net.event("correct", event="correct", takes={"o": review}, brings={"by": Offer}, puts={review: "by"})
    scope.complete(net, "done", takes={"o": published}, outcome="o")
    scope.abort(net, "drop", takes={"o": refused}, outcome="o")
    scope.kill(net, "kill", outcome=Offer(customer="", discount_pct=0))
    net.require(
        "SDB",
        "SAGA",
        "STATE-2",
        "STATE-3",
        never(
            effect="crm.publish",
            of=Offer,
            where=lambda payload: payload.discount_pct > 30,
            unless="approve offer",
        ),
    )
    return net


def agent() -> Agent:
    return Agent.of(build())


def loose() -> Agent:
    return Agent.of(build(limit=40))

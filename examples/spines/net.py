"""One agent on two spines: parcel claims over a log of events (P3), and over one row (P5).

A claim for a lost parcel is graded by a model, waits for the customer's bank details, gets an offer from the
model, and is paid or declined. Questions, gate, effect and goals are the same on both; only what carries the
state between the steps differs: events that consumers fold into a view, or a row that workers move.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from provenet import (
    Agent,
    Consumer,
    Contract,
    Effect,
    EventType,
    Move,
    NetBuilder,
    Policy,
    Proposer,
    Request,
    Sequencing,
    Slot,
    StateMachine,
    Token,
    Worker,
    make,
    never,
    within,
)

QUIET = timedelta(days=14)
"""How long nothing may come until a claim is closed."""

MOST = 50_000
"""Cents that the gate lets through."""


class Claim(Token):
    """What a customer claims."""

    id: str
    cents: int


class Grade(Token):
    """What the model makes of a claim, from 1 (plain) to 3 (odd)."""

    level: int


class Offer(Token):
    """What the model offers; nothing, to decline."""

    cents: int


class File(Token):
    """What is known of a claim: the view of the log, the data of the row."""

    id: str
    claimed: int
    level: int
    offered: int
    paid: bool


class Paid(Token):
    """What was paid."""

    claim: str
    cents: int


class Done(Token):
    """A payment was made."""

    cents: int


GRADES = within(Grade, lambda g: (g.level >= 1) & (g.level <= 3), name="grades v1")
GATE = within(Offer, lambda o: (o.cents >= 0) & (o.cents <= MOST), name="settlement v1")


def _nothing(request: Request) -> None:
    """The bank of the example: what it is asked is on record, and nowhere else."""


BANK = Effect("bank.pay", _nothing, payload=Paid)


def asking(proposer: Proposer, returns: type[Token], gate: Policy) -> Callable[[Slot], Contract]:
    """A model's part: two attempts at an answer that the gate lets through."""
    return lambda at: Contract(
        at.id,
        takes=at.takes,
        gives=at.gives,
        otherwise=at.failed,
        propose=proposer,
        returns=returns,
        verify=gate,
        attempts=2,
    )


def paying(claim: Callable[[Any], Any], cents: Callable[[Any], Any]) -> Callable[[Slot], Contract]:
    """The bank's part: an effect behind the gate, which no model takes part in.

    Args:
        claim: Where the claim's id lies in what the part is given.
        cents: Where the amount lies.
    """
    return lambda at: Contract(
        at.id,
        takes=at.takes,
        gives=at.gives,
        otherwise=at.failed,
        verify=within(at.takes.type, lambda x: (cents(x) > 0) & (cents(x) <= MOST), name="payment v1"),
        commit=BANK,
        payload=lambda inputs: make(Paid, claim=claim(inputs), cents=cents(inputs)),
        emit=lambda inputs: make(Done, cents=cents(inputs)),
        on_failure=at.failed,
        fail_emit=lambda inputs: inputs,
    )


def on_events(proposer: Proposer) -> Agent:
    """The agent over a log (P3): consumers react to events and emit others; the view is a fold of them."""
    net = NetBuilder("claims-on-events")
    claim, closed = net.entry("claim", Claim), net.place("closed", File)
    paid, declined = net.final("paid", File), net.final("declined", File)
    net.add(
        Sequencing(
            "log",
            takes=claim,
            done=closed,
            view=lambda inputs: make(
                File, id=inputs.id, claimed=inputs.cents, level=0, offered=0, paid=False
            ),
            events=[
                EventType("received", Claim),
                EventType("details", Claim),
                EventType(
                    "graded",
                    Grade,
                    fold=lambda view, event: view.with_(level=event.payload.level),
                    source="consumers",
                ),
                EventType(
                    "offered",
                    Offer,
                    fold=lambda view, event: view.with_(offered=event.payload.cents),
                    source="consumers",
                ),
                EventType("paid", Done, fold=lambda view: view.with_(paid=True), source="consumers"),
            ],
            consumers=[
                Consumer("grade", "received", Grade, asking(proposer, Grade, GRADES), emits="graded"),
                Consumer("offer", "details", Offer, asking(proposer, Offer, GATE), emits="offered"),
                Consumer(
                    "pay",
                    "offered",
                    Done,
                    paying(lambda x: x.view.id, lambda x: x.payload.cents),
                    emits="paid",
                ),
            ],
            quiet=QUIET,
        )
    )
    net.route("was paid", takes={"f": closed}, when=lambda f: f.paid, puts={paid: "f"})
    net.route("was declined", takes={"f": closed}, when=lambda f: ~f.paid, puts={declined: "f"})
    _required(net)
    return Agent.of(net)


def on_a_row(proposer: Proposer) -> Agent:
    """The agent over a row (P5): workers propose moves of it, and it is what they have moved it to."""
    net = NetBuilder("claims-on-a-row")
    claim, opened = net.entry("claim", Claim), net.place("opened", File)
    paid, declined = net.final("paid", File), net.final("declined", File)
    net.route(
        "open",
        takes={"c": claim},
        puts={opened: lambda c: make(File, id=c.id, claimed=c.cents, level=0, offered=0, paid=False)},
    )
    net.add(
        StateMachine(
            "row",
            takes=opened,
            states=("new", "received", "graded", "ready", "offered", "paid", "declined"),
            moves=[
                Move("receive", "new", "received", on="received", brings=Claim),
                Move(
                    "grade",
                    "received",
                    "graded",
                    by="grade",
                    sets=lambda data, answer: data.with_(level=answer.level),
                ),
                Move("not graded", "received", "graded", without="grade"),
                Move("details come", "graded", "ready", on="details", brings=Claim),
                Move(
                    "offer",
                    "ready",
                    "offered",
                    by="offer",
                    sets=lambda data, answer: data.with_(offered=answer.cents),
                ),
                Move("no offer", "ready", "declined", without="offer"),
                Move("pay", "offered", "paid", by="pay", sets=lambda data: data.with_(paid=True)),
                Move("not paid", "offered", "declined", without="pay"),
                Move("too quiet", ("new", "graded"), "declined", after=QUIET),
            ],
            ends={"paid": paid, "declined": declined},
            workers=[
                Worker("grade", Grade, asking(proposer, Grade, GRADES)),
                Worker("offer", Offer, asking(proposer, Offer, GATE)),
                Worker("pay", Done, paying(lambda x: x.data.id, lambda x: x.data.offered)),
            ],
        )
    )
    _required(net)
    return Agent.of(net)


def _required(net: NetBuilder) -> None:
    """What both spines have to show: no goal is out of reach (STATE-1), nothing beyond the gate is paid."""
    net.require(
        "SDB",
        "STATE",
        never(
            effect=BANK.name,
            of=Paid,
            where=lambda payload: (payload.cents > MOST) | (payload.cents <= 0),
            name="nothing beyond the gate is paid",
        ),
    )

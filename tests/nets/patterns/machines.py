"""Agents with a shared state machine: a ring of states of any size, and the renewal of the paper."""

from __future__ import annotations

from datetime import datetime, timedelta

from provenet.nets.build import NetBuilder
from provenet.nets.expr.build import Term, make
from provenet.nets.models import Token
from provenet.nets.patterns.machine import Move, Overtaken, StateMachine, Worker
from provenet.nets.patterns.slot import Slot, Work
from provenet.nets.requirements import always, never
from provenet.sdb.contract import Contract
from provenet.sdb.handlers import Effect
from provenet.sdb.human import Human
from provenet.sdb.policy import within
from provenet.sdb.proposers import scripted

DAY = timedelta(days=1)


class Job(Token):
    id: str
    total: int


class Step(Token):
    add: int


def adding(at: Slot) -> Contract:
    """A worker's part: what it proposes is a number from 0 to 100 to add."""
    return Contract(
        at.id,
        takes=at.takes,
        gives=at.gives,
        otherwise=at.failed,
        propose=scripted([]),
        returns=Step,
        verify=within(Step, lambda s: (s.add >= 0) & (s.add <= 100), name="range v1"),
        attempts=1,
    )


def machine(
    states: int = 4,
    workers: int = 2,
    conflicts: int = 2,
    *,
    overtaken: Overtaken = "finishes",
    work: Work = adding,
) -> NetBuilder:
    """A ring: worker n moves the row on from the first state and from the n-th, events move it back.

    Args:
        states: How many, the end among them.
        workers: How many.
        conflicts: How often each may come too late.
        overtaken: What becomes of their work then.
        work: Makes their parts.
    """
    names = [f"s{n}" for n in range(1, states)] + ["end"]
    net = NetBuilder("ring")
    asked, ended = net.entry("asked", Job), net.final("ended", Job)
    moves = [
        Move(
            "override",
            names[:-1],
            "s1",
            on="override",
            brings=Step,
            sets=lambda data, said: data.with_(total=said.add),
        ),
        Move("too long", names[:-1], "end", after=10 * DAY),
    ]
    for n in range(1, workers + 1):
        mine = [s for i, s in enumerate(names[:-1], 1) if i in (1, n)]
        moves += [
            Move(
                f"w{n} {at}",
                at,
                names[names.index(at) + 1],
                by=f"w{n}",
                when=lambda answer: answer.add > 0,
                sets=lambda data, answer: data.with_(total=data.total + answer.add),
            )
            for at in mine
        ]
        moves.append(Move(f"w{n} lost", mine, "end", without=f"w{n}"))
    team = [Worker(f"w{n}", Step, work, overtaken) for n in range(1, workers + 1)]
    if workers < states - 1:
        moves.append(Move("on", names[workers or 0 : -1], "end", on="on"))
    net.add(
        StateMachine(
            "job",
            takes=asked,
            states=names,
            moves=_led_to(moves, names),
            ends={"end": ended},
            workers=team,
            conflicts=conflicts,
        )
    )
    net.require("SDB", "STATE")
    return net


def _led_to(moves: list[Move], names: list[str]) -> list[Move]:
    """The moves, and an event that leads to states that nothing else does."""
    reached = {m.to for m in moves} | {names[0]}
    lost = [s for s in names if s not in reached]
    return [*moves, *(Move(f"jump to {s}", names[0], s, on=f"jump {s}") for s in lost)]


# the renewal


class Renewal(Token):
    id: str
    monthly_cents: int
    merged: bool
    day0: datetime
    discount_pct: int


class Score(Token):
    risk_pct: int


class Offer(Token):
    discount_pct: int


class Letter(Token):
    customer: str
    discount_pct: int


MAIL = Effect("mail.send", lambda request: None, payload=Letter, tries=3)


def scoring(at: Slot) -> Contract:
    return Contract(
        at.id,
        takes=at.takes,
        gives=at.gives,
        otherwise=at.failed,
        propose=scripted([]),
        returns=Offer,
        attempts=2,
        verify=within(Offer, lambda o: (o.discount_pct >= 0) & (o.discount_pct <= 50), name="offers v1"),
    )


def sending(at: Slot) -> Contract:
    """Tells the customer; nothing else moves the row meanwhile."""
    return Contract(
        at.id,
        takes=at.takes,
        gives=at.gives,
        otherwise=at.failed,
        verify=within(
            at.takes.type, lambda p: (p.data.discount_pct >= 0) & (p.data.discount_pct <= 50), name="cap v1"
        ),
        commit=MAIL,
        payload=lambda inputs: make(Letter, customer=inputs.data.id, discount_pct=inputs.data.discount_pct),
        emit=lambda inputs: make(Offer, discount_pct=inputs.data.discount_pct),
        on_failure=at.failed,
        fail_emit=lambda inputs: inputs,
    )


def deciding(at: Slot) -> Human:
    return Human(
        at.id,
        takes=at.takes,
        approve=at.gives,
        deny=at.failed,
        who="pricing",
        within=7 * DAY,
        on_approve=lambda inputs: make(Offer, discount_pct=inputs.data.discount_pct),
    )


def renewal(conflicts: int = 2) -> NetBuilder:
    """The contract renewal as a row: its states, who moves it, and what is known of it in each state."""
    net = NetBuilder("renewal")
    opened = net.entry("opened", Renewal, where=lambda it: it.discount_pct == 0)
    closed, expired = net.final("closed", Renewal), net.final("expired", Renewal)

    def offered(data: Term, answer: Term) -> Term:
        return data.with_(discount_pct=answer.discount_pct)

    waiting = ("offer_sent", "human_required")
    row = net.add(
        StateMachine(
            "row",
            takes=opened,
            states=(
                "init",
                "window_open",
                "scoring",
                "sending",
                "offer_sent",
                "human_required",
                "closed",
                "expired",
            ),
            moves=(
                Move("open window", "init", "window_open", on="window.open"),
                Move("never opened", "init", "expired", after=lambda data: data.day0),
                Move("day -60", "window_open", "scoring", after=lambda data: data.day0 - 60 * DAY),
                Move("merger", "window_open", "human_required", on="merger"),
                Move(
                    "offer",
                    "scoring",
                    "sending",
                    by="pricer",
                    when=lambda answer: answer.discount_pct <= 30,
                    sets=offered,
                ),
                Move("over policy", "scoring", "human_required", by="pricer", sets=offered),
                Move("no offer", "scoring", "human_required", without="pricer"),
                Move("sent", "sending", "offer_sent", by="mailer"),
                Move("not sent", "sending", "human_required", without="mailer"),
                Move("accept", "offer_sent", "closed", on="accepted"),
                Move("30 idle days", "offer_sent", "expired", after=30 * DAY),
                Move("approve", "human_required", "sending", by="person", sets=offered),
                Move("nobody", "human_required", "closed", without="person"),
                Move("day 0", waiting, "expired", after=lambda data: data.day0),
                Move("take over", ("scoring", "offer_sent"), "human_required", on="override"),
            ),
            ends={"closed": closed, "expired": expired},
            workers=(
                Worker("pricer", Offer, scoring),
                Worker("mailer", Offer, sending),
                Worker("person", Offer, deciding, overtaken="is withdrawn"),
            ),
            conflicts=conflicts,
        )
    )
    net.require(
        "SDB",
        "STATE",
        "CTL-3",
        "EVT-1",
        "DATA",
        always(
            row.rows["sending"].name,
            of=row.rows["sending"].type,
            where=lambda it: (it.data.discount_pct >= 0) & (it.data.discount_pct <= 50),
            name="an offer that is sent is at most 50%",
        ),
        never(
            effect="mail.send",
            of=Letter,
            where=lambda payload: payload.discount_pct > 50,
            name="never above 50%",
        ),
    )
    return net

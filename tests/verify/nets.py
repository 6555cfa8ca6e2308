"""Tiny nets for tests of verdicts."""

from __future__ import annotations

from datetime import timedelta

from provenet.nets.build import NetBuilder
from provenet.nets.models import Token
from provenet.nets.net import Net, Requirement
from provenet.nets.requirements import never
from provenet.sdb.contract import Contract
from provenet.sdb.handlers import Effect, Proposal, Request
from provenet.sdb.human import Human
from provenet.sdb.policy import within
from provenet.sdb.saga import Saga

WEEK = timedelta(days=7)


class Offer(Token):
    discount: int
    vip: bool


class Model:
    """A proposer that no proof ever asks."""

    async def propose(self, request: Request) -> Proposal:
        raise NotImplementedError


def nothing(request: Request) -> None:
    """An effect that no proof ever performs."""


def selling(*, most: int = 30, gate: str = "person", requirements: tuple[Requirement | str, ...] = ()) -> Net:
    """A model's offer is sold when the policy lets it pass, or when a person approves it.

    Args:
        most: Most discount that the policy lets pass.
        gate: ``person`` where a rejected offer goes to a person, ``none`` where it is sold all the same.
        requirements: What is to be proved.
    """
    net = NetBuilder("selling")
    asked = net.entry("asked", Offer)
    review, approved = net.place("review", Offer), net.place("approved", Offer)
    sold, refused = net.final("sold", Offer), net.final("refused", Offer)
    sell = Effect("sell", nothing, payload=Offer)
    net.add(
        Contract(
            "offer",
            takes=asked,
            gives=sold,
            propose=Model(),
            returns=Offer,
            verify=within(Offer, lambda o: o.discount <= most, name="cap"),
            commit=sell,
            otherwise=review,
            escalate=lambda inputs, proposal: proposal.or_else(inputs),
            attempts=2,
        )
    )
    if gate == "person":
        net.add(Human("ask", takes=review, approve=approved, deny=refused, who="boss", within=WEEK))
    else:
        net.add(Human("ask", takes=review, approve=refused, deny=refused, who="boss", within=WEEK))
        net.route("skip", takes={"o": review}, puts={approved: "o"})
    net.add(
        Contract(
            "by hand",
            takes=approved,
            gives=sold,
            verify=within(Offer, lambda o: o.discount <= 80, name="limit"),
            commit=sell,
            otherwise=refused,
        )
    )
    net.require(*requirements)
    return net.build()


def cap(most: int = 30) -> Requirement:
    """Nothing above some discount is sold but what a person approved."""
    return never(effect="sell", of=Offer, where=lambda payload: payload.discount > most, unless="ask")


def trip(*, requirements: tuple[Requirement | str, ...] = ()) -> Net:
    """Two bookings in a saga scope: both, or neither."""
    net = NetBuilder("trip")
    asked = net.entry("asked", Offer)
    booked, both = net.place("booked", Offer), net.place("both", Offer)
    failed = net.place("failed", Offer)
    end = net.final("end", Offer)
    scope = net.add(Saga("trip", outcome=Offer, completes=end, aborts=end))
    flight = within(Offer, lambda o: o.discount <= 30, name="flights")
    hotel = within(Offer, lambda o: o.discount <= 20, name="hotels")
    for id_, takes, gives, policy in (("flight", asked, booked, flight), ("hotel", booked, both, hotel)):
        net.add(
            Contract(
                id_,
                takes=takes,
                gives=gives,
                verify=policy,
                commit=Effect(f"book {id_}", nothing, payload=Offer),
                undo=Effect(f"cancel {id_}", nothing, payload=Offer),
                saga=scope,
                otherwise=failed,
                on_failure=failed,
            )
        )
    scope.complete(net, "done", takes={"o": both}, outcome="o")
    scope.abort(net, "stop", takes={"o": failed}, outcome="o")
    net.require(*requirements)
    return net.build()


def chain(length: int, *, most: int) -> Net:
    """Contracts in a row that pass an offer on; the last one sells it.

    Args:
        length: How many.
        most: Most discount that each of them lets pass.
    """
    net = NetBuilder("chain")
    limit = within(Offer, lambda o: o.discount <= most, name="cap")
    here, refused = net.entry("start", Offer), net.final("refused", Offer)
    for i in range(length):
        last = i == length - 1
        there = net.final("end", Offer) if last else net.place(f"after {i}", Offer)
        sell = Effect("sell", nothing, payload=Offer) if last else None
        net.add(Contract(f"c{i}", takes=here, gives=there, verify=limit, commit=sell, otherwise=refused))
        here = there
    return net.build()

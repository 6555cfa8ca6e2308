"""Agents on a log of events, of any size: an account whose payments are folded into a balance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from provenet.nets.build import NetBuilder
from provenet.nets.expr.build import make
from provenet.nets.models import Token
from provenet.nets.patterns.sequencing import Consumer, EventType, Failing, Gaps, OldVersion, Sequencing
from provenet.nets.patterns.slot import Slot
from provenet.sdb.contract import Contract
from provenet.sdb.handlers import Effect
from provenet.sdb.policy import within
from provenet.sdb.proposers import scripted


class Account(Token):
    id: str


class Balance(Token):
    account: str
    cents: int


class Payment(Token):
    cents: int


class OldPayment(Token):
    amount: int


class Probe(Token):
    ping: int


class Note(Token):
    text: str


BOOKS = Effect("books.note", lambda request: None, payload=Note, tries=2)


def noting(at: Slot) -> Contract:
    """A consumer's part: a note about an event, which is written to the books."""
    return Contract(
        at.id,
        takes=at.takes,
        gives=at.gives,
        otherwise=at.failed,
        propose=scripted([]),
        returns=Note,
        verify=within(Note, lambda n: n.text != "", name="no empty note v1"),
        commit=BOOKS,
        attempts=1,
    )


def refused(at: Slot) -> Contract:
    """The same, where an effect may fail for good."""
    return replace(noting(at), on_failure=at.failed, fail_emit=lambda inputs: inputs)


def told(at: Slot) -> Contract:
    """A consumer's part that writes nothing."""
    return Contract(
        at.id,
        takes=at.takes,
        gives=at.gives,
        otherwise=at.failed,
        propose=scripted([]),
        returns=Note,
        verify=within(Note, lambda n: n.text != "", name="no empty note v1"),
        attempts=1,
    )


def log(
    consumers: int = 1,
    types: int = 1,
    retries: int = 1,
    *,
    cascade: bool = False,
    failing: Failing = "skip",
    gaps: Gaps = "allowed",
    lateness: timedelta | None = None,
    work: Any = noting,
) -> NetBuilder:
    """Payments of an account; consumer n takes notes of type n, in turns.

    Args:
        consumers: How many.
        types: Of how many types events are; the first is a payment, with three versions.
        retries: How often each consumer may be given an event again.
        cascade: Whether the first consumer's notes are events as well, for a consumer of their own.
        failing: What becomes of the log when the first consumer fails.
        gaps: Whether numbers may be missing.
        lateness: How late an event may be by its own time.
        work: Makes the consumers' parts.
    """
    net = NetBuilder("account")
    opened, closed = net.entry("opened", Account), net.final("closed", Balance)
    stopped = net.final("stopped", str) if failing == "stop" else None
    old = (
        OldVersion(1, OldPayment, lambda old: make(Payment, cents=old.amount)),
        OldVersion(2, Probe),
    )
    events = [
        EventType(
            "payment",
            Payment,
            3,
            old,
            fold=lambda view, event: view.with_(cents=view.cents + event.payload.cents),
        )
    ]
    events += [EventType(f"other{n}", Note) for n in range(2, types + 1)]
    team = [
        Consumer(f"c{n}", events[(n - 1) % types].name, Note, work, retries=retries)
        for n in range(1, max(consumers, types) + 1)
    ]
    team[0] = Consumer(
        "c1",
        "payment",
        Note,
        work,
        emits="noted" if cascade else "",
        model="m-1",
        prompt="p-1",
        retries=retries,
        failing=failing,
    )
    if cascade:
        events.append(EventType("noted", Note, source="consumers"))
        team.append(Consumer("reader", "noted", Note, told))
    net.add(
        Sequencing(
            "log",
            takes=opened,
            done=closed,
            events=events,
            consumers=team,
            view=lambda inputs: make(Balance, account=inputs.id, cents=0),
            until="close",
            quiet=timedelta(days=30),
            gaps=gaps,
            lateness=lateness,
            stopped=stopped,
        )
    )
    net.require("SDB", "STATE")
    return net


def event(number: int, payload: Any, version: int = 3) -> dict[str, Any]:
    """An event as it comes from outside."""
    body = payload if isinstance(payload, dict) else payload.model_dump()
    return {
        "id": f"e-{number}",
        "number": number,
        "version": version,
        "model": "",
        "prompt": "",
        "payload": body,
    }


def payments(numbers: Sequence[int]) -> list[dict[str, Any]]:
    """Payments of 1, 10, 100, ... cents, so that a sum shows which were taken, and how often."""
    return [event(n, Payment(cents=10**n)) for n in numbers]

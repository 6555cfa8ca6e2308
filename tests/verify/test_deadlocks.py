"""Markings in which nothing can happen though guards hold, and transitions that nothing ever enables."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from provenet.nets.build import NetBuilder
from provenet.nets.expr.parse import parse
from provenet.nets.net import Net
from provenet.nets.requirements import never
from provenet.nets.schema import BOOL, INT
from provenet.verify.certificate import recheck
from provenet.verify.check import prove
from provenet.verify.verdict import Status, Verdict


def stuck(net: Net) -> Verdict:
    (found,) = prove(net, only=["STATE-3"]).verdicts
    assert found.status is Status.REFUTED
    assert found.trace is not None
    assert found.trace.replays(net)
    return found


def line(**last: Any) -> Net:
    """Two steps to the end."""
    net = NetBuilder("line")
    start, middle, end = net.entry("start", INT), net.place("middle", INT, capacity=1), net.final("end", INT)
    net.route("first", takes={"n": start}, puts={middle: lambda n: n})
    t = net.route("last", takes={"n": middle}, puts={end: lambda n: n})
    made = net.build()
    return replace(made, transitions=(made.transitions[0], replace(t, **last)))


def test_a_place_that_has_no_room() -> None:
    net = line()
    (put,) = net.transition("first").puts
    found = stuck(line(puts=(put, put)))
    assert "'last' cannot fire" in found.mend


def test_a_requirement_that_is_broken() -> None:
    found = stuck(line(requires=parse("n > 0", {"n": INT}, like=BOOL)))
    assert "'last' cannot fire" in found.mend


def test_what_nothing_enables_never_does_anything() -> None:
    net = NetBuilder("idle")
    start, end, nowhere = net.entry("start", INT), net.final("end", INT), net.place("nowhere", BOOL)
    net.route("go", takes={"n": start}, puts={end: lambda n: n})
    net.route("idle", takes={"b": nowhere, "n": start}, puts={end: lambda n: n})
    net.require(never(transition="idle", of=BOOL, where=lambda payload: payload))
    made = net.build()
    report = prove(made)
    assert [v.status for v in report.verdicts] == [Status.PROVED]
    assert recheck(made, report) == ()

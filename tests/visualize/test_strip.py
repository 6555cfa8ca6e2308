"""Traces as strips of differences."""

from __future__ import annotations

from typing import Any

import pytest

from provenet.nets.build import NetBuilder
from provenet.nets.expr.build import make
from provenet.nets.firing import NetRule
from provenet.nets.marking import Marking, initial_marking
from provenet.nets.models import Token
from provenet.nets.net import Ask, Net, Role
from provenet.nets.schema import IntType
from provenet.verify.verdict import Status, Trace, TraceStep, Verdict
from provenet.visualize import RenderError, draw_trace, trace_graph
from provenet.visualize.palette import COLOUR
from provenet.visualize.svg import parse


class Case(Token):
    customer: str
    secret_note: str
    price: int


class Deal(Token):
    customer: str
    secret_note: str
    price: int
    discount_pct: int


def bargain() -> Net:
    net = NetBuilder("bargain")
    start, deal, closed = net.entry("start", Case), net.place("deal", Deal), net.final("closed", Deal)
    net.transition(
        "propose",
        role=Role.PROPOSE,
        takes={"c": start},
        brings={"proposal": IntType(0, 100)},
        puts={deal: _deal},
        trigger=Ask("model"),
    )
    net.transition("sign", role=Role.COMMIT, takes={"d": deal}, puts={closed: "d"})
    return net.build()


def _deal(c: Any, proposal: Any) -> Any:
    return make(Deal, customer=c.customer, secret_note=c.secret_note, price=c.price, discount_pct=proposal)


NET = bargain()


def trace() -> Trace:
    start = initial_marking(NET, {"start": ("c-17", "unchanged words", 120)})
    case, deal = start["start"][0], ("c-17", "unchanged words", 120, 45)
    return Trace(
        start,
        (TraceStep("propose", {"c": case, "proposal": 45}, "says 45"), TraceStep("sign", {"d": deal})),
    )


def refuted() -> Verdict:
    return Verdict(
        "never",
        "no discount above 30 is signed",
        Status.REFUTED,
        reason="45 is signed in 2 steps",
        trace=trace(),
        witness={"deal.discount_pct": 45},
        mend="tighten the policy",
    )


def texts(svg: bytes) -> list[str]:
    return ["".join(e.itertext()) for e in parse(svg).iter() if e.tag.endswith("}text")]


def test_the_trace_of_these_tests_is_a_run() -> None:
    assert trace().replays(NET)
    assert NetRule(NET).is_enabled(trace().start, "propose")


def test_only_what_changes_is_shown() -> None:
    said = texts(draw_trace(NET, trace()))
    assert sum("unchanged words" in line for line in said) == 1  # in the input, never again
    assert sum(line.startswith("price") for line in said) == 1
    assert {"− start", "+ deal", "− deal", "+ closed"} <= {line.strip() for line in said}
    assert "the proposer may say any int[0..100]" in said


def test_who_acts_and_the_witness_and_the_violation_are_marked() -> None:
    graph = trace_graph(NET, trace(), verdict=refuted())
    said = texts(draw_trace(NET, trace(), verdict=refuted()))
    assert "✗ breaks never" in said
    assert any(line.startswith("✗ never") for line in said)
    assert any("discount_pct = 45" in line and "◀" in line for line in said)
    assert any("tighten the policy" in line for line in said)
    assert COLOUR.mark in graph.source
    assert "✗ breaks never" not in texts(draw_trace(NET, trace()))


def test_cards_wrap_into_rows() -> None:
    def shape(columns: int) -> tuple[float, float]:
        box = parse(draw_trace(NET, trace(), columns=columns)).get("viewBox").split()
        return float(box[2]), float(box[3])

    (narrow, tall), (wide, low) = shape(1), shape(3)
    assert wide > 2 * narrow
    assert tall > 1.7 * low


@pytest.mark.parametrize(("kind", "magic"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_formats_are_deterministic(kind: Any, magic: bytes) -> None:
    first = draw_trace(NET, trace(), verdict=refuted(), format=kind)
    assert first.startswith(magic)
    assert first == draw_trace(NET, trace(), verdict=refuted(), format=kind)


def test_a_trace_that_does_not_replay_is_never_drawn() -> None:
    good = trace()
    for bad in (
        Trace(Marking(), good.steps),
        Trace(good.start, good.steps[::-1]),
        Trace(good.start, (TraceStep("gone", {}),)),
        Trace(good.start, (TraceStep("propose", {}),)),
    ):
        with pytest.raises(RenderError, match="step 1 of the trace"):
            draw_trace(NET, bad)


def test_a_long_trace_is_cut_in_the_middle() -> None:
    net = NetBuilder("loop")
    place = net.entry("here", IntType(0, 1000))
    net.route("again", takes={"n": place}, puts={place: lambda n: n + 1})
    made = net.build()
    steps = tuple(TraceStep("again", {"n": i}) for i in range(200))
    said = texts(draw_trace(made, Trace(Marking({"here": (0,)}), steps), columns=8))
    assert "140 steps are not drawn" in said
    assert any(line.strip() == "200" for line in said)


@pytest.mark.attack("markup in a trace", "drawn as the text it is")
def test_hostile_values_are_text() -> None:
    case = ("</TD><B>&lt;", "\x00\x1b]", 1)
    start = Marking({"start": (case,)})
    step = TraceStep("propose", {"c": case, "proposal": 1}, "<IMG SRC='x'>")
    said = " ".join(texts(draw_trace(NET, Trace(start, (step,)))))
    assert "</TD><B>&lt;" in said
    assert "<IMG SRC='x'>" in said
    with pytest.raises(RenderError, match="columns"):
        draw_trace(NET, trace(), columns=0)

"""Every transition seen to fire, going on from where an earlier run was seen."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenet.nets.build import NetBuilder
from provenet.nets.firing import Binding, NetRule
from provenet.nets.marking import Marking
from provenet.nets.net import Net, Signal
from provenet.nets.schema import INT
from provenet.verify.check import prove
from provenet.verify.context import Context
from provenet.verify.coverage import Coverage, fire_everything
from provenet.verify.verdict import Status


def covered(net: Net) -> Coverage:
    ctx = Context(net, deadline=time.monotonic() + 60)
    return fire_everything(ctx, ctx.graph())


def line(bounds: list[int], *, asks: frozenset[int] = frozenset()) -> Net:
    """A number walks along a line; at each step it goes on up to a bound, and out above it.

    Args:
        bounds: For each step.
        asks: Steps before which the number is replaced by one from outside.
    """
    net = NetBuilder("line")
    here, out = net.entry("start", INT), net.final("out", INT)
    for i, bound in enumerate(bounds):
        if i in asks:
            told = net.place(f"told {i}", INT)
            net.transition(
                f"ask {i}",
                takes={"n": here},
                brings={"m": INT},
                puts={told: lambda m: m},
                trigger=Signal(f"number {i}"),
            )
            here = told
        there = net.place(f"after {i}", INT) if i < len(bounds) - 1 else net.final("end", INT)

        net.transition(f"on {i}", takes={"n": here}, when=_at_most(bound), puts={there: lambda n: n})
        net.transition(f"out {i}", takes={"n": here}, when=_above(bound), puts={out: lambda n: n})
        here = there
    return net.build()


def _at_most(bound: int) -> Callable[..., Any]:
    return lambda n: n <= bound


def _above(bound: int) -> Callable[..., Any]:
    return lambda n: n > bound


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.frozensets(st.integers(0, 5)))
@settings(max_examples=25, deadline=None)
def test_what_fires_is_what_the_numbers_let_fire(bounds: list[int], asks: frozenset[int]) -> None:
    found = covered(line(bounds, asks=asks))
    dead, least = [], None
    for i, bound in enumerate(bounds):
        if i in asks:
            least = None
        # Only what is at most the least bound since the last number gets here.
        if least is not None and least <= bound:
            dead.append(f"out {i}")
        least = bound if least is None else min(least, bound)
    assert found.unknown == ()
    assert set(found.dead) == set(dead)


@pytest.mark.parametrize("asks", [frozenset(), frozenset(range(0, 200, 2))])
def test_a_run_goes_on_from_where_another_was_seen(
    asks: frozenset[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    fired: Counter[str] = Counter()
    fire = NetRule.fire

    def counted(self: NetRule, marking: Marking, transition: str, binding: Binding) -> Marking:
        fired["steps"] += 1
        return fire(self, marking, transition, binding)

    monkeypatch.setattr(NetRule, "fire", counted)
    found = covered(line([30] * 40, asks=asks))
    assert not found.unknown
    # From the start each time, it would be 670 with numbers from outside.
    assert fired["steps"] <= 200


def test_the_input_stays_open_where_it_decides() -> None:
    """A marking seen in one run has that run's input: the rest of another's path may not go on from it."""
    (verdict,) = prove(line([9, 8, 7, 6, 5]), only=["STATE-1"]).verdicts
    assert verdict.status is Status.PROVED, verdict.reason
    (verdict,) = prove(line([5, 8]), only=["STATE-1"]).verdicts
    assert verdict.status is Status.REFUTED
    assert verdict.subject == "out 1"

"""The Python DSL: what it builds, and mistakes with the line that made them."""

from __future__ import annotations

import inspect
from datetime import timedelta
from typing import Any

import pytest

from provenet.nets.build import NetBuilder
from provenet.nets.errors import NetError
from provenet.nets.expr.build import choose, make
from provenet.nets.expr.show import show
from provenet.nets.firing import NetRule
from provenet.nets.marking import initial_marking, is_final
from provenet.nets.models import Token, to_value
from provenet.nets.net import After, Net, Signal


class Claim(Token):
    amount: int
    length: int = 0
    tags: tuple[int, ...] = ()


def triage() -> Net:
    net = NetBuilder("triage")
    inbox = net.entry("inbox", Claim, where=lambda it: it.amount > 0)
    small, big = net.place("small", Claim), net.place("big", Claim)
    paid = net.final("paid", Claim)
    net.route("is small", takes={"c": inbox}, when=lambda c: c.amount <= 100, puts={small: "c"})
    net.route("is big", takes={"c": inbox}, when=lambda c: c.amount > 100, puts={big: "c"})
    net.timer(
        "wait",
        takes={"c": small},
        after=timedelta(days=7),
        puts={paid: lambda c: c.with_(length=c.amount + 1)},
    )
    net.event(
        "told",
        event="told",
        takes={"c": big},
        brings={"n": int},
        puts={paid: lambda n: make(Claim, amount=n, length=0, tags=())},
    )
    return net.build()


def test_a_net_reads_like_its_diagram_and_runs() -> None:
    net = triage()
    rule = NetRule(net)
    claim = net.place("inbox").type
    marking = initial_marking(net, {"inbox": to_value(Claim(amount=5), claim)})
    for name in ("is small", "wait"):
        (firing,) = rule.enabled(marking)
        assert firing.transition == name
        marking = rule.fire(marking, name, firing.binding)
    assert marking["paid"] == ((5, 6, ()),)
    assert is_final(net, marking)
    marking = initial_marking(net, {"inbox": (500, 0, ())})
    marking = rule.fire(marking, "is big", {"c": (500, 0, ())})
    assert rule.fire(marking, "told", {"c": (500, 0, ()), "n": 3})["paid"] == ((3, 0, ()),)


def test_triggers_and_inscriptions() -> None:
    net = triage()
    after = net.transition("wait").trigger
    assert isinstance(after, After)
    assert show(after.delay) == "days(7)"
    assert net.transition("told").trigger == Signal("told")
    (put,) = net.transition("wait").puts
    assert put.expr is not None
    assert show(put.expr) == "Claim{amount: c.amount, length: c.amount + 1, tags: c.tags}"


def test_mistakes_are_collected_with_their_lines() -> None:
    net = NetBuilder("broken")
    inbox = net.place("inbox", Claim)
    here = inspect.currentframe()
    assert here is not None
    line = here.f_lineno
    net.route("one", takes={"c": inbox}, when=lambda c: c.amuont > 1)
    net.route("two", takes={"c": inbox}, puts={inbox: "d"})
    net.route("three", takes={"c": inbox}, when=lambda c: c.amount and c.length)
    net.route("four", takes={"c": inbox}, when=lambda c: c.amount + 1)
    net.place("late", int, initial=["x"])
    with pytest.raises(NetError) as caught:
        net.build()
    found = [(m.where.split("  ")[0], m.code) for m in caught.value.mistakes]
    at = f"test_build.py:{line}"[: -len(str(line))]
    assert found == [
        (f"{at}{line + 1}", "PN200"),
        (f"{at}{line + 2}", "PN200"),
        (f"{at}{line + 3}", "PN200"),
        (f"{at}{line + 5}", "PN108"),
        (f"{at}{line + 4}", "PN202"),
    ]
    assert 'did you mean "amount"' in str(caught.value)
    assert "unknown name 'd'" in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda c: 3 in c.tags,
        lambda c: c.tags[0] == 1,
        lambda c: c.amount / 2 > 1,
        lambda c: 1 < c.amount < 3,
        lambda c: [i for i in c.tags if i] == [],
        lambda d: d,
        lambda c: c.amount == "a",
        lambda c: c.amount * c.amount > 1,
        lambda c: undefined > c.amount,  # type: ignore[name-defined] # noqa: F821
    ],
    ids=["in", "index", "division", "chain", "loop", "parameter", "types", "product", "name"],
)
def test_what_cannot_be_recorded_is_a_mistake(wrong: Any) -> None:
    net = NetBuilder("broken")
    net.route("t", takes={"c": net.place("p", Claim)}, when=wrong)
    with pytest.raises(NetError) as caught:
        net.build()
    assert len(caught.value.mistakes) == 1


def test_fields_win_over_methods_and_elements_keep_their_names_apart() -> None:
    net = NetBuilder("names")
    place = net.place("p", Claim)
    t = net.route(
        "t",
        takes={"c": place, "d": place},
        when=lambda c, d: (
            (c.length == d["length"])
            & c.tags.every(lambda a: d.tags.some(lambda b: (b == a) & (c.amount > b)))
            & (choose(c.amount > 1, 2, d.amount) > 0)
        ),
    )
    assert t.guard is not None
    assert show(t.guard) == (
        "c.length == d.length and all(item0 in c.tags: "
        "any(item1 in d.tags: item1 == item0 and c.amount > item1)) and (2 if c.amount > 1 else d.amount) > 0"
    )
    net.build()


def test_a_bare_coloured_place_names_its_tokens() -> None:
    net = NetBuilder("bare")
    place, black = net.place("in box", Claim), net.place("black")
    t = net.route("t", takes=[place, place, black, black])
    assert [(a.place, a.var, a.weight) for a in t.takes] == [
        ("in box", "_in_box_1", 1),
        ("in box", "_in_box_2", 1),
        ("black", None, 2),
    ]
    net.build()

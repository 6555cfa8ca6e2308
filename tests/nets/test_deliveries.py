"""What a net says of events that come early or late, and of the keys that its cases are known by."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from provenet.nets.build import NetBuilder, PlaceRef
from provenet.nets.compose import fuse, prefixed
from provenet.nets.errors import NetError
from provenet.nets.formats.canonical import content_hash, dumps, loads
from provenet.nets.models import Token
from provenet.nets.net import CaseKey, Delivery, Net


class Order(Token):
    id: str
    price: float


def drawn(name: str, say: Callable[[NetBuilder, PlaceRef], object] = lambda net, orders: None) -> Net:
    net = NetBuilder(name)
    orders, done = net.entry("orders", Order), net.final("done", Order)
    net.event("pay", event="paid", takes={"o": orders}, puts={done: "o"})
    net.event("pay late", event="paid.late", takes={"o": orders}, puts={done: "o"})
    say(net, orders)
    return net.build()


def said(net: NetBuilder, orders: PlaceRef) -> None:
    net.delivery("paid", early="keep", keep_for=timedelta(days=7), lateness=timedelta(0), late="paid.late")
    net.known_by("order", at=orders, value=lambda it: it.id)


def test_it_is_part_of_the_net_and_changes_no_other_nets_hash() -> None:
    plain, full = drawn("n"), drawn("n", said)
    assert '"deliveries"' not in dumps(plain)
    assert '"keys"' not in dumps(plain)
    assert content_hash(plain) != content_hash(full)
    assert loads(dumps(full)) == full
    assert full.deliveries == (Delivery("paid", "keep", timedelta(days=7), 100, timedelta(0), "paid.late"),)


def test_composition_keeps_it() -> None:
    one, two = prefixed(drawn("one", said), "a"), prefixed(drawn("two"), "b")
    whole = fuse(one, two, name="whole")
    assert whole.deliveries == one.deliveries
    assert [k.place for k in whole.keys] == ["a.orders"]
    fed = fuse(one, two, name="fed", places={"a.orders": "b.done"})
    assert fed.keys == ()  # no case starts with a token there any more

    outer = NetBuilder("outer")
    start = outer.entry("start", Order)
    outer.include(one, prefix="x", fuse={"a.orders": start})
    again = outer.include(one, prefix="y")
    outer.final("end")
    built = outer.build()
    assert built.deliveries == one.deliveries
    assert [k.place for k in built.keys] == [again["a.orders"].name]


@pytest.mark.parametrize(
    ("say", "code", "words"),
    [
        (lambda net, _: net.delivery("payd"), "PN119", 'did you mean "paid"'),
        (lambda net, _: net.delivery("paid", lateness=timedelta(1), late="gone"), "PN119", "'gone'"),
        (lambda net, _: net.delivery("paid", keep_for=timedelta(1)), "PN124", 'say early="keep"'),
        (lambda net, _: net.delivery("paid", early="keep", keep_for=timedelta(0)), "PN124", "kept for"),
        (lambda net, _: net.delivery("paid", early="keep", keep_most=0), "PN124", "keep 1 or more"),
        (lambda net, _: net.delivery("paid", lateness=timedelta(-1)), "PN124", "not below zero"),
        (lambda net, _: net.delivery("paid", late="paid.late"), "PN124", "never late"),
        (
            lambda net, _: [
                net.delivery("paid", lateness=timedelta(1), late="paid.late"),
                net.delivery("paid.late", lateness=timedelta(1)),
            ],
            "PN124",
            "which may be late itself",
        ),
        (lambda net, _: [net.delivery("paid"), net.delivery("paid")], "PN124", "more than once"),
        (lambda net, o: net.known_by("order", at=o, value=lambda it: it.price), "PN124", "a text or a whole"),
        (lambda net, o: [net.known_by("k", at=o, value=lambda it: it.id) for _ in "ab"], "PN124", "2 times"),
        (lambda net, o: net.known_by("", at=o, value=lambda it: it.id), "PN102", "empty"),
        (
            lambda net, o: net.known_by("k", at=net.place("aside", Order), value=lambda it: it.id),
            "PN124",
            "no entry",
        ),
        (lambda net, o: net.known_by("k", at=o, value=lambda it: it.ident), "PN200", "ident"),
    ],
)
def test_what_cannot_be_done_is_a_mistake(say: Callable[..., object], code: str, words: str) -> None:
    with pytest.raises(NetError) as refused:
        drawn("n", say)
    found = [m for m in refused.value.mistakes if m.code == code]
    assert found, refused.value
    assert words in f"{found[0].message} {found[0].hint}"


def test_a_key_of_an_unknown_place_is_refused() -> None:
    net = drawn("n", said)
    text = dumps(net).replace('"place":"orders"}]', '"place":"odrers"}]')
    assert net.keys == (CaseKey("order", "orders", net.keys[0].expr),)
    with pytest.raises(Exception, match="odrers"):
        loads(text)

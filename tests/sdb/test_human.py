"""People: a task with choices, a role, a deadline and a conservative fallback."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

import pytest

from provenet.nets.build import NetBuilder
from provenet.nets.errors import NetError
from provenet.nets.expr.ast import Const, Get, Var
from provenet.nets.firing import NetRule
from provenet.nets.formats.canonical import content_hash, dumps
from provenet.nets.marking import initial_marking
from provenet.nets.models import Token
from provenet.nets.net import After, Choice, Net, Role
from provenet.nets.schema import DURATION
from provenet.sdb.human import Human


class Offer(Token):
    discount_pct: int


class Deal(Token):
    customer: str
    offer: Offer


WEEK = timedelta(days=7)


def task(**parts: Any) -> NetBuilder:
    net = NetBuilder("n")
    takes = net.entry("review", Deal)
    yes, no = net.final("yes", Deal), net.final("no", Deal)
    arguments: dict[str, Any] = {"takes": takes, "approve": yes, "deny": no, "who": "pricing", "within": WEEK}
    net.add(Human("approve offer", **(arguments | parts)))
    return net


def test_a_task_has_two_choices_and_a_deadline() -> None:
    net = task().build()
    by_name = {t.name.removeprefix("approve offer."): t for t in net.transitions}
    assert {n: (t.role, t.contract) for n, t in by_name.items()} == {
        "approve": (Role.APPROVE, "approve offer"),
        "deny": (Role.DENY, "approve offer"),
        "timeout": (Role.TIMER, "approve offer"),
    }
    assert by_name["approve"].trigger == Choice("approve offer", "approve", "pricing")
    assert by_name["deny"].trigger == Choice("approve offer", "deny", "pricing")
    assert by_name["timeout"].trigger == After(Const(WEEK, DURATION))


@pytest.mark.parametrize(("fallback", "place"), [("deny", "no"), ("approve", "yes")])
def test_the_deadline_falls_back_as_told(fallback: Literal["deny", "approve"], place: str) -> None:
    net = task(on_timeout=fallback).build()
    assert after(net, "timeout") == {place: (("a", (40,)),)}


def test_silence_is_no_unless_told_otherwise() -> None:
    assert after(task().build(), "timeout") == {"no": (("a", (40,)),)}


def test_what_is_approved_goes_on_unchanged() -> None:
    assert after(task().build(), "approve") == {"yes": (("a", (40,)),)}
    assert after(task().build(), "deny") == {"no": (("a", (40,)),)}


def test_shapes_and_what_the_person_is_shown() -> None:
    net = task(
        about=lambda inputs: inputs.offer,
        on_approve=lambda inputs: inputs.with_(customer="approved"),
        on_deny=lambda inputs: inputs.with_(customer="denied"),
    ).build()
    for choice in ("approve", "deny"):
        trigger = net.transition(f"approve offer.{choice}").trigger
        assert isinstance(trigger, Choice)
        assert trigger.about == Get(Var("inputs"), "offer")
    assert after(net, "approve") == {"yes": (("approved", (40,)),)}
    assert after(net, "timeout") == {"no": (("denied", (40,)),)}


def test_a_mistake_names_the_task() -> None:
    with pytest.raises(NetError) as error:
        task(about=lambda inputs: inputs.ofer).build()
    (mistake,) = error.value.mistakes
    assert "approve offer" in mistake.where
    assert "offer" in mistake.hint


def after(net: Net, choice: str) -> dict[str, Any]:
    start = initial_marking(net, {"review": ("a", (40,))})
    marking = NetRule(net).fire(start, f"approve offer.{choice}", {"inputs": ("a", (40,))})
    return dict(marking.items())


def test_several_people_approve_and_one_denies() -> None:
    net = task(eyes=2, fallback=("on call", timedelta(days=2))).build()
    by_choice = {t.trigger.choice: t.trigger for t in net.transitions if isinstance(t.trigger, Choice)}
    assert {c: (t.eyes, t.who, t.fallback, t.after) for c, t in by_choice.items()} == {
        "approve": (2, "pricing", "on call", timedelta(days=2)),
        "deny": (1, "pricing", "on call", timedelta(days=2)),
    }


def test_a_net_without_them_is_what_it_was() -> None:
    assert content_hash(task().build()) == content_hash(task(eyes=1, fallback=None).build())
    assert not {"eyes", "fallback"} & set(dumps(task().build()).replace('"', " ").split())


@pytest.mark.parametrize(
    ("parts", "code", "said"),
    [
        ({"eyes": 0}, "PN125", "it takes 0 people"),
        ({"eyes": "two"}, "SD212", "eyes is 'two'"),
        ({"eyes": True}, "SD212", "eyes is True"),
        ({"fallback": ("on call", WEEK)}, "SD212", "let the fallback come before the deadline"),
        ({"fallback": ("on call", -WEEK)}, "PN125", "not negative"),
        ({"fallback": ("on call", timedelta(0)), "who": ""}, "PN125", "where anybody may"),
    ],
)
def test_mistakes_about_people_are_told(parts: dict[str, Any], code: str, said: str) -> None:
    with pytest.raises(NetError, match=said) as refused:
        task(**parts).build()
    assert {m.code for m in refused.value.mistakes} == {code}

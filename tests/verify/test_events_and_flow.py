"""EVT-1, EVT-2, DATA-4, FLOW-1, responds, eventually: proved, refuted, vacuous, and what the evidence is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from provenet.nets.build import NetBuilder
from provenet.nets.errors import PropertyError
from provenet.nets.expr.build import make
from provenet.nets.models import Token
from provenet.nets.net import ContractInfo, Delivery, Ignored, Label, Net, Requirement, Rule
from provenet.nets.requirements import (
    always,
    at_least_as_strict,
    bound,
    eventually,
    mutex,
    never,
    precedes,
    responds,
)
from provenet.nets.schema import INT, EnumType, IntType, StrType
from provenet.sdb.contract import Contract
from provenet.sdb.handlers import Effect
from provenet.sdb.human import Human
from provenet.sdb.policy import within
from provenet.verify.certificate import recheck
from provenet.verify.check import prove
from provenet.verify.policy_diff import Relation, compare, policy_diff
from provenet.verify.verdict import Status, Verdict
from tests.verify.nets import Model, Offer, nothing, selling
from tests.verify.test_catalogue import STRAIGHT, edited, fails, holds, line, only

DAY = timedelta(days=1)

# events


class Item(Token):
    seq: int
    amount: int


class Seen(Token):
    seq: int
    total: int


def items(*, takes: str = "new", absorbs: bool = True, key: str = "seq") -> Net:
    """Numbered items are added up until somebody says that it is enough.

    Args:
        takes: Which items are added: ``new`` (numbers that rise), ``other`` (than the last), or ``all``.
        absorbs: Whether the rest is put back.
        key: What tells items from each other.
    """
    net = NetBuilder("items")
    going = net.place("going", initial=[()])
    seen = net.place("seen", Seen, initial=[Seen(seq=0, total=0)])
    done = net.final("done", Seen)
    ensures: Any = {
        "new": lambda s, i: i.seq > s.seq,
        "other": lambda s, i: i.seq != s.seq,
        "all": None,
    }[takes]
    added = {seen: lambda s, i: make(Seen, seq=i.seq, total=s.total + 1)}
    event: Any = {"event": "item", "key": key, "takes": {"s": seen}, "brings": {"i": Item}}
    net.event("add", ensures=ensures, puts=added, **event)
    if absorbs and takes == "new":
        net.event("repeated", ensures=lambda s, i: i.seq <= s.seq, puts={seen: "s"}, **event)
    net.event("enough", event="enough", takes={"s": seen, "g": going}, puts={done: "s"})
    return net.build()


def test_evt_1_all_numbers_are_taken() -> None:
    holds(items(), "EVT-1")


def test_evt_1_a_number_that_nobody_takes() -> None:
    verdict = fails(items(absorbs=False), "EVT-1", 0)
    assert verdict.subject == "item"
    assert verdict.witness["payload"]["seq"] <= 0
    assert "net.ignore('item', unless=['seen'])" in verdict.mend


def test_evt_1_what_is_ignored_need_not_be_taken_elsewhere() -> None:
    net = NetBuilder("door")
    closed, ajar = net.place("closed", initial=[()]), net.place("ajar")
    end = net.final("end")
    net.event("knock", event="knock", takes=closed, puts=ajar)
    net.route("leave", takes=ajar, puts=end)
    assert fails(net.build(), "EVT-1", 1).subject == "knock"
    net.ignore("knock", unless=[closed])
    holds(net.build(), "EVT-1")
    net.ignore("knock", unless=[ajar])
    assert fails(net.build(), "EVT-1", 1).subject == "knock"


def test_evt_1_what_is_kept_is_deferred_on_purpose() -> None:
    net = NetBuilder("door")
    closed, ajar = net.place("closed", initial=[()]), net.place("ajar")
    end = net.final("end")
    net.event("knock", event="knock", takes=ajar, puts=end)
    net.timer("open", after=DAY, takes=closed, puts=ajar)
    made = net.build()
    assert fails(made, "EVT-1", 0).subject == "knock"
    assert fails(replace(made, deliveries=(Delivery("knock", lateness=DAY),)), "EVT-1", 0).subject == "knock"
    kept = replace(made, deliveries=(Delivery("knock", early="keep"),))
    asked = replace(kept, requirements=(Requirement("EVT-1"),))
    report = prove(asked)
    (verdict,) = report.verdicts
    assert (verdict.status, verdict.vacuous) == (Status.PROVED, "it is kept where nothing takes it")
    assert not recheck(asked, report)
    # Where the net says that it must be taken, keeping it is not enough.
    assert fails(replace(kept, ignored=(Ignored("knock", ("closed",)),)), "EVT-1", 0).subject == "knock"


def test_evt_1_an_event_that_a_capacity_keeps_out() -> None:
    net = NetBuilder("mailbox")
    room, end = net.place("room", capacity=1), net.final("end")
    going = net.place("going", initial=[()])
    net.event("mail", event="mail", reads=going, puts=room)
    net.route("stop", takes=going, puts=end)
    made = net.build()
    assert fails(replace(made, ignored=(Ignored("mail", ("going",)),)), "EVT-1", 1).subject == "mail"


def test_evt_2_numbers_that_rise_are_taken_once() -> None:
    holds(items(), "EVT-2")


def test_evt_2_a_late_repetition_comes_after_another_item() -> None:
    verdict = fails(items(takes="other"), "EVT-2", 3)
    assert verdict.trace is not None
    numbers = [step.binding["i"][0] for step in verdict.trace.steps]
    assert numbers[0] == numbers[2] != numbers[1]


@pytest.mark.parametrize(("takes", "key"), [("all", "seq"), ("new", "")])
def test_evt_2_taken_twice(takes: str, key: str) -> None:
    fails(items(takes=takes, key=key), "EVT-2", 2)


def test_evt_2_a_log_of_repetitions_changes_nothing_that_matters() -> None:
    def door(*labels: str) -> Net:
        net = NetBuilder("door")
        waiting, heard = net.place("waiting", initial=[()]), net.place("heard")
        net.event("knock", event="knock", reads=waiting, puts=heard)
        net.label(heard, *labels)
        return net.build()

    fails(door(), "EVT-2", 2)
    (verdict,) = only(door("absorber"), "EVT-2")
    assert verdict.status is Status.PROVED


def test_events_are_evidence_that_holds() -> None:
    net = replace(
        items(),
        ignored=(Ignored("enough", ("seen",)),),
        requirements=(Requirement("EVT"), eventually("seen")),
    )
    report = prove(net)
    assert recheck(net, report) == ()
    assert {v.method for v in report.verdicts} >= {"per-place facts (Spacer)", "linear invariant"}


# policies


def info(of: Any, rule: Any, **types: Any) -> ContractInfo:
    (found,) = within(of, rule, name="p").resolve(types.get("proposal", INT), {})[:1]
    return ContractInfo("c", types.get("proposal", INT), "p", (Rule(found.name, found.expr),))


@pytest.mark.parametrize(
    ("new", "relation"),
    [
        (lambda o: o <= 30, Relation.EQUAL),
        (lambda o: o < 30, Relation.STRICTER),
        (lambda o: o <= 31, Relation.LOOSER),
        (lambda o: (o >= 0) & (o <= 31), Relation.INCOMPARABLE),
    ],
)
def test_how_two_policies_relate(new: Any, relation: Relation) -> None:
    found = compare(info(int, lambda o: o <= 30), info(int, new))
    assert found.relation is relation
    assert (found.passes_now is None) == (relation in (Relation.EQUAL, Relation.STRICTER))
    if found.passes_now is not None:
        assert found.passes_now["proposal"] == 31
    if found.refused_now is not None:
        assert found.refused_now["proposal"] <= 30


@pytest.mark.parametrize(
    ("old", "new", "relation"),
    [
        (IntType(0, 100), IntType(0, 50), Relation.STRICTER),
        (IntType(0, 50), IntType(0, 100), Relation.LOOSER),
        (StrType(5), StrType(6), Relation.LOOSER),
        (StrType(6), StrType(5), Relation.STRICTER),
        (EnumType("E", ("a", "b")), EnumType("E", ("a", "c")), Relation.INCOMPARABLE),
        (INT, StrType(), Relation.UNKNOWN),
    ],
)
def test_a_type_is_part_of_a_policy(old: Any, new: Any, relation: Relation) -> None:
    found = compare(ContractInfo("c", old), ContractInfo("c", new))
    assert found.relation is relation, found


def test_a_function_cannot_be_compared() -> None:
    opaque = replace(info(int, lambda o: o <= 30), opaque="function")
    assert compare(opaque, info(int, lambda o: o <= 30)).relation is Relation.UNKNOWN


def test_nets_are_compared_by_the_names_of_contracts() -> None:
    found = {d.contract: d for d in policy_diff(selling(), selling(most=20))}
    assert found["offer"].relation is Relation.STRICTER
    assert found["by hand"].relation is Relation.EQUAL
    assert {d.relation for d in policy_diff(STRAIGHT, selling())} == {Relation.ADDED}
    assert {d.relation for d in policy_diff(selling(), STRAIGHT)} == {Relation.REMOVED}


def test_data_4() -> None:
    before = selling().contract("offer")
    holds(selling(most=20), at_least_as_strict("offer", than=before))
    verdict = fails(selling(most=35), at_least_as_strict("offer", than=before), 3)
    assert 30 < int(verdict.witness["proposal.discount"]) <= 35
    limit = within(Offer, lambda o: o.discount <= 30, name="limit")
    holds(selling(), at_least_as_strict("offer", than=limit, of=Offer))
    net = replace(selling(), requirements=(at_least_as_strict("offer", than=limit, of=Offer),))
    assert recheck(net, prove(net)) == ()


def test_data_4_a_value_that_this_net_never_proposes_counts_all_the_same() -> None:
    net = selling(gate="person")
    entry = replace(net.entries[0], where=None)
    above = at_least_as_strict("by hand", than=within(Offer, lambda o: o.discount <= 70, name="x"), of=Offer)
    (verdict,) = only(replace(net, entries=(entry,)), above)
    assert verdict.status is Status.REFUTED


def test_data_4_says_what_it_does_not_know() -> None:
    with pytest.raises(PropertyError, match="no contract"):
        only(selling(), at_least_as_strict("offr", than=selling().contract("offer")))
    with pytest.raises(PropertyError, match="of="):
        at_least_as_strict("offer", than=within(Offer, lambda o: o.vip, name="x"))


# the flow of information


class Mail(Token):
    sender: str
    text: str


class Card(Token):
    iban: str


class Reply(Token):
    to: str
    text: str


class Asked(Token):
    mail: Mail
    card: Card


def mailbox(*, gate: str = "", order: str = "first", says: str = "text") -> Net:
    """A model answers mail from strangers with a customer's card at hand.

    Args:
        gate: ``person`` before the reply is sent, ``vouch`` for the policy, or nothing.
        order: Whether the card is looked up ``first``, or ``last``, after the reply is sent.
        says: Whether the reply says what the model wrote (``text``), or is always the ``same``.
    """
    net = NetBuilder("mailbox")
    inbox = net.entry("inbox", Mail)
    cards = net.place("cards", Card, initial=[Card(iban="x")])
    ready, drafted = net.place("ready", Asked), net.place("drafted", Reply)
    checked, sent = net.place("checked", Reply), net.place("sent", Reply)
    done, refused = net.final("done", Reply), net.final("refused", Reply)
    net.rests(cards)
    blank = {"card": lambda: make(Card, iban="")} if order == "last" else {}
    reads = {} if order == "last" else {"reads": {"c": cards}}
    card = blank.get("card")
    net.route(
        "look up",
        takes={"m": inbox},
        puts={
            ready: (lambda m: make(Asked, mail=m, card=card()))
            if card is not None
            else (lambda m, c: make(Asked, mail=m, card=c))
        },
        **reads,
    )
    short = within(Reply, lambda o: o.text.length() <= 500, name="short")
    net.add(
        Contract(
            "reply",
            takes=ready,
            gives=drafted,
            propose=Model(),
            returns=Reply,
            verify=short,
            otherwise=refused,
            escalate=lambda: make(Reply, to="", text=""),
        )
    )
    if gate == "person":
        net.add(Human("check", takes=drafted, approve=checked, deny=refused, who="boss", within=DAY))
    else:
        net.route("skip", takes={"r": drafted}, puts={checked: "r"})
    same = (lambda: make(Reply, to="me", text="thank you")) if says == "same" else None
    net.add(
        Contract(
            "send",
            takes=checked,
            gives=sent,
            verify=within(Reply, lambda o: o.to == o.to, name="any"),
            commit=Effect("smtp.send", nothing, payload=Reply),
            payload=same,
            otherwise=refused,
        )
    )
    after = {"reads": {"c": cards}} if order == "last" else {}
    net.route("end", takes={"r": sent}, puts={done: "r"}, **after)
    net.label(inbox, "untrusted")
    net.label(cards, "private")
    if gate == "vouch":
        net.label("reply.accept", Label.SANITIZER)
    return net.build()


def test_flow_1_a_stranger_writes_what_is_sent() -> None:
    verdict = fails(mailbox(), "FLOW-1", 9)
    assert verdict.witness["untrusted"] == "inbox"
    assert verdict.witness["private"] == "cards"
    assert verdict.trace is not None
    assert "comes in" in verdict.trace.steps[0].note
    assert "sink" in verdict.trace.steps[-1].note


@pytest.mark.parametrize("gate", ["person", "vouch"])
def test_flow_1_somebody_vouches(gate: str) -> None:
    net = mailbox(gate=gate)
    holds(net, "FLOW-1")
    net = replace(net, requirements=(Requirement("FLOW-1"),))
    assert recheck(net, prove(net)) == ()


def test_flow_1_private_data_that_is_read_later_is_not_in_scope() -> None:
    holds(mailbox(order="last"), "FLOW-1")


def test_flow_1_whether_something_is_sent_is_steered_as_well() -> None:
    verdict = fails(mailbox(says="same"), "FLOW-1", 9)
    assert "decides that it fires" in verdict.reason


def test_flow_1_a_choice_whose_ways_all_go_on_alike_steers_nothing() -> None:
    def net(*, meets: bool) -> Net:
        made = NetBuilder("alike")
        inbox = made.entry("inbox", Mail)
        cards = made.place("cards", initial=[()])
        one, two = made.place("one", Mail), made.place("two", Mail)
        out, end = made.place("out"), made.final("end")
        made.rests(cards)
        made.route("long", takes={"m": inbox}, reads=cards, when=lambda m: m.text == "", puts={one: "m"})
        other = one if meets else two
        made.route("short", takes={"m": inbox}, reads=cards, when=lambda m: m.text != "", puts={other: "m"})
        made.route("on", takes={"m": one}, puts=out)
        made.route("off", takes={"m": two}, puts=end)
        tell = made.route("tell", takes=out, puts=end)
        made.label(inbox, "untrusted")
        made.label(cards, "private")
        made.label(tell, "sink")
        return made.build()

    holds(net(meets=True), "FLOW-1")
    fails(net(meets=False), "FLOW-1", 3)


@pytest.mark.parametrize("missing", ["untrusted", "private"])
def test_flow_1_without_labels_there_is_nothing_to_check(missing: str) -> None:
    net = mailbox()
    places = tuple(replace(p, labels=tuple(word for word in p.labels if word != missing)) for p in net.places)
    (verdict,) = only(replace(net, places=places), "FLOW-1")
    assert verdict.vacuous


# what follows


def test_responds_and_eventually_hold_on_a_straight_line() -> None:
    holds(STRAIGHT, responds("a>b", "b>c"))
    holds(STRAIGHT, eventually("c"))
    holds(STRAIGHT, eventually("b>c"))


def test_responds_when_the_case_ends_without_it() -> None:
    verdict = fails(line(("a", "b"), ("b", "c"), ("b", "d")), responds("a>b", "b>d"), 2)
    assert "the case ends" in verdict.reason


def test_a_fair_run_leaves_a_loop() -> None:
    looping = line(("a", "b"), ("b", "a"), ("b", "c"))
    holds(looping, eventually("c"))
    holds(looping, responds("a>b", "b>c"))
    fails(
        line(("a", "b"), ("b", "e"), ("e", "b"), ("b", "c"), ("a", "e"), ("e", "f"), ("f", "f")),
        eventually("c"),
        3,  # the loop at f is shown once
    )


def test_people_and_events_may_stay_away() -> None:
    net = NetBuilder("waiting")
    asked, end = net.place("asked", initial=[()]), net.final("end")
    net.event("answer", event="answer", takes=asked, puts=end)
    verdict = fails(net.build(), eventually("end"), 0)
    assert "nothing goes on by itself" in verdict.reason
    net.timer("give up", after=DAY, takes=asked, puts=end)
    holds(net.build(), eventually("end"))
    fails(net.build(), eventually("answer"), 0)


def test_a_case_may_end_without_what_rests_there() -> None:
    net = NetBuilder("resting")
    net.final("kept", INT)
    made = replace(net.build(), resting=("kept",))
    verdict = fails(made, eventually("kept"), 0)
    assert "the case ends" in verdict.reason


def test_a_gap_of_the_guards_is_where_it_stops() -> None:
    net = NetBuilder("gap")
    start, end = net.entry("start", Offer), net.final("end")
    net.route("small", takes={"o": start}, when=lambda o: o.discount < 10, puts=end)
    net.route("big", takes={"o": start}, when=lambda o: o.discount > 10, puts=end)
    verdict = fails(net.build(), eventually("end"), 0)
    assert verdict.trace is not None
    assert verdict.trace.start["start"][0][0] == 10


# names and vacuity


@pytest.mark.parametrize("wanted", [responds("a>b", "b>x"), eventually("nowhere"), eventually()])
def test_a_name_that_matches_nothing_is_an_error(wanted: Requirement) -> None:
    with pytest.raises(PropertyError):
        only(STRAIGHT, wanted)


@pytest.mark.parametrize(
    "wanted",
    [
        precedes("a>b", "d>c"),
        responds("d>c", "b>c"),
        always("d", where=lambda it: it.discount > 0, of=Offer),
        bound("d", k=1),
        mutex("b", "d"),
    ],
)
def test_what_never_happens_is_vacuous(wanted: Requirement) -> None:
    net = line(("a", "b"), ("b", "c"), ("d", "c"))
    if wanted.kind == "always":
        place = replace(selling().place("review"), name="d")
        net = replace(
            edited(net, "d>c", lambda _: None),
            places=tuple(place if p.name == "d" else p for p in net.places),
        )
    (verdict,) = only(net, wanted)
    assert verdict.status is Status.PROVED
    assert verdict.vacuous


def test_a_condition_that_nothing_meets_is_vacuous() -> None:
    (verdict,) = _never(lambda payload: (payload.discount > 5) & (payload.discount < 3))
    assert "nothing whatever meets" in verdict.vacuous
    (verdict,) = only(selling(), always("review", of=Offer, where=lambda it: it.vip | ~it.vip))
    assert "every value" in verdict.vacuous


def _never(where: Any) -> list[Verdict]:
    return only(selling(), never(contract="by hand", of=Offer, where=where))

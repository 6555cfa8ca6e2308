"""Mends are verified before they are proposed; what could not be tried says that it is advice."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any

import pytest
from pydantic import Field

from provenet.nets.build import NetBuilder
from provenet.nets.errors import FormatError
from provenet.nets.expr.ast import And, Build, Compare, Const, Get, Not, Var
from provenet.nets.expr.build import make
from provenet.nets.formats.canonical import content_hash
from provenet.nets.models import Token, schema_of
from provenet.nets.net import After, Choice, Fresh, Net, Perform, Put, Requirement, Role, Take, Transition
from provenet.nets.requirements import always, at_least_as_strict, bound, mutex, never, precedes
from provenet.nets.schema import BOOL, DURATION, INT, IntType, RecordType
from provenet.verify.check import prove
from provenet.verify.mending import mends, trying
from provenet.verify.verdict import Mend, Report, Status, Verdict
from tests.verify.nets import Offer, cap, chain, selling, trip
from tests.verify.test_catalogue import edited, line
from tests.verify.test_more_properties import ORDINARY, killable

WHOLE = ("SDB", "DATA", "STATE-1", "CTL-3")


def mended(net: Net, wanted: Requirement | str, *others: Requirement | str) -> Verdict:
    """The refutation with its mend, which is proved of the net that it makes, as is all that was proved."""
    asked = [wanted, *others]
    before = prove(net, only=asked, timeout=20)
    kind = wanted.kind if isinstance(wanted, Requirement) else wanted
    broken = [v for v in before.verdicts if v.property == kind and v.status is Status.REFUTED]
    assert broken, [str(v) for v in before.verdicts]
    report = mends(net, before, only=asked, timeout=30)
    assert [replace(v, mend="", mends=()) for v in report.verdicts] == [
        replace(v, mend="") for v in before.verdicts
    ]
    found = next(v for v in report.verdicts if v.property == kind and v.status is Status.REFUTED)
    assert found.mends, found
    assert found.told_mend().endswith("(re-verified: PROVED)")
    for mend in found.mends:
        assert mend.net != net
        again = prove(mend.net, only=asked, timeout=20)
        assert {
            v.status for v in again.verdicts if (v.property, v.title) == (found.property, found.title)
        } == {Status.PROVED}
        refuted = {(v.property, v.title) for v in again.verdicts if v.status is Status.REFUTED}
        assert refuted <= {(v.property, v.title) for v in before.verdicts if v.status is Status.REFUTED}
    same_again(report, net)
    return found


def same_again(report: Report, net: Net) -> None:
    """A report goes to JSON and back, mends and all."""
    read = Report.from_json(report.to_json(net), net)
    assert [v.mends for v in read.verdicts] == [v.mends for v in report.verdicts]
    assert [v.mend for v in read.verdicts] == [v.mend for v in report.verdicts]


def add(net: Net, *made: Transition) -> Net:
    return replace(net, transitions=(*net.transitions, *made))


def path(text: str) -> Any:
    first, *rest = text.split(".")
    expr: Any = Var(first)
    for name in rest:
        expr = Get(expr, name)
    return expr


# policies


def test_never_tightens_the_policy_and_says_where_the_rest_goes() -> None:
    net = selling(most=40)
    found = mended(net, cap(30), *WHOLE)
    said = "tighten 'cap' by the rule proposal.discount <= 30: what it refuses goes to 'ask'"
    assert found.mend == f"{said} (re-verified: PROVED)"
    (mend,) = found.mends
    assert [r.name for r in mend.net.contract("offer").rules][-1] == "proposal.discount <= 30"
    assert {"never", "SDB-1", "DATA-2"} & set(mend.checked) == {"SDB-1", "DATA-2"}
    assert found.title in mend.checked


def test_a_policy_is_not_tightened_until_nothing_passes() -> None:
    net = selling(most=40)
    everything = never(effect="sell", of=Offer, where=lambda payload: payload.discount > -1, name="no sale")
    below = replace(
        net.contract("offer").rules[0], expr=Compare(">=", path("proposal.discount"), Const(0, INT))
    )
    accept = net.transition("offer.accept")
    guard = Compare(">=", path("p.proposal.discount"), Const(0, INT))
    net = replace(
        edited(
            edited(net, accept.name, lambda t: replace(t, guard=guard)),
            "offer.reject",
            lambda t: replace(t, guard=Not(guard)),
        ),
        contracts=tuple(replace(c, rules=(below,)) if c.id == "offer" else c for c in net.contracts),
    )
    report = mends(net, prove(net, only=[everything]), only=[everything], timeout=20)
    (found,) = [v for v in report.verdicts if v.status is Status.REFUTED]
    assert found.mends == ()
    assert found.told_mend().endswith("(advice, not re-verified)")


def test_an_effect_of_no_contract_gets_a_guard() -> None:
    of = schema_of(Offer)
    assert isinstance(of, RecordType)
    bonus = Build(of, (path("o.discount"), Const(True, BOOL)))
    stray = Transition(
        "bonus",
        takes=(Take("review", "o"),),
        trigger=Perform("sell", bonus),
        puts=(Put("refused", Var("o")),),
    )
    found = mended(add(selling(), stray), cap(30))
    assert "guard 'bonus' by o.discount <= 30" in found.mend


def test_a_guard_reads_one_part_of_a_record_built_on_the_spot() -> None:
    of = schema_of(Offer)
    assert isinstance(of, RecordType)
    part = Get(Build(of, (Const(31, INT), path("o.vip"))), "discount")
    guard = Compare(">", part, Const(30, INT))
    stray = Transition("bonus", takes=(Take("review", "o"),), guard=guard, puts=(Put("refused", Var("o")),))
    assert prove(add(selling(), stray), only=["STATE-3"]).status() is Status.PROVED


def test_a_verifier_that_lets_more_pass_than_its_policy() -> None:
    guard = Compare("<=", path("p.proposal.discount"), Const(60, INT))
    net = edited(selling(), "offer.accept", lambda t: replace(t, guard=guard))
    assert "only what its policy lets pass" in mended(net, "SDB-1", cap(30)).mend


def test_sdb_3_an_opinion_in_place_of_a_policy() -> None:
    def asked(t: Transition) -> Transition:
        return replace(
            t, trigger=Choice("look", "fine"), fresh=(Fresh("opinion", BOOL),), ensures=Var("opinion")
        )

    assert "policy" in mended(edited(selling(), "offer.accept", asked), "SDB-3").mend


def test_sdb_3_accept_and_reject_at_once() -> None:
    guard = Compare(">=", path("p.proposal.discount"), Const(30, INT))
    net = edited(selling(), "offer.reject", lambda t: replace(t, guard=guard))
    assert "the negation" in mended(net, "SDB-3").mend


def test_data_3_verifies_what_the_commit_relies_on() -> None:
    commit = next(selling().by_role(Role.COMMIT, contract="offer"))
    assert commit.takes[0].var is not None
    least = Compare("<=", path(f"{commit.takes[0].var}.proposal.discount"), Const(25, INT))
    net = edited(selling(), commit.name, lambda t: replace(t, requires=least))
    assert "proposal.discount <= 25" in mended(net, "DATA-3", *WHOLE).mend


def test_data_4_gets_the_lost_rules_back() -> None:
    wanted = at_least_as_strict("offer", than=Compare("<=", path("proposal.discount"), Const(20, INT)))
    assert "proposal.discount <= 20" in mended(selling(), wanted, *WHOLE).mend


def test_always_tightens_the_policy_behind_the_place() -> None:
    wanted = always("end", of=Offer, where=lambda it: it.discount <= 20)
    assert "proposal.discount <= 20" in mended(chain(1, most=30), wanted, *WHOLE).mend


def test_data_2_drops_a_rule_that_says_nothing() -> None:
    net = selling()
    same = Compare("==", path("proposal.vip"), path("proposal.vip"))
    every = replace(net.contract("offer").rules[0], name="any", expr=same)
    parts = [Compare("<=", path("p.proposal.discount"), Const(30, INT))]
    parts.append(Compare("==", path("p.proposal.vip"), path("p.proposal.vip")))
    guard = And(tuple(parts))
    net = edited(net, "offer.accept", lambda t: replace(t, guard=guard))
    net = edited(net, "offer.reject", lambda t: replace(t, guard=Not(guard)))
    net = replace(
        net,
        contracts=tuple(replace(c, rules=(*c.rules, every)) if c.id == "offer" else c for c in net.contracts),
    )
    assert "drop the rule 'any'" in mended(net, "DATA-2", *WHOLE).mend


# contracts


def test_sdb_1_removes_what_leads_past_the_verifier() -> None:
    net = selling()
    proposed, verified = net.place("offer.proposed"), net.place("offer.verified")
    accept = net.transition("offer.accept")
    assert proposed.type != verified.type
    net = add(net, replace(accept, name="trust", role=Role.ROUTE, contract="", guard=None))
    assert mended(net, "SDB-1", *WHOLE).mend.startswith("remove 'trust', which leads past the verifier")


def test_what_needs_soundness_is_not_proposed_without_it() -> None:
    net = selling()
    net = add(
        net, replace(net.transition("offer.accept"), name="trust", role=Role.ROUTE, contract="", guard=None)
    )
    report = mends(net, prove(net, only=["SDB-1"]), only=["SDB-1"], timeout=20)
    (found,) = [v for v in report.verdicts if v.status is Status.REFUTED]
    assert all("trust" in {t.name for t in m.net.transitions} for m in found.mends)


@pytest.mark.parametrize("fault", ["no bound", "not counted", "neither"])
def test_sdb_4_bounds_and_counts_the_attempts(fault: str) -> None:
    net = selling()
    if fault != "not counted":
        again = path("r.signal.retryable")
        net = edited(net, "offer.retry", lambda t: replace(t, guard=again))
        net = edited(net, "offer.give_up", lambda t: replace(t, guard=Not(again)))
    if fault != "no bound":
        (put,) = net.transition("offer.retry").puts
        made: Any = put.expr
        at = made.type.index("attempt")
        parts = (*made.parts[:at], path("r.attempt"), *made.parts[at + 1 :])
        kept = replace(put, expr=replace(made, parts=parts))
        net = edited(net, "offer.retry", lambda t: replace(t, puts=(kept,)))
    said = mended(net, "SDB-4", "SDB-2").mend
    assert ("attempt < 2" in said) == (fault != "not counted")
    assert ("count" in said) == (fault != "no bound")


def test_sdb_2_a_swallowed_reject_goes_where_rejects_go() -> None:
    net = edited(selling(), "offer.reject", lambda t: replace(t, puts=()))
    assert "'offer.rejected'" in mended(net, "SDB-2", "SDB-4").mend


def test_sdb_2_a_reject_that_nothing_takes() -> None:
    lost = Compare(">", path("r.attempt"), Const(7, INT))
    net = edited(selling(), "offer.give_up", lambda t: replace(t, guard=lost))
    assert "'offer.give_up' take every reject" in mended(net, "SDB-2", "SDB-4").mend


def test_sdb_5_one_accept_puts_one_token() -> None:
    net = edited(selling(), "offer.accept", lambda t: replace(t, puts=(*t.puts, *t.puts)))
    assert "one token into 'offer.verified'" in mended(net, "SDB-5", "SDB-1").mend


def test_saga_2_undoes_the_last_step_first() -> None:
    net = trip()
    for name in ("flight.unwind", "hotel.unwind"):
        net = edited(net, name, lambda t: replace(t, guard=None))
    broken = [v for v in prove(net, only=["SAGA-2"]).verdicts if v.status is Status.REFUTED]
    if broken:
        assert "last step first" in mended(net, "SAGA-2", "SAGA-1").mend


def test_saga_4_gives_a_compensation_its_tries() -> None:
    def for_ever(t: Transition) -> Transition:
        assert isinstance(t.trigger, Perform)
        return replace(t, trigger=replace(t.trigger, tries=None))

    assert "tries=5" in mended(edited(trip(), "flight.compensate", for_ever), "SAGA-4", "SAGA-1").mend


def test_ctl_2_the_switch_empties_what_it_forgot() -> None:
    net = killable(resets=tuple(p for p in ORDINARY if p != "offer.verified"))
    assert "empty 'offer.verified'" in mended(net, "CTL-2", "SDB-1").mend


# waits


def test_ctl_3_a_wait_gets_a_deadline_that_denies() -> None:
    net = edited(selling(), "ask.timeout", lambda t: None)
    found = mended(net, "CTL-3", *WHOLE, cap(30))
    assert found.mend.startswith(
        "add a timer that takes from 'review' after 7 days and does what 'ask.deny' does"
    )
    (made,) = [t for t in found.mends[0].net.transitions if not net.has_transition(t.name)]
    assert made.trigger == After(Const(timedelta(days=7), DURATION))


def test_silence_is_no_approval() -> None:
    yes = selling().transition("ask.approve").puts
    net = edited(selling(), "ask.timeout", lambda t: replace(t, puts=yes))
    assert "silence is no approval" in mended(net, cap(30), *WHOLE).mend


# choices


def choosing(first: Any, second: Any) -> Net:
    """A number that takes one of two ways."""
    net = NetBuilder("choosing")
    here = net.entry("here", IntType(0, 100))
    low, high = net.final("low", IntType(0, 100)), net.final("high", IntType(0, 100))
    net.route("go low", takes={"n": here}, puts={low: "n"})
    net.route("go high", takes={"m": here}, puts={high: "m"})
    made = edited(
        net.build(), "go low", lambda t: replace(t, guard=Compare("<", Var("n"), Const(first, INT)))
    )
    return edited(made, "go high", lambda t: replace(t, guard=Compare(">", Var("m"), Const(second, INT))))


def test_data_1_a_gap_is_closed_by_an_else() -> None:
    found = mended(choosing(50, 50), "DATA-1", "STATE-2")
    assert found.mend == "let 'go high' take what the other guards leave: m >= 50 (re-verified: PROVED)"


def test_data_1_an_overlap_gives_way() -> None:
    assert "give way" in mended(choosing(50, 40), "DATA-1", "STATE-1").mend


# the flow of tokens


def counting(*made: Transition) -> Net:
    """Black tokens from ``a`` to ``b`` to ``c``, and whatever a test adds."""
    return add(line(("a", "b"), ("b", "c"), also=("left",)), *made)


def test_state_1_a_dead_transition_goes() -> None:
    net = counting(Transition("never", takes=(Take("a"), Take("b")), puts=(Put("c"),)))
    assert mended(net, "STATE-1", "STATE-2").mend.startswith("remove 'never'")


def test_state_1_what_is_left_over_is_cleared() -> None:
    net = edited(counting(), "a>b", lambda t: replace(t, puts=(*t.puts, Put("left"))))
    assert "clear 'left'" in mended(net, "STATE-1", "STATE-2").mend


def test_a_step_that_leads_astray_is_removed_where_the_net_is_whole_without_it() -> None:
    net = counting(Transition("short cut", takes=(Take("a"),), puts=(Put("b"),)))
    assert mended(net, precedes("a>b", "b>c"), "STATE-1").mend.startswith("remove 'short cut'")


def test_a_token_too_many_is_put_once() -> None:
    net = edited(counting(), "b>c", lambda t: replace(t, puts=(*t.puts, Put("c"))))
    assert "one token into 'c'" in mended(net, bound("c", k=1), "STATE-2").mend


def test_a_token_too_many_is_not_put() -> None:
    net = edited(counting(), "a>b", lambda t: replace(t, puts=(*t.puts, Put("c"))))
    assert "no token into 'c'" in mended(net, mutex("b", "c"), "STATE-1").mend


# events


def test_evt_1_an_event_is_ignored_on_purpose() -> None:
    net = NetBuilder("door")
    closed, ajar = net.place("closed", initial=[()]), net.place("ajar")
    net.event("knock", event="knock", takes=closed, puts=ajar)
    net.route("leave", takes=ajar, puts=net.final("end"))
    found = mended(net.build(), "EVT-1")
    assert "net.ignore('knock', unless=['closed'])" in found.mend
    assert [i.event for i in found.mends[0].net.ignored] == ["knock"]


def test_evt_1_a_guard_that_keeps_an_event_out() -> None:
    net = NetBuilder("door")
    closed, ajar = net.place("closed", IntType(0, 9)), net.final("ajar", IntType(0, 9))
    start = net.entry("start", IntType(0, 9))
    net.route("go", takes={"n": start}, puts={closed: "n"})
    net.event("knock", event="knock", takes={"n": closed}, puts={ajar: "n"})
    net.ignore("knock", unless=[closed])
    guard = Compare("<", Var("n"), Const(5, INT))
    made = edited(net.build(), "knock", lambda t: replace(t, guard=guard))
    assert "drop its guard" in mended(made, "EVT-1", "STATE-2").mend


class Tick(Token):
    number: Annotated[int, Field(ge=0)]


def ticking(key: str) -> Net:
    """Ticks are counted until somebody says that it is enough."""
    net = NetBuilder("ticking")
    going, end = net.place("going", initial=[()]), net.final("end")
    count = net.place("count", Tick, initial=[Tick(number=0)])
    net.rests(count)
    event: Any = {"event": "tick", "key": key, "takes": {"c": count}, "brings": {"t": Tick}}
    net.event("add", puts={count: lambda c, t: make(Tick, number=c.number + 1)}, **event)
    net.route("enough", takes=going, puts=end)
    return net.build()


def test_evt_2_remembers_the_last_key() -> None:
    found = mended(ticking("number"), "EVT-2")
    assert "in a place 'last tick'" in found.mend
    net = ticking("")
    report = mends(net, prove(net, only=["EVT-2"]), only=["EVT-2"])
    assert [v.mends for v in report.verdicts] == [()], "nothing tells two ticks apart"


# what a mend is


def test_nothing_changes_where_nothing_is_refuted() -> None:
    report = prove(selling(), only=["SDB-1"])
    assert mends(selling(), report, only=["SDB-1"]) is report


def test_without_time_all_is_advice() -> None:
    net = selling(most=40)
    report = mends(net, prove(net, only=[cap(30)]), only=[cap(30)], timeout=0)
    (found,) = [v for v in report.verdicts if v.status is Status.REFUTED]
    assert found.mends == ()
    assert found.told_mend() == f"{found.mend} (advice, not re-verified)"


def test_what_was_not_checked_again_is_said() -> None:
    net = selling()
    mend = Mend("x", net, ("never",), ("SDB-1", "SDB-2", "STATE-1", "STATE-2", "STATE-3"))
    assert trying.words(mend) == (
        "(re-verified: PROVED; not checked again: SDB-1, SDB-2, STATE-1, STATE-2 and 1 more)"
    )


def test_a_mend_that_does_not_fit_is_refused() -> None:
    net = selling(most=40)
    (mend,) = mended(net, cap(30)).mends
    data = mend.to_json(net)
    assert Mend.from_json(data, net) == mend
    assert data["net_hash"] == content_hash(mend.net)
    with pytest.raises(FormatError, match="another net"):
        Mend.from_json({**data, "patch": data["patch"][:-1]}, net)
    with pytest.raises(FormatError, match="operation 0"):
        Mend.from_json({**data, "patch": [{"op": "remove", "path": "/transitions/999"}]}, net)

"""P3, event-driven sequencing: proved over its range, a mutant for each guarantee, runs with late events."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenet.engine.testing import Bench, Late, Lost
from provenet.nets.build import NetBuilder
from provenet.nets.errors import NetError
from provenet.nets.expr.ast import Build
from provenet.nets.net import Net, Put, Transition
from provenet.nets.patterns.sequencing import Consumer, EventType, Gaps, OldVersion, Sequencing
from provenet.sdb.handlers import EffectRefused
from provenet.verify.certificate import recheck
from provenet.verify.check import prove
from provenet.verify.verdict import Status
from tests.nets.patterns.logs import (
    Account,
    Balance,
    Note,
    OldPayment,
    Payment,
    Probe,
    event,
    log,
    payments,
    refused,
    told,
)

CONSUMERS, TYPES, RETRIES = range(1, 9), range(1, 4), range(6)

ANY_SIZE = ("SDB", "mutex", "always", "EVT-1", "EVT-2", "STATE-2")

MOST_IN_A_CASCADE = 3
"""Consumers up to which STATE-1 and STATE-3 are proved of a log with a cascade: they look at the states."""


def unproved(net: Net, *only: str) -> list[tuple[str, str, str]]:
    """What of these is not proved."""
    report = prove(net, only=only)
    assert report.verdicts
    return [(v.property, v.status.value, v.reason) for v in report.verdicts if v.status is not Status.PROVED]


# the whole range


@settings(max_examples=4)
@given(
    consumers=st.sampled_from(CONSUMERS),
    types=st.sampled_from(TYPES),
    retries=st.sampled_from(RETRIES),
    cascade=st.booleans(),
    gaps=st.sampled_from(("allowed", "wait")),
)
def test_what_needs_no_states_is_proved_at_any_size(
    consumers: int, types: int, retries: int, cascade: bool, gaps: Gaps
) -> None:
    net = log(consumers, types, retries, cascade=cascade, gaps=gaps, lateness=timedelta(hours=1)).build()
    assert unproved(net, *ANY_SIZE) == []


@pytest.mark.parametrize(("consumers", "cascade"), [(1, False), (1, True), (2, False)])
def test_everything_is_proved_of_a_few(consumers: int, cascade: bool) -> None:
    net = log(consumers, cascade=cascade).build()
    report = prove(net)
    assert [(v.property, v.reason) for v in report.unproved()] == []
    assert {r.name for r in net.requirements if r.name} <= {v.title for v in report.verdicts}
    assert recheck(net, report) == ()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_log_of_eight_consumers_ends_well() -> None:
    found = prove(log(8, work=told).build(), only=["STATE-1", "STATE-3"], timeout=300).verdicts
    assert [v.status for v in found] == [Status.PROVED] * 2, [v.reason for v in found]


def test_a_log_that_stops_is_proved() -> None:
    assert unproved(log(1, failing="stop").build(), *ANY_SIZE, "STATE-1") == []


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_everything_is_proved_over_the_whole_grid() -> None:
    for consumers in CONSUMERS:
        for types in TYPES:
            for retries in RETRIES:
                for cascade in (False, True):
                    ends = ("STATE-1", "STATE-3") if not cascade or consumers <= MOST_IN_A_CASCADE else ()
                    net = log(consumers, types, retries, cascade=cascade).build()
                    assert unproved(net, *ANY_SIZE, *ends) == [], (consumers, types, retries, cascade)


# mutants


def changed(net: Net, name: str, change: Callable[[Transition], Transition]) -> Net:
    """The net with one transition changed."""
    assert net.has_transition(name)
    return replace(net, transitions=tuple(change(t) if t.name == name else t for t in net.transitions))


TAKE = "log.payment.take v3"


def a_consumer_without_idempotency(net: Net) -> Net:
    return changed(net, TAKE, lambda t: replace(t, ensures=None))


def a_cursor_that_goes_back(net: Net) -> Net:
    def back(t: Transition) -> Transition:
        def put(p: Put) -> Put:
            if p.place != "log.head" or not isinstance(p.expr, Build):
                return p
            return replace(p, expr=Build(p.expr.type, p.expr.parts[::-1]))

        return replace(t, puts=tuple(put(p) for p in t.puts))

    return changed(net, TAKE, back)


def a_late_event_that_counts(net: Net) -> Net:
    take = net.transition(TAKE)
    return changed(
        net, "log.payment.late v3", lambda t: replace(t, takes=take.takes, puts=take.puts, resets=())
    )


def events_side_by_side(net: Net) -> Net:
    return changed(net, TAKE, lambda t: replace(t, puts=(*t.puts, Put("log.free"))))


def an_answer_too_many(net: Net) -> Net:
    return changed(net, "log.c1.done", lambda t: replace(t, takes=t.takes[:1]))


def retries_without_end(net: Net) -> Net:
    return changed(net, "log.c1.again", lambda t: replace(t, guard=None))


def a_version_that_not_always_is_taken(net: Net) -> Net:
    late = net.transition("log.payment.late v1").ensures
    return changed(net, "log.payment.older v1", lambda t: replace(t, ensures=late))


MUTANTS: Mapping[Callable[[Net], Net], str] = {
    a_consumer_without_idempotency: "EVT-2",
    a_cursor_that_goes_back: "always",
    a_late_event_that_counts: "EVT-2",
    events_side_by_side: "mutex",
    an_answer_too_many: "mutex",
    retries_without_end: "always",
    a_version_that_not_always_is_taken: "EVT-1",
}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutate", MUTANTS, ids=lambda m: m.__name__)
def test_a_mutant_is_refuted(mutate: Callable[[Net], Net]) -> None:
    kind = MUTANTS[mutate]
    net = log(1, retries=1, lateness=timedelta(hours=1) if kind == "EVT-1" else None, work=told).build()
    assert unproved(net, kind) == []
    found = prove(mutate(net), only=[kind], timeout=500).verdicts
    assert Status.REFUTED in {v.status for v in found}, [(v.property, v.status, v.reason) for v in found]


# mistakes


def broken(**changes: Any) -> list[str]:
    """The mistakes of a log, changed."""
    net = NetBuilder("broken")
    parts: dict[str, Any] = {
        "takes": net.entry("opened", Account),
        "done": net.final("closed"),
        "events": [EventType("a", Note)],
        "consumers": [Consumer("c", "a", Note, told)],
        "until": "close",
    }
    net.add(Sequencing("log", **{**parts, **changes}))
    with pytest.raises(NetError) as error:
        net.build()
    return [f"{m.code} {m.message}" for m in error.value.mistakes]


LOOP = [Consumer("c", "a", Note, told, emits="b"), Consumer("d", "b", Note, told, emits="a")]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"consumers": []}, "its consumers need names of their own"),
        ({"consumers": [Consumer("c", "z", Note, told)]}, "names no event type: 'z'"),
        ({"events": [EventType("a", Note), EventType("b", Note)]}, "nobody consumes 'b'"),
        ({"events": [EventType("a", Note, old=[OldVersion(1, Note)])]}, "'a' has a version twice"),
        ({"events": [EventType("a", Note, fold=lambda view: view)]}, "there is no view"),
        ({"events": [EventType("a", Note, source="consumers")]}, "nobody emits 'a'"),
        ({"until": ""}, "nothing closes it"),
        ({"consumers": [Consumer("c", "a", Note, told, failing="stop")]}, "may stop the log"),
        ({"consumers": [Consumer("c", "a", Note, told, retries=-1)]}, "retries of 'c' is -1"),
    ],
)
def test_a_mistake_is_told(changes: dict[str, Any], said: str) -> None:
    found = broken(**changes)
    assert any(f.startswith("PN134") and said in f for f in found), found


@pytest.mark.antipattern("AP5", "impossible to express: events that cause one another in a circle")
def test_a_cascade_without_end_is_refused() -> None:
    (found,) = broken(events=[EventType("a", Note), EventType("b", Note)], consumers=LOOP)
    assert found == "PN134 events cause one another in a circle: a -> b -> a"


def test_an_effect_that_may_have_been_performed_is_not_tried_anew() -> None:
    (found,) = broken(consumers=[Consumer("c", "a", Note, refused, retries=1)])
    assert found == "PN135 'log.c.fail' leads back to its effect, which may have been performed"


# runs

OPENED = Account(id="a-1")
NOTE = Note(text="noted")


def test_each_event_counts_once_and_in_order_whatever_is_delivered() -> None:
    with Bench(log(2, cascade=True, work=told)) as bench:
        for name in ("c1", "c2", "reader"):
            bench.proposer(f"log.{name}").always(NOTE)
        bench.crash_at("signal", nth=2)
        bench.crash_at("after-answer", nth=2)
        bench.crash_at("before-commit", nth=3)
        case = bench.start(OPENED)
        dice, sent = random.Random(3), []
        for said in payments([1, 2, 3, 4, 5]):
            case.signal("payment", said)
            sent.append(said)
            for again in dice.sample(sent, k=len(sent) // 2):
                case.signal("payment", again)
        case.signal("close")
        case.run()
        case.assert_ended("closed")
        assert case.outcome == Balance(account="a-1", cents=111_110)
        taken = [name for name in case.fired if name.startswith("log.payment.take")]
        assert len(taken) == 5
        assert case.fired.count("log.c1.emit") == case.fired.count("log.reader.done") == 5


def test_what_comes_too_late_goes_to_the_audit() -> None:
    with Bench(log(1)) as bench:
        bench.proposer("log.c1").always(NOTE)
        bench.effect("books.note").answers(ConnectionError("away"), Lost())
        case = bench.start(OPENED)
        for said in payments([1, 4, 2, 3]):
            case.signal("payment", said)
            bench.advance(timedelta(minutes=1))
        late = case.marking["log.late"]
        assert [(n.number if hasattr(n, "number") else n["number"]) for n in late] == [3]
        case.run()
        case.assert_ended("closed")
        assert case.outcome.cents == 10**1 + 10**4
        assert len(case.performed("books.note")) == 2


def test_with_gaps_that_wait_the_order_is_mended() -> None:
    with Bench(log(1, gaps="wait", work=told)) as bench:
        bench.proposer("log.c1").always(Late(NOTE, after=timedelta(seconds=20)))
        case = bench.start(OPENED)
        for said in payments([3, 1, 2]):
            case.signal("payment", said)
        bench.restart("crash")
        case = bench.case(case.id)
        case.run()
        case.assert_ended("closed")
        assert case.outcome.cents == 1_110
        assert "log.payment.late v3" not in case.fired


def test_old_versions_are_turned_into_the_present_one_or_ignored() -> None:
    with Bench(log(1, work=told), database=":memory:") as bench:
        notes = bench.proposer("log.c1").always(NOTE)
        case = bench.start(OPENED)
        case.signal("payment", event(1, OldPayment(amount=7), 1))
        case.signal("payment", event(2, Probe(ping=1), 2))
        case.signal("payment", event(3, Payment(cents=1), 3))
        case.run()
        assert case.outcome.cents == 8
        assert [call.payload.payload for call in notes.calls] == [Payment(cents=7), Payment(cents=1)]
        assert "log.payment.ignore v2" in case.fired


def test_by_its_own_time_an_event_may_be_too_late_as_well() -> None:
    with Bench(log(1, lateness=timedelta(hours=1), work=told), database=":memory:") as bench:
        bench.proposer("log.c1").always(NOTE)
        case = bench.start(OPENED)
        now = bench.now
        case.signal("payment", event(1, Payment(cents=1)), at=now)
        bench.advance(timedelta(minutes=1))
        case.signal("payment", event(2, Payment(cents=10)), at=now - timedelta(hours=2))
        case.run()
        assert case.outcome.cents == 1
        assert "log.payment.older v3" in case.fired


def test_what_is_emitted_says_by_whom() -> None:
    with Bench(log(1, cascade=True, work=told), database=":memory:") as bench:
        bench.proposer("log.c1").always(NOTE)
        reader = bench.proposer("log.reader").always(NOTE)
        case = bench.start(OPENED)
        case.signal("payment", event(5, Payment(cents=1)))
        case.run()
        (call,) = reader.calls
        seen = call.payload
        assert (seen.id, seen.number, seen.step, seen.model, seen.prompt) == ("e-5", 5, 1, "m-1", "p-1")
        assert seen.view == Balance(account="a-1", cents=1)


def test_a_poisoned_event_is_tried_again_and_skipped_or_stops_the_log() -> None:
    with Bench(log(1, retries=2), database=":memory:") as bench:
        script = bench.proposer("log.c1").always(Note(text=""))
        case = bench.start(OPENED)
        case.signal("payment", event(1, Payment(cents=1)))
        case.run()
        case.assert_ended("closed")
        assert len(script.calls) == 3
    with Bench(log(1, retries=0, failing="stop", work=refused), database=":memory:") as bench:
        bench.proposer("log.c1").always(NOTE)
        bench.effect("books.note").always(EffectRefused("closed"))
        case = bench.start(OPENED)
        case.signal("payment", event(9, Payment(cents=1)))
        case.run()
        case.assert_ended("stopped")
        assert case.outcome == "e-9"

"""Oversight: silence is a no, nobody is asked out of turn, the switch stops all, and all is on the trail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from provenet.engine.errors import DecisionRefused
from provenet.engine.testing import Bench, Case, Late, Lost
from provenet.nets.build import NetBuilder
from provenet.nets.errors import NetError, ProvenetError
from provenet.nets.expr.ast import Build, Const, Get, Var
from provenet.nets.expr.build import make
from provenet.nets.models import Token
from provenet.nets.net import Net, Put, Role, Transition
from provenet.nets.patterns.oversight import (
    Approval,
    Escalation,
    KillSwitch,
    Level,
    Oversight,
    OversightHandle,
    RateLimit,
)
from provenet.nets.patterns.scatter import Peer, ScatterGather
from provenet.nets.patterns.slot import Slot
from provenet.nets.schema import INT, STR, RecordType
from provenet.sdb.contract import Contract
from provenet.sdb.handlers import Effect, EffectRefused, Request
from provenet.sdb.policy import within
from provenet.sdb.saga import Saga
from provenet.verify.check import prove
from provenet.verify.verdict import Status


class Letter(Token):
    to: str
    cents: int


class Ended(Token):
    to: str
    why: str


DAY = timedelta(days=1)
ROLES = ("desk", "counsel", "director", "board", "owner", "notary", "court", "king")


@dataclass(frozen=True)
class Shape:
    """An agent under oversight: it sends a letter, and sends it again; one of the two a day.

    Attributes:
        levels: Who is asked about a large one, one after the other.
        eyes: How many people approve it.
        fallback: Whether another role may approve as well after a day.
    """

    levels: int = 2
    eyes: int = 1
    fallback: bool = False

    def build(self) -> NetBuilder:
        net = NetBuilder("letters")
        due = net.entry("due", Letter, where=lambda it: it.cents >= 0)
        names = ("review", "ready", "go", "sent", "large", "no", "end")
        review, ready, go, sent, large, no, end = (net.place(n, Letter) for n in names)
        first, second = net.place("first", initial=[()]), net.place("second")
        done, off = net.final("done", Ended), net.final("off", Ended)
        scope = net.add(Saga("case", outcome=Ended, completes=done, aborts=off))
        desk = net.add(Oversight("oversight", policy="oversight v3"))
        net.route("is small", takes={"it": due}, when=lambda it: it.cents <= 100, puts={review: "it"})
        net.route("is large", takes={"it": due}, when=lambda it: it.cents > 100, puts={large: "it"})
        net.add(
            Escalation(
                "large",
                on=desk,
                takes=large,
                resumes=review,
                ends=no,
                levels=[Level(role, (n + 1) * DAY) for n, role in enumerate(ROLES[: self.levels])],
                why="more than 100",
            )
        )
        net.add(
            Approval(
                "approve",
                on=desk,
                takes=review,
                approve=ready,
                deny=no,
                who="pricing",
                within=2 * DAY,
                why=lambda inputs: inputs.to,
                before=["letters.send"],
                eyes=self.eyes,
                fallback=("on_call", DAY) if self.fallback else None,
            )
        )
        net.add(RateLimit("pace", on=desk, takes=ready, gives=go, most=1, per=DAY))
        net.add(
            Contract(
                "send",
                takes=go,
                gives=sent,
                otherwise=no,
                on_failure=no,
                saga=scope,
                verify=within(Letter, lambda it: it.cents >= 0, name="letters v1"),
                commit=Effect("letters.send", _unreached, payload=Letter, tries=None),
                undo=Effect("letters.recall", _unreached, payload=Letter, tries=20),
            )
        )
        net.route("again", takes={"it": sent, "_first": first}, puts={ready: "it", second: None})
        net.route("enough", takes={"it": sent, "_second": second}, puts={end: "it"})
        for name, place, end_it in (("sent", end, scope.complete), ("no", no, scope.abort)):
            end_it(net, f"it is {name}", takes={"it": place}, outcome=_ended(name))
        net.add(KillSwitch("stop", on=desk, scope=scope, outcome=Ended(to="", why="killed")))
        return net


@dataclass(frozen=True)
class Paced:
    """Reminders as long as there is a reason for another, so many a day."""

    most: int

    def build(self) -> NetBuilder:
        net = NetBuilder("reminders")
        due, sent, done = net.entry("due", Letter), net.place("sent", Letter), net.final("done", Letter)
        go = net.place("go", Letter)
        desk = net.add(Oversight("oversight", policy="oversight v3"))
        net.add(RateLimit("pace", on=desk, takes=due, gives=go, most=self.most, per=DAY))
        send = Effect("letters.send", _unreached, payload=Letter)
        anything = within(Letter, lambda it: it.cents <= 999, name="letters v1")
        net.add(Contract("send", takes=go, gives=sent, otherwise=done, verify=anything, commit=send))
        net.event("another", event="another", takes={"it": sent}, puts={due: "it"})
        net.ignore("another")
        net.timer("no more", after=9 * DAY, takes={"it": sent}, puts={done: "it"})
        return net


def _ended(why: str) -> Callable[..., Any]:
    return lambda it: make(Ended, to=it.to, why=why)


def _unreached(request: Request) -> None:
    raise AssertionError("the bench answers")


ALL = ("SDB", "SAGA", "CTL", "STATE", "DATA")


def proved(builder: NetBuilder) -> bool:
    return prove(builder.build()).status() is Status.PROVED


def refuted(net: Net, kind: str) -> bool:
    """Whether a property of the net is refuted, with a trace that replays."""
    found = [v for v in prove(net, only=[kind]).verdicts if v.status is Status.REFUTED]
    return bool(found) and all(v.trace is None or v.trace.replay(net) for v in found)


# proofs


@given(levels=st.integers(1, 8), eyes=st.integers(1, 3), fallback=st.booleans())
@settings(max_examples=4)
def test_an_agent_under_all_four_planes_is_proved(levels: int, eyes: int, fallback: bool) -> None:
    builder = Shape(levels, eyes, fallback).build()
    builder.require(*ALL)
    assert proved(builder)


@given(most=st.integers(1, 60))
@settings(max_examples=4)
def test_a_rate_is_proved_whatever_it_is(most: int) -> None:
    builder = Paced(most).build()
    builder.require("SDB", "CTL", "STATE", "DATA")
    assert proved(builder)


@pytest.mark.long
@pytest.mark.parametrize("levels", range(1, 9))
@pytest.mark.parametrize("eyes", [1, 2, 3])
@pytest.mark.parametrize("fallback", [True, False])
def test_the_whole_grid_is_proved(levels: int, eyes: int, fallback: bool) -> None:
    builder = Shape(levels, eyes, fallback).build()
    builder.require(*ALL)
    assert proved(builder)


def test_the_trail_is_nothing_that_anybody_waits_for() -> None:
    (waits,) = prove(Shape().build().build(), only=["CTL-3"]).verdicts
    assert "oversight.trail" not in waits.subject
    assert "review" in waits.subject


def test_each_plane_stands_alone() -> None:
    """An approval, an escalation or a switch needs the trail, and none of the others."""

    def alone(add: Callable[[NetBuilder, Any, Any, Any, Any], object]) -> NetBuilder:
        net = NetBuilder("alone")
        due, done = net.entry("due", Letter), net.final("done", Letter)
        scope = net.add(Saga("case", outcome=Letter, completes=done, aborts=done))
        end, no = net.place("end", Letter), net.place("no", Letter)
        add(net, net.add(Oversight("oversight", policy="v1")), scope, due, (end, no))
        scope.complete(net, "finish", takes={"it": end}, outcome="it")
        scope.abort(net, "call off", takes={"it": no}, outcome="it")
        return net

    for add in (
        lambda net, desk, scope, due, to: net.add(
            Approval("ask", on=desk, takes=due, approve=to[0], deny=to[1], who="lead", within=DAY)
        ),
        lambda net, desk, scope, due, to: net.add(
            Escalation("up", on=desk, takes=due, resumes=to[0], ends=to[1], levels=[Level("lead", DAY)])
        ),
        lambda net, desk, scope, due, to: (
            net.add(KillSwitch("stop", on=desk, scope=scope, outcome=Letter(to="", cents=0))),
            net.timer("good", after=DAY, takes={"it": due}, puts={to[0]: "it"}),
            net.timer("bad", after=DAY, takes={"it": due}, puts={to[1]: "it"}),
        ),
    ):
        builder = alone(add)
        builder.require("SAGA-3", "CTL", "STATE-1", "STATE-2", "STATE-3")
        assert proved(builder)


def test_every_decision_is_on_the_trail() -> None:
    net = Shape(8, 2, fallback=True).build().build()

    def writes(t: Transition) -> bool:
        ends = {a.place for a in t.takes}, {p.place for p in t.puts}
        return all("oversight.trail" in places for places in ends)

    alone = [t for t in net.transitions if t.role in (Role.TIMER, Role.KILL) and t.name != "pace.new window"]
    alone += [net.transition(name) for name in ("pace.hold", "large.suspend")]
    assert len(alone) == 8 + 1 + 1 + 2
    assert [t.name for t in alone if not writes(t)] == []
    people = [t for t in net.transitions if t.role in (Role.APPROVE, Role.DENY)]
    assert len(people) == 2 * (8 + 1)
    for t in people:
        (said,) = t.puts
        assert all(writes(u) for u in net.taking(said.place) if u.role is Role.ROUTE), t.name
    assert {p.id for p in net.patterns if p.kind == "oversight"} == {
        "oversight",
        "large",
        "approve",
        "pace",
        "stop",
    }


# mutants


def changed(net: Net, name: str, how: Callable[[Transition], Transition]) -> Net:
    assert net.has_transition(name)
    return replace(net, transitions=tuple(how(t) if t.name == name else t for t in net.transitions))


def puts_elsewhere(net: Net, name: str, at: str, to: str) -> Net:
    return changed(
        net,
        name,
        lambda t: replace(t, puts=tuple(replace(p, place=to) if p.place == at else p for p in t.puts)),
    )


def silence_is_a_yes(net: Net) -> Net:
    return puts_elsewhere(net, "approve.no answer", "no", "ready")


def another_letter_goes_out(net: Net) -> Net:
    """What was approved goes to the one who is written to; what is sent is another one."""
    letter = net.place("ready").type
    it = Get(Var("d"), "inputs")
    assert isinstance(letter, RecordType)
    other = Build(letter, (Get(it, "to"), Const(100, INT)))
    puts = net.transition("approve.note yes").puts
    changes = tuple(replace(p, expr=other) if p.place == "ready" else p for p in puts)
    return changed(net, "approve.note yes", lambda t: replace(t, puts=changes))


def nobody_approved(net: Net) -> Net:
    """The trail does not say which role approved."""
    (said,) = net.transition("approve.approve").puts
    assert isinstance(said.expr, Build)
    inputs, entry = said.expr.parts
    assert isinstance(entry, Build)
    parts = list(entry.parts)
    parts[[f.name for f in entry.type.fields].index("who")] = Const("", STR)
    nobody = replace(said.expr, parts=(inputs, replace(entry, parts=tuple(parts))))
    return changed(net, "approve.approve", lambda t: replace(t, puts=(replace(said, expr=nobody),)))


def two_trails(net: Net) -> Net:
    """A second entry beside the first one."""
    return changed(net, "approve.note no", lambda t: replace(t, takes=t.takes[:1]))


def asked_out_of_turn(net: Net) -> Net:
    return puts_elsewhere(net, "large.suspend", "large.waits for desk", "large.waits for counsel")


def nobody_is_waited_for_but_for_ever(net: Net) -> Net:
    gone = "large.counsel.no answer"
    return replace(net, transitions=tuple(t for t in net.transitions if t.name != gone), patterns=())


def switch_is_looked_at(net: Net) -> Net:
    """The switch fires and stops nothing: the scope's token stays, and so does ordinary work."""
    opened = next(a for a in net.transition("stop").takes if a.place == "case.open")

    def stops_nothing(t: Transition) -> Transition:
        puts = tuple(p for p in t.puts if p.place != "case.aborting")
        return replace(t, resets=(), puts=(*puts, Put("case.open", Var(opened.var or ""))))

    return changed(net, "stop", stops_nothing)


def counts_nothing(net: Net) -> Net:
    kept = Put("pace.left", Var("b"))

    def free(t: Transition) -> Transition:
        return replace(t, puts=tuple(kept if p.place == "pace.left" else p for p in t.puts))

    return changed(net, "pace.open", free)


def held_for_ever(net: Net) -> Net:
    gone = ("pace.again",)
    return replace(net, transitions=tuple(t for t in net.transitions if t.name not in gone))


@pytest.mark.parametrize(
    ("break_it", "kind"),
    [
        (another_letter_goes_out, "never"),
        (nobody_approved, "always"),
        (two_trails, "bound"),
        (asked_out_of_turn, "precedes"),
        (nobody_is_waited_for_but_for_ever, "CTL-3"),
        (switch_is_looked_at, "CTL-2"),
        (switch_is_looked_at, "responds"),
        (counts_nothing, "CTL-4"),
        (held_for_ever, "formula"),
    ],
)
def test_each_guarantee_is_refuted_where_it_is_broken(break_it: Callable[[Net], Net], kind: str) -> None:
    net = Shape().build().build()
    assert kind in {r.kind for r in net.requirements}
    assert not refuted(net, kind)
    assert refuted(break_it(net), kind)


@pytest.mark.antipattern("AP7", "refuted by never: an effect behind an approval that nobody gave")
def test_silence_that_is_taken_for_a_yes() -> None:
    assert refuted(silence_is_a_yes(Shape().build().build()), "never")


# runs


def trail(case: Case) -> tuple[str, str, str, str]:
    """The latest decision: plane, verdict, who, why."""
    (entry,) = case.marking["oversight.trail"]
    assert entry.policy == "oversight v3"
    return entry.plane, entry.verdict, entry.who, entry.why


def test_all_four_planes_leave_one_trail() -> None:
    with Bench(Shape().build()) as bench:
        case = bench.start(Letter(to="ann", cents=900))
        case.run_until("large.desk")
        assert trail(case) == ("escalation", "suspended", "", "more than 100")
        bench.advance(days=1)
        assert trail(case) == ("escalation", "handed over", "", "more than 100")
        case.decide("approve", "cleo@counsel", task="large.counsel", note="they asked for it")
        case.run_until("human_required")
        assert case.marking["oversight.trail"][0].note == "they asked for it"
        assert trail(case) == ("escalation", "approved", "counsel", "more than 100")
        case.approve("dana@pricing")
        case.run_until("pace.held")
        assert trail(case) == ("rate limit", "held back", "", "the 1 of this window have passed")
        case.assert_performed("letters.send", times=1)
        case.kill(who="ops@on_call", reason="wrong address")
        bench.run()
        assert case.outcome == Ended(to="", why="killed")
        case.assert_performed("letters.recall", times=1)
        assert trail(case) == ("kill switch", "killed", "", "the kill switch was pulled")
        by = {
            line.transition: line.data["note"]
            for line in case.detail.log
            if "by" in line.data.get("note", {})
        }
        assert {name: note["by"] for name, note in by.items()} == {
            "large.counsel.approve": "cleo@counsel",
            "approve.approve": "dana@pricing",
            "stop": "ops@on_call",
        }
        assert by["stop"]["reason"] == "wrong address"


def test_who_does_not_answer_has_denied_and_is_too_late_afterwards() -> None:
    with Bench(Shape().build()) as bench:
        case = bench.start(Letter(to="ann", cents=9))
        case.run_until("approve")
        (task,) = case.tasks
        bench.advance(2 * DAY)
        case.assert_ended("off")
        assert case.outcome == Ended(to="ann", why="no")
        assert trail(case) == ("approval", "no answer", "", "ann")
        with pytest.raises(ProvenetError):
            bench.ask(lambda engine: engine.approve(case.id, "approve", "dana@pricing"))
        case.assert_performed("letters.send", times=0)
        assert task.deadline == bench.now


def test_a_decision_binds_to_what_was_shown_and_to_the_role() -> None:
    with Bench(Shape(eyes=2, fallback=True).build()) as bench:
        case = bench.start(Letter(to="ann", cents=9))
        case.run_until("approve")
        for who, shown in (("dana@sales", None), ("dana@on_call", None), ("dana@pricing", "0" * 64)):
            with pytest.raises(DecisionRefused):
                bench.ask(
                    lambda engine, who=who, shown=shown: engine.approve(  # type: ignore[misc]
                        case.id, "approve", who, about_hash=shown
                    )
                )
        case.approve("dana@pricing")
        bench.advance(DAY)
        case.assert_performed("letters.send", times=0)
        case.approve("erin@on_call")
        bench.run()
        case.assert_ended("done")
        case.assert_performed("letters.send", times=2)
        assert [t for t in case.fired if t.startswith("approve.")] == ["approve.approve", "approve.note yes"]


def test_all_who_are_asked_are_silent() -> None:
    with Bench(Shape(levels=3).build()) as bench:
        case = bench.start(Letter(to="ann", cents=900))
        started = bench.now
        bench.run()
        assert case.outcome == Ended(to="ann", why="no")
        assert trail(case) == ("escalation", "no answer", "", "more than 100")
        assert case.detail.log[-1].at - started == (1 + 2 + 3) * DAY
        tasks = ["large.desk.handed over", "large.counsel.handed over", "large.director.no answer"]
        assert [t for t in case.fired if t.startswith("large.")][1:] == tasks


def test_letters_go_out_at_the_declared_rate() -> None:
    with Bench(Paced(2).build()) as bench:
        bench.effect("letters.send").answers(ConnectionError("away"), Lost())
        case = bench.start(Letter(to="ann", cents=9))
        for _ in range(5):
            case.run_until("sent")
            case.signal("another")
        bench.run()
        case.assert_performed("letters.send", times=6)
        opened = [line.at for line in case.detail.log if line.transition == "pace.open"]
        renewed = [line.at for line in case.detail.log if line.transition == "pace.new window"]
        assert [after - before for before, after in zip(opened, renewed, strict=True)] == [DAY] * 3
        between = " ".join(t for t in case.fired if t in ("pace.open", "pace.pass", "pace.new window"))
        assert between == " ".join(["pace.open pace.pass pace.new window"] * 3)


@given(
    cents=st.sampled_from([9, 900]),
    hours=st.integers(0, 100),
    minutes=st.sampled_from([0, 1]),
    answers=st.lists(st.sampled_from(["approve", "deny", "late", "never"]), min_size=3, max_size=3),
    crash=st.sampled_from(["", "before-commit"]),
    weather=st.sampled_from(["calm", "lost", "away", "refused", "slow"]),
)
@settings(max_examples=6, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow])
def test_a_kill_at_any_time_leaves_nothing_behind(
    cents: int, hours: int, minutes: int, answers: list[str], crash: str, weather: str
) -> None:
    with Bench(Shape().build()) as bench:
        given_ = {"approve": Late("approve", timedelta(hours=5)), "deny": Late("deny", timedelta(hours=5))}
        for task, answer in zip(("large.desk", "large.counsel", "approve"), answers, strict=True):
            late = Late("approve", timedelta(days=40))
            bench.person(task).always(given_.get(answer, late if answer == "late" else None))
        bad: dict[str, list[Any]] = {
            "calm": [],
            "lost": [Lost(), Lost()],
            "away": [ConnectionError("away")] * 3,
            "refused": [None, EffectRefused("no such address")],
            "slow": [Late(None, timedelta(seconds=20))] * 2,
        }
        bench.effect("letters.send").answers(*bad[weather])
        bench.effect("letters.recall").answers(Lost(), OSError("not now"))
        if crash:
            bench.crash_at(crash)
        case = bench.start(Letter(to="ann", cents=cents))
        bench.advance(hours=hours, minutes=minutes)
        if case.status not in ("done", "killed"):
            case.kill(who="ops@on_call", reason="enough")
            bench.run()
            assert case.status == "killed"
            assert "send.intent" not in case.fired[case.fired.index("stop") :]
        sends, recalls = (bench.effect(f"letters.{what}").performed for what in ("send", "recall"))
        if case.detail.case.outcome_place == "done":
            assert (len(sends), len(recalls)) == (2, 0)
        else:
            assert len(recalls) == len(sends)


@pytest.mark.parametrize("point", ["decision", "timer-due", "before-commit", "after-effect"])
def test_a_crash_changes_no_decision(point: str) -> None:
    with Bench(Shape().build()) as bench:
        bench.person("large.counsel").always("approve")
        bench.person("approve").always("approve")
        bench.crash_at(point)
        case = bench.start(Letter(to="ann", cents=900))
        bench.run()
        case.assert_ended("done")
        case.assert_performed("letters.send", times=2)
        decided = [
            t for t in case.fired if t.split(".")[-1] in ("approve", "deny", "handed over", "no answer")
        ]
        assert decided == ["large.desk.handed over", "large.counsel.approve", "approve.approve"]


@dataclass(frozen=True)
class Asked:
    """A peer whose effect cannot be undone, behind an approval."""

    at: Slot
    on: OversightHandle
    scope: Any

    def expand(self, net: NetBuilder) -> None:
        agreed = net.place(f"{self.at.id}.agreed", Letter)
        net.add(
            Approval(
                f"{self.at.id}.ask",
                on=self.on,
                takes=self.at.takes,
                approve=agreed,
                deny=self.at.failed,
                who="lead",
                within=DAY,
                before=["letters.post"],
            )
        )
        net.add(posting(replace(self.at, takes=agreed), "post", self.scope, irreversible=True))


def posting(at: Slot, what: str, scope: Any, **more: Any) -> Contract:
    return Contract(
        at.id,
        takes=at.takes,
        gives=at.gives,
        otherwise=at.failed,
        on_failure=at.failed,
        saga=scope,
        verify=within(Letter, lambda it: it.cents <= 100, name="letters v1"),
        commit=Effect(f"letters.{what}", _unreached, payload=Letter, tries=None),
        **more,
    )


def test_planes_and_scatter_gather_compose() -> None:
    net = NetBuilder("both")
    due, done, off = net.entry("due", Letter), net.final("done", Ended), net.final("off", Ended)
    scope = net.add(Saga("case", outcome=Ended, completes=done, aborts=off))
    desk = net.add(Oversight("oversight", policy="oversight v3"))
    undo = Effect("letters.recall", _unreached, payload=Letter)
    peers = [
        Peer("mail", Letter, lambda at: posting(at, "mail", scope, undo=undo), within=2 * DAY),
        Peer("post", Letter, lambda at: Asked(at, desk, scope), within=2 * DAY),
    ]
    net.add(
        ScatterGather(
            "write",
            takes=due,
            scope=scope,
            peers=peers,
            merge=lambda inputs: make(Ended, to=inputs.to, why="sent"),
            fails=lambda inputs, why: make(Ended, to=inputs.to, why=why),
        )
    )
    net.add(KillSwitch("stop", on=desk, scope=scope, outcome=Ended(to="", why="killed")))
    net.require("SAGA", "CTL", "STATE")
    with Bench(net) as bench:
        sent, unsent = bench.start(Letter(to="ann", cents=9)), bench.start(Letter(to="bob", cents=9))
        sent.run_until("write.post.ask")
        sent.approve("lea@lead")
        bench.run()
        assert sent.outcome == Ended(to="ann", why="sent")
        assert unsent.outcome == Ended(to="bob", why="post: failed")
        assert trail(unsent) == ("approval", "no answer", "", "")
        for effect, times in (("letters.mail", 1), ("letters.post", 0), ("letters.recall", 1)):
            unsent.assert_performed(effect, times=times)
        sent.assert_performed("letters.post", times=1)


# mistakes


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"within": timedelta(0)}, "leaves nobody time"),
        ({"fallback": ("boss", DAY)}, "deadline leaves nobody time to answer"),
        ({"who": ""}, "names no role"),
    ],
)
def test_an_approval_that_cannot_be_given_is_refused(given_: dict[str, Any], said: str) -> None:
    net = NetBuilder("mistakes")
    due, yes, no = net.entry("due", Letter), net.final("yes", Letter), net.final("no", Letter)
    desk = net.add(Oversight("oversight", policy="v1"))
    parts: dict[str, Any] = {"who": "lead", "within": DAY}
    net.add(Approval("ask", on=desk, takes=due, approve=yes, deny=no, **parts | given_))
    with pytest.raises(NetError, match=said) as caught:
        net.build()
    assert "PN140" in str(caught.value)


def test_what_makes_no_sense_is_refused() -> None:
    net = NetBuilder("mistakes")
    due, end = net.entry("due", Letter), net.final("end", Letter)
    desk = net.add(Oversight("oversight", policy="v1"))
    twice = [Level("lead", DAY), Level("lead", DAY)]
    net.add(Escalation("nobody", on=desk, takes=due, resumes=end, ends=end, levels=[]))
    net.add(Escalation("twice", on=desk, takes=due, resumes=end, ends=end, levels=twice))
    net.add(RateLimit("none", on=desk, takes=due, gives=end, most=0, per=DAY))
    net.add(RateLimit("no time", on=desk, takes=due, gives=end, most=1, per=0 * DAY))
    with pytest.raises(NetError) as caught:
        net.build()
    said = str(caught.value)
    assert said.count("PN141") == 4
    assert said.count("roles of their own") == 2
    assert "most is 0" in said
    assert "its window is over at once" in said


def test_a_policy_has_a_name() -> None:
    net = NetBuilder("mistakes")
    net.final("end")
    net.add(Oversight("oversight", policy=""))
    with pytest.raises(NetError, match="PN140"):
        net.build()

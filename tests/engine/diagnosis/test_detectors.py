"""The twelve detectors: each finds its failure, none finds anything else, in runs of the real engine."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest

from provenet.engine.diagnosis.detectors import all_detectors
from provenet.engine.diagnosis.detectors.delegation import Dominance
from provenet.engine.diagnosis.detectors.supervision import most_by_chance
from provenet.engine.diagnosis.diagnose import Diagnosis, diagnose
from provenet.engine.diagnosis.intervals import at_least, more_often
from provenet.engine.diagnosis.signatures import (
    ALPHA,
    MISSED,
    ODD_VOTES,
    SELDOM,
    SIGNATURES,
    TRANSIENT,
    significant,
)
from provenet.engine.keys import Keys
from provenet.engine.testing import Bench, Late
from provenet.nets.build import NetBuilder
from provenet.nets.expr.build import make
from provenet.nets.models import Personal, Token
from provenet.nets.net import PatternInfo, Perform, Role, Signal
from provenet.nets.patterns.delegation import Child, Delegation, by_priority
from provenet.sdb.contract import Contract
from provenet.sdb.handlers import Agent, Effect, Proposal, Request
from provenet.sdb.human import Human
from provenet.sdb.policy import within
from provenet.sdb.proposers import function
from provenet.sdb.saga import KILL_SIGNAL, Saga
from tests.docs.pages import ROOT
from tests.engine.diagnosis.healthy import Note, log, running, supervised, tickets
from tests.engine.diagnosis.matrix import counted, detectors_table, diagnosed, matrix_table, runs, written
from tests.engine.diagnosis.seeded import ANY, SEEDS, Score, Task, agent_of, asks, book, changed, nobody
from tests.engine.orders import dice

FOUND: dict[str, Diagnosis] = {}


def found_in(name: str) -> Diagnosis:
    """What is found in a run; each is made once."""
    if name not in FOUND:
        FOUND[name] = diagnosed(name)
    return FOUND[name]


@pytest.mark.parametrize("name", runs())
def test_a_failure_is_found_by_its_detector_and_by_no_other(name: str) -> None:
    found = found_in(name)
    kind, _, of = name.partition(" ")
    assert [f.detector for f in found.findings] == ([of] if kind == "seeded" else [])
    assert not found.skipped
    assert found.cases


def test_the_page_has_the_matrix() -> None:
    assert written("matrix") == matrix_table({name: counted(found_in(name)) for name in runs()})


def test_the_page_has_the_detectors() -> None:
    assert written("detectors") == detectors_table()


def test_all_twelve_are_there_and_say_what_they_find() -> None:
    assert [d.signature.id for d in all_detectors()] == list(SIGNATURES) == list(SEEDS)
    for name in SEEDS:
        (finding,) = found_in(f"seeded {name}").findings
        signature = SIGNATURES[finding.detector]
        assert (finding.weakness, finding.correction) == (signature.weakness, signature.correction)
        assert finding.evidence
        assert all(e.entries and e.says for e in finding.evidence)
        assert finding.to_json()["numbers"] == dict(finding.numbers)


# P1


def judged(path: Path, net: NetBuilder, merge: Callable[[Request], Any], cases: int = 40) -> Diagnosis:
    """A run in which a model merges what two children said."""
    with Bench(agent_of(net), database=path) as bench:
        bench.proposer("team.churn").always(lambda r: Score(score=dice("churn", r.payload.id)))
        bench.proposer("team.usage").always(lambda r: Score(score=dice("usage", r.payload.id)))
        bench.proposer("merge").always(merge)
        for n in range(cases):
            bench.start(Task(id=n))
        bench.run()
    return diagnose(path)


def team(churn: int, usage: int) -> NetBuilder:
    """Two children with declared weights, and a contract that merges what they said."""
    net = NetBuilder("weighted team")
    task, lost = net.entry("task", Task), net.place("lost", Task)
    todo = {name: net.place(f"{name} todo", Task) for name in ("churn", "usage")}
    said = {name: net.place(f"{name} said", Score) for name in ("churn", "usage")}
    merged, gone = net.final("merged", Score), net.final("gone")
    net.route("fork", takes={"t": task}, puts=dict.fromkeys(todo.values(), "t"))
    for name in ("churn", "usage"):
        asks(net, f"team.{name}", todo[name], said[name], lost, escalate="inputs")
    net.route("drop", takes={"t": lost}, puts={gone: None})
    asks(net, "merge", said, merged, gone)
    weights = (("weight of churn", churn), ("weight of usage", usage))
    net.declare(PatternInfo("delegation", "team", (("child", ("team.churn", "team.usage")),), weights))
    return net


def by_weights(churn: int, usage: int, noise: int = 0) -> Callable[[Request], Score]:
    """A model that keeps to some weights, more or less."""

    def merge(request: Request) -> Score:
        both = request.payload
        mean = (both.churn.score * churn + both.usage.score * usage) // (churn + usage)
        return Score(score=max(0, mean + (dice(request.case) % (2 * noise + 1) - noise if noise else 0)))

    return merge


def test_a_model_that_keeps_the_declared_weights_is_no_dominance(tmp_path: Path) -> None:
    assert not judged(tmp_path / "run.db", team(4, 1), by_weights(4, 1)).findings
    assert not judged(tmp_path / "noisy.db", team(4, 1), by_weights(4, 1, noise=15)).findings


def test_a_model_that_turns_the_declared_weights_round_is(tmp_path: Path) -> None:
    (finding,) = judged(tmp_path / "run.db", team(4, 1), by_weights(1, 4)).findings
    assert finding.detector == "P1a"
    assert "'team.usage'" in finding.symptom
    assert dict(finding.numbers)["weight"] == pytest.approx(0.2)


def test_a_deterministic_merge_by_priority_is_no_dominance(tmp_path: Path) -> None:
    """The first child is always heard: that is declared, and no model's doing, also where one repeats it."""
    net = NetBuilder("by priority")
    task, merged = net.entry("task", Task), net.place("merged", Score)
    done, gone = net.final("done", Score), net.final("gone")

    def part(at: Any) -> Contract:
        more: dict[str, Any] = {"propose": function(nobody), "returns": Score, "verify": ANY, "attempts": 1}
        return Contract(at.id, takes=at.takes, gives=at.gives, otherwise=at.failed, escalate="inputs", **more)

    children = [Child(name, gives=Score, work=part, within=timedelta(hours=1)) for name in ("churn", "usage")]
    merge = lambda inputs, churn, usage: by_priority(churn, usage).or_else(make(Score, score=0))  # noqa: E731
    net.add(Delegation("team", takes=task, gives=merged, children=children, merge=merge))
    asks(net, "merge", merged, done, gone)
    agent = changed(agent_of(net), lambda net: net)
    path = tmp_path / "run.db"
    with Bench(agent, database=path) as bench:
        bench.proposer("team.churn").always(lambda r: Score(score=dice("churn", r.payload.id)))
        bench.proposer("team.usage").always(lambda r: Score(score=dice("usage", r.payload.id)))
        bench.proposer("merge").always(lambda r: Score(score=r.payload.score))
        for n in range(20):
            bench.start(Task(id=n))
        bench.run()
    assert not diagnose(path).findings


# P2


def two_bookings() -> Agent:
    """A flight and a hotel in one scope; then it rains."""
    net = NetBuilder("trip")
    task, half, refused = net.entry("task", Task), net.place("half", Task), net.place("refused", Task)
    booked, aborted, done = net.place("booked", Task), net.final("aborted", Task), net.final("done", Task)
    scope = net.add(Saga("trip", outcome=Task, completes=done, aborts=aborted))
    book(net, "flight", task, half, scope, otherwise=refused)
    book(net, "hotel", half, booked, scope, otherwise=refused)
    scope.abort(net, "rained off", takes={"b": booked}, outcome="b")
    scope.abort(net, "not booked", takes={"b": refused}, outcome="b")
    return changed(agent_of(net), lambda net: net)


def test_a_step_that_is_never_undone_is_left(tmp_path: Path) -> None:
    """The scope is made to pass over the hotel, and its undo token to stay."""
    agent = two_bookings()
    unwind = agent.net.transition("hotel.unwind")
    lower = replace(agent.net.transition("hotel.discharge").puts[0], place="trip.aborting")
    scope = tuple(t for t in unwind.takes if t.place == "trip.aborting")
    over = replace(unwind, takes=scope, guard=None, puts=(lower,))
    net = agent.net
    kept = tuple(over if t.name == "hotel.unwind" else t for t in net.transitions)
    changed_net = replace(net, transitions=kept, resting=(*net.resting, "hotel.undo", "flight.undo"))
    path = tmp_path / "run.db"
    with Bench(Agent(changed_net, agent.handlers), database=path) as bench:
        bench.start(Task(id=1))
        bench.run()
    (finding,) = diagnose(path).findings
    assert finding.detector == "P2b"
    assert dict(finding.numbers)["left"] >= 1


def test_a_step_that_is_undone_twice(tmp_path: Path) -> None:
    """The token that tells what to undo is put back when it was undone."""
    net = NetBuilder("undone twice")
    task, booked = net.entry("task", Task), net.place("booked", Task)
    undo, again, done = net.place("undo", Task), net.place("again", Task), net.final("done", Task)
    any_task = within(Task, lambda it: it.id >= 0, name="any task")
    hotel, back = (Effect(name, nobody, payload=Task) for name in ("hotel", "hotel.back"))
    net.add(Contract("hotel", takes=task, gives=booked, otherwise=done, verify=any_task, commit=hotel))
    cancel: dict[str, Any] = {"role": Role.ABORT, "takes": {"t": booked}, "puts": {undo: "t"}}
    net.transition("rained off", **cancel)
    for name, takes, gives in (("first", undo, again), ("second", again, done)):
        net.transition(
            f"hotel.{name}",
            role=Role.COMPENSATE,
            contract="hotel",
            takes={"t": takes},
            puts={gives: "t"},
            trigger=Perform(net.handle(back.name, back)),
        )
    path = tmp_path / "run.db"
    with Bench(agent_of(net), database=path) as bench:
        bench.start(Task(id=1))
        bench.run()
    (finding,) = diagnose(path).findings
    assert (finding.detector, dict(finding.numbers)) == ("P2b", {"undone_twice": 1})


def test_slow_on_both_ways_is_no_coarse_action(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    with Bench(two_bookings(), database=path) as bench:
        for effect in ("flight", "hotel", "flight.undo", "hotel.undo"):
            bench.effect(effect).always(Late(None, after=timedelta(seconds=25)))
        for n in range(12):
            bench.start(Task(id=n))
        bench.run()
    assert not diagnose(path).findings


# P3


def classified(path: Path, answer: Callable[[Request, int], Proposal], **pattern: Any) -> Diagnosis:
    """The same twelve inputs, four times."""
    net = NetBuilder("events through a model")
    event, said, gone = net.entry("event", Task), net.final("said", Score), net.final("gone")
    asks(net, "classify", event, said, gone)
    if pattern:
        net.declare(PatternInfo(pattern["kind"], "it"))
    with Bench(agent_of(net), database=path) as bench:
        for turn in range(4):
            bench.proposer("classify").always(lambda r, turn=turn: answer(r, turn))
            for n in range(12):
                bench.start(Task(id=n), case_id=f"{turn}-{n}")
            bench.run()
    return diagnose(path)


def test_a_model_that_answers_now_this_now_that_is_no_divergence(tmp_path: Path) -> None:
    def moody(request: Request, turn: int) -> Proposal:
        return Proposal((dice(request.payload.id, turn),), model=f"m-{turn // 3}")

    assert not classified(tmp_path / "run.db", moody).findings


def test_another_prompt_is_another_version(tmp_path: Path) -> None:
    def other_prompt(request: Request, turn: int) -> Proposal:
        new = turn == 3
        return Proposal(
            (dice(request.payload.id) + new,), model="m", prompt_hash=("cd" if new else "ab") * 32
        )

    (finding,) = classified(tmp_path / "run.db", other_prompt).findings
    assert finding.detector == "P3a"


def test_a_row_is_the_truth_of_a_state_machine(tmp_path: Path) -> None:
    def new_model(request: Request, turn: int) -> Proposal:
        return Proposal((dice(request.payload.id) + (turn == 3),), model=f"m-{turn == 3}")

    assert [f.detector for f in classified(tmp_path / "a.db", new_model).findings] == ["P3a"]
    assert not classified(tmp_path / "b.db", new_model, kind="state machine").findings


# P4


@pytest.mark.parametrize("chains", [1, 10, 1_000, 1_000_000])
def test_chance_makes_no_chain_as_long_as_one_that_is_told(chains: int) -> None:
    most = most_by_chance(chains)
    assert chains * TRANSIENT ** (most + 1) < ALPHA
    assert chains * TRANSIENT**most >= ALPHA
    assert most >= 6


# P6


def test_a_switch_for_the_whole_net_counts_for_cases_that_never_heard_of_it(tmp_path: Path) -> None:
    """As it would be in a log of workers that look at the switch once: the pull is there, no case has it.

    The engine reaches every case, so the row of the pull is written by hand, as an import would.
    """
    path = tmp_path / "run.db"
    net = NetBuilder("looked once")
    task, due, paid = net.entry("task", Task), net.place("due", Task), net.final("paid", Task)
    net.timer("wait", after=timedelta(days=2), takes={"t": task}, puts={due: "t"})
    any_task = within(Task, lambda it: it.id >= 0, name="any task")
    pay = Effect("bank.pay", nobody, payload=Task)
    net.add(Contract("pay", takes=due, gives=paid, otherwise=task, verify=any_task, commit=pay))
    with Bench(agent_of(net), database=path) as bench:
        bench.start(Task(id=1))
        at = int(bench.now.timestamp() * 1e6)
        bench.run()
    assert not diagnose(path).findings
    with closing(sqlite3.connect(path)) as db, db:
        row = "INSERT INTO provenet_kill (scope, target, who, reason, at) VALUES (?, ?, ?, ?, ?)"
        db.execute(row, ("net", "looked once", "director", "wrong prices", at + 3_600_000_000))
    (finding,) = diagnose(path).findings
    assert (finding.detector, dict(finding.numbers)["commits"]) == ("P6b", 1)


def test_an_effect_that_had_begun_may_end_after_the_switch(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    net = NetBuilder("in flight")
    task, paid = net.entry("task", Task), net.final("paid", Task)
    armed, noted = net.place("armed", initial=[()]), net.place("noted")
    net.rests(armed, noted)
    any_task = within(Task, lambda it: it.id >= 0, name="any task")
    pay = Effect("bank.pay", nobody, payload=Task)
    net.add(Contract("pay", takes=task, gives=paid, otherwise=task, verify=any_task, commit=pay))
    kill: dict[str, Any] = {"role": Role.KILL, "trigger": Signal(KILL_SIGNAL), "takes": {"_a": armed}}
    net.transition("note the kill", puts={noted: None}, **kill)
    with Bench(agent_of(net), database=path) as bench:
        bench.effect("bank.pay").always(Late(None, after=timedelta(seconds=20)))
        case = bench.start(Task(id=1))
        bench.advance(timedelta(seconds=10))
        case.kill(who="director", reason="wrong prices")
        bench.run()
        case.assert_performed("bank.pay", times=1)
    assert not diagnose(path).findings


@pytest.mark.parametrize(
    ("missed", "of", "overloaded"), [(5, 5, True), (4, 4, False), (9, 24, False), (16, 30, True)]
)
def test_deadlines_missed_now_and_then_are_no_overload(
    tmp_path: Path, missed: int, of: int, overloaded: bool
) -> None:
    path = tmp_path / "run.db"
    net = NetBuilder("approvals")
    task, yes, no = net.entry("task", Task), net.final("yes", Task), net.final("no", Task)
    net.add(Human("approve", takes=task, approve=yes, deny=no, who="lead", within=timedelta(days=1)))
    with Bench(agent_of(net), database=path) as bench:
        for n in range(of):
            case = bench.start(Task(id=n))
            if n >= missed:
                bench.person("approve").answers("approve", case=case.id)
        bench.run()
    assert [f.detector for f in diagnose(path).findings] == (["P6a"] if overloaded else [])


# the whole


def test_a_case_whose_log_does_not_replay_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    SEEDS["P6a"](path, "seeded")
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE provenet_event SET data = '{' WHERE case_no = 1 AND seq = 2")
    found = diagnose(path)
    assert [case for case, _ in found.skipped] == ["case-1"]
    assert [f.detector for f in found.findings] == ["P6a"]
    assert found.cases == 20


def test_only_the_cases_of_one_net(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    SEEDS["P6a"](path, "seeded")
    assert diagnose(path, net="approvals").cases == 20
    assert diagnose(path, net="another").cases == 0


def test_one_detector_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    SEEDS["P6a"](path, "seeded")
    assert not diagnose(path, detectors=[Dominance()]).findings


# nets that say by which patterns they were built


def contended(path: Path, conflicts: int) -> Diagnosis:
    """A worker on a declared state machine, and somebody who moves the row under it."""
    with Bench(running(tickets(conflicts), "tickets"), database=path) as bench:
        bench.proposer("ticket.worker").always(Late(Note(text="done"), after=timedelta(seconds=50)))
        cases = [bench.start(Note(text=f"{n}")) for n in range(3)]
        for _ in range(min(conflicts, 6)):
            bench.advance(timedelta(seconds=40))
            for case in cases:
                case.signal("comment", Note(text="and another thing"))
        bench.run()
    return diagnose(path)


def test_conflicts_of_a_declared_machine_are_counted_by_its_tickets(tmp_path: Path) -> None:
    (finding,) = contended(tmp_path / "run.db", conflicts=9).findings
    assert (finding.detector, finding.about) == ("P5a", "ticket")
    assert dict(finding.numbers)["worst"] > 3
    assert not contended(tmp_path / "few.db", conflicts=3).findings


@pytest.mark.parametrize(("restarts", "found"), [(5, []), (15, ["P4a"])])
def test_a_declared_supervisor_that_restarts_without_end(
    tmp_path: Path, restarts: int, found: list[str]
) -> None:
    path = tmp_path / "run.db"
    with Bench(running(supervised(restarts), "supervised"), database=path) as bench:
        bench.proposer("job.worker").always(MemoryError("out of memory"))
        bench.start(Note(text="1"))
        bench.run()
    assert [f.detector for f in diagnose(path).findings] == found


def test_a_worker_that_says_nothing_is_seen_by_its_supervisor(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    with Bench(running(supervised(12), "supervised"), database=path) as bench:
        bench.proposer("job.worker").always(Late(Note(text="late"), after=timedelta(minutes=20)))
        bench.start(Note(text="1"))
        bench.run()
    (finding,) = diagnose(path).findings
    assert finding.detector == "P4a"


def test_a_declared_log_that_takes_an_older_number(tmp_path: Path) -> None:
    """The pattern's promise is taken out of the net's data: then an event may be older than the last one."""
    made = running(log(), "log")
    path = tmp_path / "run.db"
    kept = tuple(replace(t, ensures=None) for t in made.net.transitions)
    loose = Agent(replace(made.net, transitions=kept), made.handlers)
    with Bench(loose, database=path) as bench:
        bench.proposer("log.reader").always(Note(text="read"))
        case = bench.start(Note(text="log"))
        for number in (1, 4, 3):
            said = {"id": f"{number}", "number": number, "version": 1, "model": "", "prompt": ""}
            case.signal("note", said | {"payload": Note(text="x")}, key=f"{number}")
            bench.advance(minutes=1)
    (finding,) = diagnose(path).findings
    assert (finding.detector, finding.about, dict(finding.numbers)["older"]) == ("P3b", "note", 1)


@pytest.mark.parametrize("name", ["P2b", "P3b", "P6b"])
def test_a_log_in_postgresql_says_the_same(postgres: str, name: str) -> None:
    SEEDS[name](postgres, "seeded")
    assert [f.detector for f in diagnose(postgres).findings] == [name]


def test_a_deadline_for_the_whole_case_overrules_nobody(tmp_path: Path) -> None:
    """A person lets something in; the time for all of it is up all the same, and that is meant."""
    net = NetBuilder("whole case")
    task, asked, waits = net.entry("task", Task), net.place("asked", Task), net.place("waits", Task)
    clock, no, over = net.place("clock"), net.final("no", Task), net.final("over", Task)
    net.rests(clock)
    net.route("begin", takes={"t": task}, puts={asked: "t", clock: None})
    net.add(Human("let in", takes=asked, approve=waits, deny=no, who="lead", within=timedelta(days=9)))
    net.timer("end", after=timedelta(days=30), takes={"_clock": clock, "t": waits}, puts={over: "t"})
    path = tmp_path / "run.db"
    with Bench(agent_of(net), database=path) as bench:
        bench.person("let in").always(Late("approve", after=timedelta(days=2)))
        bench.start(Task(id=1))
        bench.run()
    assert not diagnose(path).findings


# personal values, and how few can tell


class Person(Token):
    name: Annotated[str, Personal]


@pytest.mark.parametrize("keys", ["at hand", "away"])
def test_personal_values_are_compared_where_they_can_be_read(
    tmp_path: Path, keys: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    master = Keys.generate()
    monkeypatch.setattr(Keys, "from_env", staticmethod(lambda: master))
    path = tmp_path / "run.db"
    net = NetBuilder("people through a model")
    person, said, gone = net.entry("person", Person), net.final("said", Score), net.final("gone")
    asks(net, "classify", person, said, gone)
    with Bench(agent_of(net), database=path) as bench:
        for turn in range(4):
            score, model = (7, "m-2") if turn == 3 else (3, "m-1")
            bench.proposer("classify").always(Proposal((score,), model=model, prompt_hash="ab" * 32))
            for n in range(10):
                bench.start(Person(name=f"Anna {n}"), case_id=f"{turn}-{n}")
            bench.run()
    monkeypatch.setattr(Keys, "from_env", staticmethod(lambda: master if keys == "at hand" else None))
    found = diagnose(path)
    assert (found.cases, found.skipped) == (40, ())
    assert [f.detector for f in found.findings] == (["P3a"] if keys == "at hand" else [])
    assert "Anna" not in str([f.to_json() for f in found.findings])


def fewest(share: float) -> int:
    """How few tell, where all of them are over the limit."""
    return next(n for n in range(1, 100) if significant(at_least(n, n, share), 1))


def test_the_page_says_how_few_can_tell() -> None:
    coins, gates = fewest(0.5), fewest(SELDOM)
    repeats = next(n for n in range(1, 100) if significant(more_often(n, n, 0, n), 1))
    page = " ".join((ROOT / "docs" / "diagnosis.md").read_text(encoding="utf-8").split())
    assert (
        f"{coins} merges (P1a) and {coins} compensations (P2a), "
        f"{repeats} inputs and {repeats} repetitions (P3a), "
        f"{most_by_chance(1) + 1} restarts (P4a), {gates} verdicts (P4b), {gates} pieces of work (P5a), "
        f"{fewest(MISSED)} decisions (P6a)"
    ) in page


@pytest.mark.parametrize("share", [0.5, ODD_VOTES, SELDOM, MISSED])
def test_chance_alone_is_hardly_ever_told(share: float) -> None:
    """Whatever the size: the counts that are told are those that chance makes less often than it may."""
    for n in range(1, 400, 7):
        told = [k for k in range(n + 1) if significant(at_least(k, n, share), 1)]
        assert not told or at_least(told[0], n, share) < ALPHA
        assert told == list(range(told[0], n + 1)) if told else True


@pytest.mark.parametrize(("n", "among"), [(7, 7), (12, 5), (4, 30)])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.9])
def test_two_versions_that_are_alike_are_hardly_ever_told_apart(n: int, among: int, share: float) -> None:
    """Fisher's test, summed over all that two versions with one share of odd answers can show."""
    told = math.fsum(
        math.comb(n, k) * math.comb(among, c) * share ** (k + c) * (1 - share) ** (n + among - k - c)
        for k in range(n + 1)
        for c in range(among + 1)
        if significant(more_often(k, n, c, among), 1)
    )
    assert told < ALPHA


def test_who_has_heard_the_other_one_may_have_the_last_word(tmp_path: Path) -> None:
    """A draft, its review, and a contract that is given both and does as the review says: no peers."""
    net = NetBuilder("reviewed")
    task, gone = net.entry("task", Task), net.final("gone")
    drafted, kept = net.place("drafted", Score), net.place("kept", Score)
    seen, reviewed = net.place("to review", Score), net.place("reviewed", Score)
    done = net.final("done", Score)
    asks(net, "draft", task, drafted, gone)
    net.route("copy", takes={"s": drafted}, puts={seen: "s", kept: "s"})
    asks(net, "review", seen, reviewed, gone)
    asks(net, "merge", {"a": kept, "b": reviewed}, done, gone)
    path = tmp_path / "run.db"
    with Bench(agent_of(net), database=path) as bench:
        bench.proposer("draft").always(lambda r: Score(score=dice("draft", r.payload.id)))
        bench.proposer("review").always(lambda r: Score(score=dice("review", r.payload.score)))
        bench.proposer("merge").always(lambda r: Score(score=r.payload.b.score))
        for n in range(20):
            bench.start(Task(id=n))
        bench.run()
    assert not diagnose(path).findings

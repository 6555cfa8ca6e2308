"""Runs on the real engine, each with one failure seeded, and each with the same agent corrected.

Every function runs its agent in a database, with proposers, services and people that are scripted. Where a
proof or the engine makes a failure impossible in a net of ours, the net is written by hand, or its data are
changed, and it requires no property that would refuse it: that is said where it is done.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from provenet.engine import Engine
from provenet.engine.testing import Bench, Late
from provenet.nets.build import NetBuilder
from provenet.nets.expr.build import make
from provenet.nets.models import Token
from provenet.nets.net import Net, Role, Signal
from provenet.sdb.contract import Contract
from provenet.sdb.handlers import Agent, Effect, Proposal, Request
from provenet.sdb.human import Human
from provenet.sdb.policy import within
from provenet.sdb.proposers import function
from provenet.sdb.saga import KILL_SIGNAL, Saga
from tests.engine.orders import dice, proofs

Way = Literal["seeded", "corrected"]


class Task(Token):
    id: int


class Score(Token):
    score: int


class Tried(Token):
    id: int
    left: int


class Event(Token):
    id: int
    value: int


class Row(Token):
    state: str
    version: int
    value: int


class Answer(Token):
    value: int


class Stamped(Token):
    version: int
    value: int


class Clock(Token):
    version: int


ANY = within(Score, lambda it: it.score >= 0, name="any score")


def nobody(request: Request) -> Any:
    """Stands for a proposer or an effect that a script takes the place of."""
    raise AssertionError(f"not scripted: {request.case}")


def asks(net: NetBuilder, name: str, takes: Any, gives: Any, fails: Any, **more: Any) -> None:
    """A contract that proposes a score and writes nothing."""
    parts: dict[str, Any] = {"returns": Score, "verify": ANY, "attempts": 1, **more}
    net.add(Contract(name, takes=takes, gives=gives, otherwise=fails, propose=function(nobody), **parts))


def agent_of(net: NetBuilder) -> Agent:
    """The agent, with a requirement that is easy to prove: the deploy gate has something to look at."""
    net.require("DATA-2")
    return Agent.of(net)


def changed(agent: Agent, change: Callable[[Net], Net]) -> Agent:
    """The agent with its net's data changed, and without what that would break."""
    return Agent(change(replace(agent.net, requirements=agent.net.requirements[-1:])), agent.handlers)


def p1a(path: Path | str, way: Way) -> None:
    """Two children, one voice: the model that merges repeats what the first of them says."""
    net = NetBuilder("merged scores")
    task, lost = net.entry("task", Task), net.place("lost", Task)
    mine, yours = net.place("churn todo", Task), net.place("usage todo", Task)
    churn, usage = net.place("churn said", Score), net.place("usage said", Score)
    merged, gone = net.final("merged", Score), net.final("gone")
    net.route("fork", takes={"t": task}, puts={mine: "t", yours: "t"})
    asks(net, "churn", mine, churn, lost, escalate="inputs")
    asks(net, "usage", yours, usage, lost, escalate="inputs")
    net.route("drop", takes={"t": lost}, puts={gone: None})
    both = {"a": churn, "b": usage}
    if way == "seeded":
        asks(net, "merge", both, merged, gone)
    else:
        net.route(
            "merge", takes=both, puts={merged: lambda a, b: make(Score, score=(a.score + b.score) // 2)}
        )
    with Bench(agent_of(net), database=path) as bench:
        bench.proposer("churn").always(lambda r: Score(score=dice("churn", r.payload.id)))
        bench.proposer("usage").always(lambda r: Score(score=dice("usage", r.payload.id)))
        if way == "seeded":
            bench.proposer("merge").always(lambda r: Score(score=r.payload.a.score))
        for n in range(30):
            bench.start(Task(id=n))
        bench.run()


def p1b(path: Path | str, way: Way) -> None:
    """A child that asks three times, below a parent that asks the child three times."""
    net = NetBuilder("nested retries")
    task, failed = net.entry("task", Tried, where=lambda it: it.left == 2), net.place("failed", Tried)
    todo, said = net.place("todo", Tried), net.place("said", Score)
    done, gone = net.final("done"), net.final("gone")
    net.route("begin", takes={"t": task}, puts={todo: "t"})
    asks(net, "child", todo, said, failed, attempts=3 if way == "seeded" else 1, escalate="inputs")
    again = lambda t: t.with_(left=t.left - 1)  # noqa: E731
    net.route("again", takes={"t": failed}, when=lambda t: t.left > 0, puts={todo: again})
    net.route("give up", takes={"t": failed}, when=lambda t: t.left <= 0, puts={gone: None})
    net.route("end", takes={"s": said}, puts={done: None})
    with Bench(agent_of(net), database=path) as bench:
        bench.proposer("child").always(ConnectionError("no model today"))
        for n in range(4):
            bench.start(Tried(id=n, left=2))
        bench.run()


def p2a(path: Path | str, way: Way) -> None:
    """Booked in a second, and twenty until it is taken back."""
    net = NetBuilder("coarse action")
    task, booked = net.entry("task", Task), net.place("booked", Task)
    refused, done = net.place("refused", Task), net.final("done", Task)
    aborted = net.final("aborted", Task)
    scope = net.add(Saga("trip", outcome=Task, completes=done, aborts=aborted))
    book(net, "book", task, booked, scope, otherwise=refused)
    scope.abort(net, "rained off", takes={"b": booked}, outcome="b")
    scope.abort(net, "not booked", takes={"b": refused}, outcome="b")
    with Bench(agent_of(net), database=path) as bench:
        slow = timedelta(seconds=20 if way == "seeded" else 1)
        bench.effect("book").always(Late(None, after=timedelta(seconds=1)))
        bench.effect("book.undo").always(Late(None, after=slow))
        for n in range(15):
            bench.start(Task(id=n))
        bench.run()


def book(net: NetBuilder, name: str, takes: Any, gives: Any, scope: Saga | Any, **more: Any) -> None:
    """A step with an effect and what undoes it; nobody proposes anything."""
    effect, undo = Effect(name, nobody, payload=Task), Effect(f"{name}.undo", nobody, payload=Task)
    any_task = within(Task, lambda it: it.id >= 0, name="any task")
    more = {"verify": any_task, "commit": effect, "undo": undo, "saga": scope} | more
    net.add(Contract(name, takes=takes, gives=gives, **more))


def p2b(path: Path | str, way: Way) -> None:
    """The flight is given back before the hotel that was booked after it.

    Of a saga scope this is proved impossible: the guard that picks the latest step is taken out of its data.
    """
    net = NetBuilder("undone out of order")
    task, half, refused = net.entry("task", Task), net.place("half", Task), net.place("refused", Task)
    booked, aborted, done = net.place("booked", Task), net.final("aborted", Task), net.final("done", Task)
    scope = net.add(Saga("trip", outcome=Task, completes=done, aborts=aborted))
    book(net, "flight", task, half, scope, otherwise=refused)
    book(net, "hotel", half, booked, scope, otherwise=refused)
    scope.abort(net, "rained off", takes={"b": booked}, outcome="b")
    scope.abort(net, "not booked", takes={"b": refused}, outcome="b")
    agent = agent_of(net)

    def any_step(net: Net) -> Net:
        loose = [replace(t, guard=None) if t.role is Role.UNWIND else t for t in net.transitions]
        return replace(net, transitions=tuple(loose))

    with Bench(changed(agent, any_step) if way == "seeded" else agent, database=path) as bench:
        for n in range(3):
            bench.start(Task(id=n))
        bench.run()


def p3a(path: Path | str, way: Way) -> None:
    """A log that is handed to the next model: other answers to the same events."""
    net = NetBuilder("events through a model")
    event, said = net.entry("event", Event), net.final("said", Score)
    gone = net.final("gone")
    asks(net, "classify", event, said, gone)
    with Bench(agent_of(net), database=path) as bench:

        def answer(request: Request) -> Proposal:
            new = bench.now.day > 1
            changed = new and way == "seeded"
            model = "sorter-2" if new else "sorter-1"
            return Proposal((dice(request.payload.value) + changed,), model=model, prompt_hash="ab" * 32)

        bench.proposer("classify").always(answer)
        for turn in range(4):
            for n in range(10):
                bench.start(Event(id=n, value=n), case_id=f"event-{n}-{turn}")
            if turn == 2:
                bench.run()
                bench.advance(days=1)
        bench.run()


def p3b(path: Path | str, way: Way) -> None:
    """Readings that arrive in another order than they were made, and each replaces the last."""
    net = NetBuilder("readings")
    meter, now = net.entry("meter", Event), net.place("now", Event)
    closed, late = net.final("closed", Event), net.place("late", Event)
    net.rests(late)
    net.route("begin", takes={"e": meter}, puts={now: "e"})
    net.event("reading", event="reading", key="id", brings={"e": Event}, takes={"_old": now}, puts={now: "e"})
    net.event("too late", event="reading.late", key="id", brings={"e": Event}, puts={late: "e"})
    net.timer("close", after=timedelta(days=30), takes={"e": now}, puts={closed: "e"})
    net.ignore("reading")
    net.ignore("reading.late")
    if way == "corrected":
        net.delivery("reading", lateness=timedelta(0), late="reading.late")
    with Bench(agent_of(net), database=path) as bench:
        case = bench.start(Event(id=0, value=0))
        bench.advance(days=1)
        for n, back in enumerate((3, 1, 2), start=1):
            at = bench.now - timedelta(hours=back)
            case.signal("reading", Event(id=n, value=n), key=f"r-{n}", at=at)
        bench.run()


def p4a(path: Path | str, way: Way) -> None:
    """A worker that dies of the same thing each time, and is started again each time."""
    net = NetBuilder("restarted")
    most = 12 if way == "seeded" else 3
    task, failed = net.entry("task", Tried, where=lambda it: it.left == most), net.place("failed", Tried)
    todo, said = net.place("todo", Tried), net.place("said", Score)
    done, gone = net.final("done"), net.final("given to a person")
    net.route("begin", takes={"t": task}, puts={todo: "t"})
    asks(net, "worker", todo, said, failed, escalate="inputs")
    again = lambda t: t.with_(left=t.left - 1)  # noqa: E731
    parts: dict[str, Any] = {"takes": {"t": failed}, "puts": {todo: again}}
    net.timer("restart", after=timedelta(seconds=5), when=lambda t: t.left > 0, **parts)
    net.route("give up", takes={"t": failed}, when=lambda t: t.left <= 0, puts={gone: None})
    net.route("end", takes={"s": said}, puts={done: None})
    with Bench(agent_of(net), database=path) as bench:
        bench.proposer("worker").always(MemoryError("out of memory"))
        bench.start(Tried(id=1, left=most))
        bench.run()


def p4b(path: Path | str, way: Way) -> None:
    """A verifier that takes as long as a model does. The time is real: nobody waits for a gate by a clock."""

    def slow(proposal: Score, inputs: Task) -> bool:
        if way == "seeded":
            time.sleep(0.12)
        return proposal.score >= 0

    net = NetBuilder("slow gate")
    task, said, gone = net.entry("task", Task), net.final("said", Score), net.final("gone")
    net.add(
        Contract(
            "propose",
            takes=task,
            gives=said,
            otherwise=gone,
            propose=function(lambda request: Score(score=request.payload.id)),
            returns=Score,
            verify=slow,
        )
    )
    agent = agent_of(net)

    async def run() -> None:
        async with Engine.open(path, agents=[agent]) as engine:
            engine.deploy(agent, proofs(agent.net))
            await engine.start_cases(net.name, [(f"case-{n}", {"task": Task(id=n)}) for n in range(4)])
            await engine.run_until_idle()

    asyncio.run(run())


def p5a(path: Path | str, way: Way) -> None:
    """One row for all: whoever works on it finds it moved again and again."""
    net = NetBuilder("one row")
    first, row, idle = net.entry("first", Row), net.place("row", Row), net.place("idle", initial=[()])
    todo, answer = net.place("todo", Row), net.place("answer", Stamped)
    lost, closed = net.place("lost", Row), net.final("closed")
    net.rests(row, idle)
    net.route("open", takes={"r": first}, puts={row: "r"})
    worked = {"_idle": idle}
    net.route("look", takes=worked, reads={"r": row}, when=lambda r: r.state == "open", puts={todo: "r"})
    net.add(
        Contract(
            "worker",
            takes=todo,
            gives=answer,
            otherwise=lost,
            escalate="inputs",
            attempts=1,
            propose=function(nobody),
            returns=Answer,
            verify=within(Answer, lambda it: it.value >= 0, name="any answer"),
            emit=lambda inputs, proposal: make(Stamped, version=inputs.version, value=proposal.value),
        )
    )
    both = {"a": answer, "r": row}
    moved = lambda a, r: make(Row, state="done", version=r.version + 1, value=a.value)  # noqa: E731
    net.route("move", takes=both, when=lambda a, r: a.version == r.version, puts={row: moved, closed: None})
    stale: dict[str, Any] = {"takes": {"a": answer}, "reads": {"r": row}, "puts": {todo: "r"}}
    net.route("conflict", when=lambda a, r: a.version != r.version, **stale)
    net.route("no answer", takes={"r": lost}, puts={idle: None})
    add = lambda r: r.with_(version=r.version + 1)  # noqa: E731
    net.event("touch", event="touch", takes={"r": row}, puts={row: add})
    net.ignore("touch")
    with Bench(agent_of(net), database=path) as bench:
        bench.proposer("worker").always(Late(Answer(value=1), after=timedelta(seconds=50)))
        cases = [bench.start(Row(state="open", version=0, value=0)) for _ in range(3)]
        for _ in range(8 if way == "seeded" else 2):
            bench.advance(timedelta(seconds=40))
            for case in cases:
                case.signal("touch")
        bench.run()


def p5b(path: Path | str, way: Way) -> None:
    """A person extends an offer on day 10; the timer of day 0 lets it expire on day 30 all the same.

    A timer is bound to its token, which is gone when somebody moves it: this one has a clock of its own.
    """
    net = NetBuilder("unbound timer")
    first, row = net.entry("first", Row), net.place("row", Row)
    clock, asked = net.place("clock", Clock), net.place("asked")
    expired, closed = net.place("expired", Row), net.final("closed", Row)
    net.rests(clock, asked)
    net.route(
        "offer",
        takes={"r": first},
        puts={row: "r", clock: lambda r: make(Clock, version=r.version), asked: None},
    )
    extended = lambda inputs: inputs.with_(state="extended", version=inputs.version + 1)  # noqa: E731
    net.add(
        Human(
            "extend",
            takes=row,
            approve=row,
            deny=closed,
            who="sales",
            within=timedelta(days=60),
            on_approve=extended,
        )
    )
    both = {"c": clock, "r": row}
    same = lambda c, r: c.version == r.version  # noqa: E731
    guard: dict[str, Any] = {} if way == "seeded" else {"when": same}
    net.timer("expire", after=timedelta(days=30), takes=both, puts={expired: "r"}, **guard)
    net.route("close", takes={"r": expired}, puts={closed: "r"})
    with Bench(agent_of(net), database=path) as bench:
        bench.person("extend").answers(Late("approve", after=timedelta(days=10)))
        for _ in range(2):
            bench.start(Row(state="offered", version=0, value=1))
        bench.run()


def p6a(path: Path | str, way: Way) -> None:
    """Twenty approvals, and nobody has time for them."""
    net = NetBuilder("approvals")
    task, yes, no = net.entry("task", Task), net.final("yes", Task), net.final("no", Task)
    net.add(Human("approve", takes=task, approve=yes, deny=no, who="lead", within=timedelta(days=1)))
    with Bench(agent_of(net), database=path) as bench:
        late = range(2, 20) if way == "seeded" else range(2)
        for n in range(20):
            case = bench.start(Task(id=n))
            if n not in late:
                bench.person("approve").answers("approve", case=case.id)
        bench.run()


def p6b(path: Path | str, way: Way) -> None:
    """The switch is pulled while the case waits, it says so, and pays all the same.

    A scope's kill transition cancels the work, and a case without one is stopped by the engine: this net has
    one that does nothing, which CTL-2 refutes, and does not require CTL-2.
    """
    net = NetBuilder("runs on")
    task, due = net.entry("task", Task), net.place("due", Task)
    armed, noted = net.place("armed", initial=[()]), net.place("noted")
    paid = net.final("paid", Task)
    net.rests(armed, noted)
    net.timer("wait", after=timedelta(days=2), takes={"t": task}, puts={due: "t"})
    any_task = within(Task, lambda it: it.id >= 0, name="any task")
    pay = Effect("bank.pay", nobody, payload=Task)
    net.add(Contract("pay", takes=due, gives=paid, otherwise=task, verify=any_task, commit=pay))
    kill: dict[str, Any] = {"role": Role.KILL, "trigger": Signal(KILL_SIGNAL), "takes": {"_a": armed}}
    if way == "seeded":
        net.transition("note the kill", puts={noted: None}, **kill)
    with Bench(agent_of(net), database=path) as bench:
        cases = [bench.start(Task(id=n)) for n in range(3)]
        bench.advance(days=1)
        for case in cases[:2]:
            case.kill(who="director", reason="wrong prices")
        bench.run()


SEEDS: dict[str, Callable[[Path | str, Way], None]] = {
    "P1a": p1a,
    "P1b": p1b,
    "P2a": p2a,
    "P2b": p2b,
    "P3a": p3a,
    "P3b": p3b,
    "P4a": p4a,
    "P4b": p4b,
    "P5a": p5a,
    "P5b": p5b,
    "P6a": p6a,
    "P6b": p6b,
}
"""A run for each failure, by the id of its detector."""

"""Runs that have their share of faults and are healthy all the same: no detector finds anything in them."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from provenet.engine.testing import Bench, Late
from provenet.examples.contract_renewal.demo import DATABASE
from provenet.nets.build import NetBuilder
from provenet.nets.models import Token
from provenet.nets.net import Requirement
from provenet.nets.patterns.delegation import Partial
from provenet.nets.patterns.gate import Budget
from provenet.nets.patterns.machine import Move, StateMachine, Worker
from provenet.nets.patterns.oversight import Approval, Oversight
from provenet.nets.patterns.sequencing import Consumer, EventType, Sequencing
from provenet.nets.patterns.slot import Slot
from provenet.nets.patterns.supervision import Supervised
from provenet.sdb.contract import Contract
from provenet.sdb.handlers import Agent, Proposal, Request
from provenet.sdb.policy import within
from provenet.sdb.proposers import scripted
from tests.docs.pages import ROOT
from tests.engine import orders
from tests.nets.patterns.delegations import Lead, named, scored
from tests.nets.patterns.test_delegation_runs import misbehaviour
from tests.nets.patterns.test_scatter import Services, Shape, Trip, run_to_the_end
from tests.nets.patterns.test_supervision import Ceiling, Offer, shop
from tests.support.ledger import Ledger


def orders_run(path: Path) -> None:
    """Rejects, faults, a saga that aborts, people who are late at times: 120 orders."""
    asyncio.run(orders.run(str(path), Ledger(path.with_name("ledger.db")), 120))


def renewal_run(path: Path) -> None:
    """The renewal agent beside an outside world that misbehaves: 40 customers, 90 days each."""
    folder = path.parent / "renewals"
    folder.mkdir()
    subprocess.run([sys.executable, "-c", _RENEWALS, str(folder)], check=True, cwd=ROOT)
    path.symlink_to(folder / DATABASE)


_RENEWALS = """
import sys
from pathlib import Path
from provenet.examples.contract_renewal.demo import Demo, run

run(Demo(folder=Path(sys.argv[1]), limit=40))
"""
"""In a process of its own, which takes its connections with it."""


def running(net: NetBuilder, name: str) -> Agent:
    """An agent that is deployed at once: what its net requires is proved where the pattern is tested."""
    made = Agent.of(net)
    easy = (Requirement("DATA-2"),)
    return Agent(replace(made.net, name=name, requirements=easy), made.handlers)


def delegation_run(path: Path) -> None:
    """Children that are late, hang, refuse, break the policy or say nothing, below one budget of retries."""
    ways: tuple[tuple[Partial, int], ...] = (("drop", 5), ("substitute", 2), ("fail fast", 3))
    for partial, retries in ways:
        dice = random.Random(f"{partial}")
        agent = running(scored(4, retries, partial), f"scored, {partial}")
        with Bench(agent, database=path) as bench:
            for name in named(4):
                for n in range(15):
                    answers = [misbehaviour(dice, name) for _ in range(retries + 1)]
                    bench.proposer(f"ask.{name}").answers(*answers, case=f"{partial}-{n}")
            for n in range(15):
                bench.start(Lead(id=f"{n}", feedback=""), case_id=f"{partial}-{n}", net=agent.net.name)
            bench.run()


def scatter_run(path: Path) -> None:
    """Four peers that commit side by side, in services that are as bad as services are; some scopes abort."""
    shape = Shape(4)
    with Bench(running(shape.build()[0], "trips"), database=path) as bench:
        Services(bench, 4, seed=3, calm=0.8)
        cases = [bench.start(Trip(id=f"{n}", nights=1 + n % 40)) for n in range(30)]
        run_to_the_end(bench, cases)


def machine_run(path: Path) -> None:
    """A row that people and events move while a worker works on it; timers that come too late."""
    with Bench(running(tickets(), "tickets"), database=path) as bench:
        bench.proposer("ticket.worker").always(Late(Note(text="done"), after=timedelta(seconds=50)))
        cases = [bench.start(Note(text=f"{n}")) for n in range(6)]
        for turn in range(3):
            bench.advance(timedelta(seconds=40))
            for case in cases[turn:]:
                case.signal("comment", Note(text="and another thing"))
        for case in cases[:4]:
            bench.advance(days=1)
            case.signal("reopen", Note(text="no"))
        bench.run()


class Note(Token):
    """What a ticket says."""

    text: str


def tickets(conflicts: int = 3) -> NetBuilder:
    """A ticket that a worker answers, that somebody may comment and reopen, and that is closed in the end."""
    net = NetBuilder("tickets")
    asked, closed = net.entry("asked", Note), net.final("closed", Note)

    said = lambda said: said  # noqa: E731
    moves = [
        Move("comment", "open", "open", on="comment", brings=Note, sets=said),
        Move("answer", "open", "answered", by="worker", sets=lambda answer: answer),
        Move("nobody", "open", "answered", without="worker"),
        Move("reopen", "answered", "waiting", on="reopen", brings=Note, sets=said),
        Move("forget", "waiting", "closed", after=timedelta(days=5)),
        Move("close", "answered", "closed", after=timedelta(days=10)),
    ]
    states = ["open", "answered", "waiting", "closed"]
    workers = [Worker("worker", Note, writer)]
    net.add(StateMachine("ticket", asked, states, moves, {"closed": closed}, workers, conflicts=conflicts))
    return net


def supervised_run(path: Path) -> None:
    """A worker that dies now and then, and of some tasks always: three restarts, then it is somebody's."""
    with Bench(running(supervised(3), "supervised"), database=path) as bench:
        for n in range(30):
            dice = random.Random(n)
            hopeless = n % 10 == 0
            answers = [
                MemoryError() if hopeless or dice.random() < 0.3 else Note(text="ok") for _ in range(4)
            ]
            case = bench.start(Note(text=f"{n}"))
            bench.proposer("job.worker").answers(*answers, case=case.id)
        bench.run()


OK = Note(text="ok")


def supervised(restarts: int) -> NetBuilder:
    """A supervised worker."""
    net = NetBuilder("supervised")
    asked, said = net.entry("asked", Note), net.final("said", Note)
    given_up = net.final("given up", Note)
    within = timedelta(minutes=10)
    net.add(Supervised("job", asked, said, given_up, writer, within=within, restarts=restarts))
    return net


def gate_run(path: Path) -> None:
    """A gate that allows and denies, beside a service that is away at times."""
    budgets = (Budget("cents", 3_000, lambda proposal: proposal.cents), Budget("calls", 8))
    net, _ = shop(budgets=budgets)
    dice = random.Random(5)
    with Bench(running(net, "shop"), database=path) as bench:
        bench.effect("billing.apply").always(lambda _: ConnectionError() if dice.random() < 0.2 else None)
        case = bench.start(Ceiling(most=20))
        case.run_until("ready")
        for n in range(25):
            offer = Offer(by="intern" if n % 7 == 0 else "sales", discount=n % 40, cents=50 * (n % 9))
            case.signal("asked", offer)
            case.run_until("ready")
        bench.run()


def events_run(path: Path) -> None:
    """A log with events that come twice and late, read by a consumer whose model changes and stays true."""
    with Bench(running(log(), "log"), database=path) as bench:

        def answer(request: Request) -> Proposal:
            model = "m-1" if bench.now.day == 1 else "m-2"
            return Proposal((f"seen {request.payload.payload.text}",), model=model)

        bench.proposer("log.reader").always(answer)
        for day in range(2):
            for n in range(3):
                case = bench.start(Note(text="log"))
                for number in (1, 2, 2, 4, 3, 5):
                    said = {"id": f"{n}-{number}", "number": number, "version": 1}
                    event = said | {"model": "", "prompt": "", "payload": Note(text=f"{number}")}
                    key = f"{number}-{len(case.detail.inbox)}"
                    case.signal("note", event, key=key, at=bench.now - timedelta(minutes=n * number % 3))
                    bench.advance(minutes=1)
                case.signal("end")
            bench.advance(days=1 - day)
        bench.run()


def log() -> NetBuilder:
    """A log of notes with one consumer."""
    net = NetBuilder("log")
    opened, closed = net.entry("opened", Note), net.final("closed")
    reader = Consumer("reader", "note", Note, writer)
    net.add(Sequencing("log", opened, closed, [EventType("note", Note)], [reader], until="end"))
    return net


def writer(at: Slot) -> Contract:
    """A part that writes a note."""
    any_note = within(Note, lambda it: it.text.length() < 100, name="short")
    parts: dict[str, Any] = {"returns": Note, "verify": any_note, "attempts": 1}
    return Contract(at.id, takes=at.takes, gives=at.gives, otherwise=at.failed, propose=scripted([]), **parts)


def oversight_run(path: Path) -> None:
    """Two people are asked side by side, with one trail; some of them never answer."""
    with Bench(running(asked_twice(), "oversight"), database=path) as bench:
        for n in range(16):
            case = bench.start(Note(text=f"{n}"))
            bench.person("price").answers(Late("approve", after=timedelta(days=1)), case=case.id)
            if n % 8:
                bench.person("terms").answers("deny" if n % 3 else "approve", case=case.id)
        bench.run()


def asked_twice() -> NetBuilder:
    """Two approvals of one offer."""
    net = NetBuilder("oversight")
    offer, done = net.entry("offer", Note), net.final("done")
    desk = net.add(Oversight("desk", policy="v1"))
    ended = []
    asked = {name: net.place(f"{name} asked", Note) for name in ("price", "terms")}
    net.route("ask", takes={"it": offer}, puts=dict.fromkeys(asked.values(), "it"))
    for name, place in asked.items():
        end = net.place(f"{name} said", Note)
        within = timedelta(days=3)
        net.add(Approval(name, on=desk, takes=place, approve=end, deny=end, who="lead", within=within))
        ended.append(end)
    net.route("end", takes=ended, puts=done)
    return net


HEALTHY: dict[str, Callable[[Path], None]] = {
    "orders": orders_run,
    "renewals": renewal_run,
    "delegation": delegation_run,
    "scatter-gather": scatter_run,
    "state machine": machine_run,
    "supervisor": supervised_run,
    "gate": gate_run,
    "oversight": oversight_run,
    "sequencing": events_run,
}
"""Healthy runs, by what runs."""

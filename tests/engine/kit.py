"""Small nets and shortcuts for the engine's tests."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from provenet.engine import Engine, People, VirtualClock
from provenet.engine.case import GENESIS, chain
from provenet.nets.build import NetBuilder, PlaceRef
from provenet.nets.models import Token
from provenet.sdb.contract import Contract
from provenet.sdb.handlers import Agent, Proposal, Request
from provenet.sdb.human import Human
from provenet.sdb.policy import Policy, PolicyRule
from tests.engine.orders import proofs

START = datetime(2026, 1, 1, tzinfo=UTC)


class Item(Token):
    id: str
    n: int


def built(make: Callable[[NetBuilder], None], name: str = "small") -> Agent:
    """The agent of a net that ``make`` draws; it requires one property, so that the gate has work."""
    net = NetBuilder(name)
    make(net)
    net.require("DATA-2")
    return Agent.of(net)


def opened(
    agents: Agent | Iterable[Agent],
    database: str | Path = ":memory:",
    *,
    people: People | None = None,
    **options: Any,
) -> Engine:
    """An engine on a virtual clock."""
    given = [agents] if isinstance(agents, Agent) else list(agents)
    clock = options.pop("clock", None) or VirtualClock(START)
    return Engine.open(database, agents=given, clock=clock, people=people, **options)


def deployed(engine: Engine, agent: Agent) -> None:
    """Deploy through the real gate."""
    engine.deploy(agent, proofs(agent.net))


class Answers:
    """A proposer of one function; keeps its requests."""

    def __init__(self, answer: Callable[[Request], Any]) -> None:
        self._answer = answer
        self.requests: list[Request] = []

    async def propose(self, request: Request) -> Proposal:
        self.requests.append(request)
        found = self._answer(request)
        if hasattr(found, "__await__"):
            found = await found
        return found if isinstance(found, Proposal) else Proposal(found)


def looked_at(
    net: NetBuilder,
    name: str,
    places: tuple[PlaceRef, PlaceRef, PlaceRef, PlaceRef],
    *,
    field: str,
    length: int,
    **parts: Any,
) -> None:
    """A model proposes, a policy looks at the length of a covered text and at an amount; or a person decides.

    Args:
        net: Where this is drawn.
        name: Of the contract.
        places: What the model sees; where a person is asked; where what passed goes, and what did not.
        field: The covered text.
        length: The longest that it may be.
        parts: What else the contract is made of.
    """
    takes, review, gives, refused = places
    caps = (
        PolicyRule(lambda proposal: getattr(proposal, field).length() <= length, field=field),
        PolicyRule(lambda proposal: proposal.cents <= 100),
    )
    net.add(
        Contract(
            name,
            takes=takes,
            gives=gives,
            verify=Policy("caps", caps),
            otherwise=review,
            escalate=lambda inputs: inputs,
            attempts=2,
            **parts,
        )
    )
    net.add(Human("look", takes=review, approve=refused, deny=refused, who="lead", within=timedelta(days=7)))


def rechained(path: Path, case: str, change: Callable[[int, str], str | None]) -> None:
    """Change the data of a log's entries, or drop some, and make the chain and the case's row fit again."""
    with closing(sqlite3.connect(path)) as db, db:
        ((no,),) = db.execute("SELECT no FROM provenet_case WHERE id = ?", (case,))
        head, seq = GENESIS, 0
        rows = db.execute(
            "SELECT id, seq, kind, transition, at, data FROM provenet_event WHERE case_no = ? ORDER BY seq",
            (no,),
        ).fetchall()
        for row, n, kind, transition, at, old in rows:
            data = change(n, old)
            if data is None:
                db.execute("DELETE FROM provenet_event WHERE id = ?", (row,))
                continue
            seq += 1
            digest = chain(head, case, seq, kind, transition=transition, at=at, data=data)
            db.execute(
                "UPDATE provenet_event SET seq = ?, data = ?, prev = ?, hash = ? WHERE id = ?",
                (seq, data, head, digest, row),
            )
            head = digest
        db.execute("UPDATE provenet_case SET version = ?, head = ? WHERE no = ?", (seq, head, no))

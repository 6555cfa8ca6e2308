"""Small nets and shortcuts for the engine's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from provenet.engine import Engine, People, VirtualClock
from provenet.nets.build import NetBuilder
from provenet.nets.models import Token
from provenet.sdb.handlers import Agent, Proposal, Request
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

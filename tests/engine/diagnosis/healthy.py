"""Runs that have their share of faults and are healthy all the same: no detector finds anything in them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from provenet.engine.testing import Bench
from provenet.examples.contract_renewal.demo import Demo
from provenet.examples.contract_renewal.demo import run as renewals
from provenet.nets.build import NetBuilder
from provenet.nets.net import Requirement
from provenet.nets.patterns.delegation import Partial
from provenet.sdb.handlers import Agent
from tests.engine import orders
from tests.nets.patterns.delegations import Lead, named, scored
from tests.nets.patterns.test_delegation_runs import misbehaviour
from tests.support.ledger import Ledger


def orders_run(path: Path) -> None:
    """Rejects, faults, a saga that aborts, people who are late at times: 120 orders."""
    asyncio.run(orders.run(str(path), Ledger(path.with_name("ledger.db")), 120))


def renewal_run(path: Path) -> None:
    """The renewal agent beside an outside world that misbehaves: 60 customers, 90 days each."""
    folder = path.parent / "renewals"
    folder.mkdir()
    demo = Demo(folder=folder, limit=60)
    renewals(demo)
    path.symlink_to(demo.database)


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
                for n in range(25):
                    answers = [misbehaviour(dice, name) for _ in range(retries + 1)]
                    bench.proposer(f"ask.{name}").answers(*answers, case=f"{partial}-{n}")
            for n in range(25):
                bench.start(Lead(id=f"{n}", feedback=""), case_id=f"{partial}-{n}", net=agent.net.name)
            bench.run()


HEALTHY: dict[str, Callable[[Path], None]] = {
    "orders": orders_run,
    "renewals": renewal_run,
    "delegation": delegation_run,
}
"""Healthy runs, by what runs."""

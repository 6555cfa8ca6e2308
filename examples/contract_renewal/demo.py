"""The demo: every customer's renewal through 90 virtual days, beside an outside world that misbehaves.

``run`` does one whole demo and tells its stages; who calls it decides what people see. Everything follows
from the customer file and the seed. A folder that holds an unfinished run is gone on with: nothing is lost,
and nothing is done twice.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from provenet import (
    KILL_SIGNAL,
    Agent,
    Decision,
    Engine,
    EngineError,
    Progress,
    ProvenetError,
    Task,
    VirtualClock,
    prove,
)
from provenet.examples.contract_renewal.client import OutsideClient
from provenet.examples.contract_renewal.customers import SAMPLE, load_customers
from provenet.examples.contract_renewal.demo_report import DemoReport, examine
from provenet.examples.contract_renewal.effects import Effects
from provenet.examples.contract_renewal.faults import Faults
from provenet.examples.contract_renewal.net import APPROVE_OFFER, agent
from provenet.examples.contract_renewal.people import DAY_0, CasePlan, TimedEvent, decide, plan
from provenet.examples.contract_renewal.proposers import Proposers
from provenet.examples.contract_renewal.services import OutsideProcess
from provenet.examples.contract_renewal.tokens import Deal, Plan

if TYPE_CHECKING:
    from provenet import Report

NET = "contract renewal"
DATABASE, LEDGER, SETTINGS = "renewals.db", "outside.db", "demo.json"

_POST = timedelta(hours=6)

Stage = Literal["customers", "verified", "running", "auditing", "done"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """What one demo is made of.

    Attributes:
        folder: Where its database, the outside world's ledger and the report go.
        customers: The customer file.
        limit: At most so many customers.
        seed: Another seed, other luck.
        model: A model as litellm names it; empty for the seeded stand-in, which needs no key.
        faults: How the outside world misbehaves.
        patience: Seconds that a call of the outside world may take before it is repeated.
    """

    folder: Path
    customers: Path = SAMPLE
    limit: int | None = None
    seed: int = 0
    model: str = ""
    faults: Faults = field(
        default_factory=lambda: Faults(
            fail_before=0.01, fail_after=0.01, hang=0.004, twice=0.01, refuse=0.002, hang_seconds=0.5
        )
    )
    patience: float = 0.25

    @property
    def database(self) -> Path:
        """The engine's database."""
        return self.folder / DATABASE

    @property
    def ledger(self) -> Path:
        """The outside world's own database, which the engine never opens."""
        return self.folder / LEDGER


Tell = Callable[[Stage, Any], None]
"""Told what has been reached: the customer file, the verification report, the run's progress ..."""


Event: TypeAlias = tuple[str, str]
"""A case and the name of an event."""


class DemoFolderError(ProvenetError):
    """The folder holds something else than this demo."""


def run(demo: Demo, tell: Tell = lambda _stage, _what: None, *, report: Report | None = None) -> DemoReport:
    """Run a demo to its end.

    Args:
        demo: What it is made of.
        tell: Told of each stage.
        report: A verification report of this very net; it is made where none is given.

    Raises:
        CustomerFileError: The customer file cannot be read.
        DemoFolderError: The folder holds another demo.
        DeployRefused: The net is not proved.
    """
    customers = load_customers(demo.customers, limit=demo.limit)
    tell("customers", customers)
    claim(demo)
    plans = {p.case_id: p for p in (plan(c, demo.seed) for c in customers.customers)}
    with OutsideProcess(demo.ledger, faults=demo.faults) as world:
        effects = Effects(OutsideClient(world.url, timeout=demo.patience))
        proposers = Proposers.models(demo.model) if demo.model else Proposers.stand_in(seed=demo.seed)
        made = agent(proposers=proposers, effects=effects)
        if report is None:
            report = prove(made.net)
            tell("verified", report)
        last, refused = asyncio.run(_run(demo, made, report, plans, tell))
    found = examine(
        demo.database,
        demo.ledger,
        made.net,
        plans,
        progress=lambda done, total: tell("auditing", (done, total)),
    )
    found.run = {
        "seconds": round(last.seconds, 2),
        "firings": last.firings,
        "commits": last.commits,
        "firings_per_second": round(last.firings / last.seconds) if last.seconds else 0,
        "events_refused": refused,
        "seed": demo.seed,
        "customers": str(demo.customers.name),
        "rows_set_aside": len(customers.rejected),
        "proposers": demo.model or "seeded stand-in",
    }
    tell("done", found)
    return found


def claim(demo: Demo) -> None:
    """Make the folder this demo's, or find that it is.

    Raises:
        DemoFolderError: It holds another demo.
    """
    demo.folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "seed": demo.seed,
        "customers": demo.customers.name,
        "limit": demo.limit,
        "model": demo.model,
    }
    note = demo.folder / SETTINGS
    if demo.database.exists():
        try:
            before = json.loads(note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            before = None
        if before != settings:
            raise DemoFolderError(
                "the folder holds another run" + (f": {before}" if before else ""),
                where=str(demo.folder),
                hint="name another folder, or repeat the same options to go on with that run",
            )
    note.write_text(json.dumps(settings) + "\n", encoding="utf-8")


async def _run(
    demo: Demo, made: Agent, report: Report, plans: dict[str, CasePlan], tell: Tell
) -> tuple[Progress, int]:
    clock = VirtualClock(DAY_0 - timedelta(days=91))

    async def people(task: Task) -> Decision | None:
        about = _shown(task)
        chosen = decide(plans[task.case], task.task, about)
        if chosen is None:
            return None
        await clock.sleep(task.opened + chosen.after - clock.now())
        return Decision(chosen.choice, f"{chosen.who}@{task.role}")

    told = _told(demo.database)
    async with Engine.open(demo.database, agents=[made], clock=clock, people=people) as engine:
        engine.deploy(made, report)
        began = time.perf_counter()
        cases = ((p.case_id, {"waiting": p.case}) for p in plans.values())
        await engine.start_cases(NET, cases, existing="skip")
        refused = await _outside(engine, tuple(plans.values()), told, tell)
        return engine.progress(time.perf_counter() - began), refused


def _shown(task: Task) -> Deal | Plan:
    """What the person looks at, as a token model."""
    model = Deal if task.task == APPROVE_OFFER else Plan
    return model.model_validate_json(json.dumps(task.about))


async def _outside(engine: Engine, plans: Sequence[CasePlan], told: Counter[Event], tell: Tell) -> int:
    """Let the outside speak: its post comes four times a day, and everything in between goes by the clock.

    Args:
        engine: The engine.
        plans: The cases' plans.
        told: Events that the inbox has from before a restart; they are not sent again.
        tell: Told how far the run is.

    Returns:
        How many events were refused: duplicates, and events that nothing waited for.
    """
    refused = 0
    shown = 0.0

    def progress(now: Progress) -> None:
        nonlocal shown
        if time.monotonic() - shown > 0.1:
            shown = time.monotonic()
            tell("running", now)

    async def send(case: str, event: TimedEvent) -> None:
        nonlocal refused
        try:
            if event.event == KILL_SIGNAL:
                await engine.kill("case", case, who="director_ai", reason=event.note)
            else:
                await engine.signal(case, event.event, event.payload)
        except EngineError:
            refused += 1

    for at, post in groupby(_post(plans), key=lambda e: e[0]):
        await engine.run_until_idle(until=at, progress=progress)
        letters = []
        for _, case, event in post:
            if told[case, event.event] > 0:
                told[case, event.event] -= 1
            else:
                letters.append(send(case, event))
        # Sent together, they share a commit.
        await asyncio.gather(*letters)
        progress(engine.progress())
    await engine.run_until_idle(progress=progress)
    tell("running", engine.progress())
    return refused


def _post(plans: Sequence[CasePlan]) -> Iterator[tuple[datetime, str, TimedEvent]]:
    every = [(_next_post(event.at), plan.case_id, event) for plan in plans for event in plan.events]
    every.sort(key=lambda e: (e[0], e[1], e[2].at))
    return iter(every)


def _next_post(at: datetime) -> datetime:
    since = at - at.replace(hour=0, minute=0, second=0, microsecond=0)
    return at - since + -(-since // _POST) * _POST


def _told(database: Path) -> Counter[Event]:
    """Events that the engine has heard of, accepted or not."""
    if not database.exists():
        return Counter()
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        rows = db.execute(
            "SELECT c.id, i.event, count(*) FROM provenet_inbox i JOIN provenet_case c ON c.no = i.case_no"
            " GROUP BY 1, 2"
        )
        return Counter({(case, event): count for case, event, count in rows})


__all__ = ["Demo", "DemoFolderError", "DemoReport", "Stage", "claim", "run"]

"""The ablation: the same agent on two spines, its model changed, and what departs.

Version A runs on both spines and is recorded. Then, for each shift of version B, two changes are measured
against A, on the same inputs and events. *Asked again*: the record is run anew and all questions go to B;
that is what a projection does that is rebuilt through its consumers. *Changed during the pause*: what A said
before the pause stays, and B is asked from there on; that is what a restart does that keeps answers, in a row
or in a log.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from provenet import Agent, Engine, Proposer, Reader, Report, VirtualClock, prove
from provenet.engine.diagnosis.divergence import LEVELS, Comparison, Share, compare, replay
from provenet.engine.diagnosis.reliability import pass_hat_of
from provenet.engine.diagnosis.rerun import Story, Version, rerun, story_of
from provenet.engine.diagnosis.telling import Told
from provenet.examples.spines.model import Model
from provenet.examples.spines.net import Claim, on_a_row, on_events

Spine: TypeAlias = Literal["P3 events", "P5 row"]
Change: TypeAlias = Literal["asked again", "changed during the pause"]

SPINES: Final[Mapping[Spine, Callable[[Proposer], Agent]]] = {"P3 events": on_events, "P5 row": on_a_row}
CHANGES: Final[Mapping[Change, tuple[Literal["grade", "offer"], ...]]] = {
    "asked again": ("grade", "offer"),
    "changed during the pause": ("offer",),
}

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured.

    Attributes:
        tasks: Different claims.
        tries: How often each is tried.
        shifts: The shifts of version B, in calls of a hundred.
    """

    tasks: int = 15
    tries: int = 6
    shifts: tuple[int, ...] = (0, 20, 40, 60, 80, 100)

    @property
    def claims(self) -> list[Claim]:
        """The claims, each try under an id of its own."""
        return [
            Claim(id=f"claim-{task:02}.{number}", cents=4_000 + (task * 52_000) // max(1, self.tasks - 1))
            for task in range(self.tasks)
            for number in range(self.tries)
        ]


@dataclass(frozen=True, slots=True)
class OnSpine:
    """What was measured on one spine.

    Attributes:
        retold: How many recorded runs were told again, bit for bit, and of how many.
        control: A against A again.
        measured: B against A, by kind of change and shift.
        rewritten: In how many cases an answer from before the pause is another one, likewise.
        passes: For each shift of a model that is asked everything, tries and successes of each task.
    """

    retold: Share
    control: Comparison
    measured: Mapping[tuple[Change, int], Comparison]
    rewritten: Mapping[tuple[Change, int], Share]
    passes: Mapping[int, tuple[tuple[int, int], ...]]

    def pass_hat(self, shift: int, k: int) -> Fraction:
        """The mean of pass^k over tasks."""
        return pass_hat_of(self.passes[shift], k)


@dataclass(frozen=True, slots=True)
class Result:
    """What the ablation has found."""

    size: Size
    spines: Mapping[Spine, OnSpine]

    def share(self, spine: Spine, change: Change, shift: int, level: Any) -> Share:
        """In how many cases a spine departs."""
        return self.spines[spine].measured[change, shift].share(level)

    def apart(self, change: Change) -> int:
        """Pairs of runs, over all shifts and levels, of which one spine departs and the other does not."""
        count = 0
        for shift in self.size.shifts:
            one, other = (s.measured[change, shift].cases for s in self.spines.values())
            for a, b in zip(one, other, strict=True):
                count += sum((level in a.differs) != (level in b.differs) for level in LEVELS)
        return count


def ablate(size: Size | None = None, *, said: Callable[[str], None] | None = None) -> Result:
    """Measure both spines.

    Args:
        size: How much.
        said: Told of each step.
    """
    size, said = size or Size(), said or (lambda _: None)
    found: dict[Spine, OnSpine] = {}
    for spine, build in SPINES.items():
        agent = build(Model())
        said(f"{spine}: proving {agent.net.name}")
        report = prove(agent.net)
        assert not report.unproved(), report.unproved()
        with tempfile.TemporaryDirectory(prefix="provenet-spines-") as folder:
            database = Path(folder) / "a.db"
            asyncio.run(record(agent, report, database, size, spine))
            found[spine] = asyncio.run(
                _measure(Reader(database), build, report, size, partial(_tell, said, spine))
            )
    return Result(size, found)


def _tell(said: Callable[[str], None], spine: Spine, step: str) -> None:
    said(f"{spine}: {step}")


async def record(agent: Agent, report: Report, database: Path, size: Size, spine: Spine) -> None:
    """Run the claims under version A: graded on the first day, bank details on the fourth."""
    clock = VirtualClock(START)
    async with Engine.open(database, agents=[agent], clock=clock) as engine:
        engine.deploy(agent, report)
        for claim in size.claims:
            await engine.start_case(agent.net.name, inputs={"claim": claim}, case_id=claim.id)
        for number, (event, day) in enumerate((("received", 0), ("details", 3)), start=1):
            await engine.run_until_idle(until=START + timedelta(days=day))
            for claim in size.claims:
                await engine.signal(claim.id, event, _payload(spine, claim, event, number), key=event)
        await engine.run_until_idle()


def _payload(spine: Spine, claim: Claim, event: str, number: int) -> Any:
    if spine == "P5 row":
        return claim
    about = {"id": f"{claim.id}/{event}", "number": number, "version": 1, "model": "", "prompt": ""}
    return about | {"payload": claim.model_dump()}


async def _measure(
    reader: Reader,
    build: Callable[[Proposer], Agent],
    report: Report,
    size: Size,
    said: Callable[[str], None],
) -> OnSpine:
    stories = [story for claim in size.claims if isinstance(story := story_of(reader, claim.id), Story)]

    async def run(name: str, model: Model) -> dict[str, Told]:
        said(name)
        return await rerun(reader, stories, Version(name, build(model), report))

    again = replay(reader)
    retold = Share(sum(told.same for told in again), len(again))
    a, control, ideal = (
        await run("A", Model()),
        await run("A again", Model()),
        await run("ideal", Model(errs=0)),
    )
    measured: dict[tuple[Change, int], Comparison] = {}
    rewritten: dict[tuple[Change, int], Share] = {}
    passes: dict[int, tuple[tuple[int, int], ...]] = {}
    for shift in size.shifts:
        for change, questions in CHANGES.items():
            name = f"B, {shift}% otherwise, {change}"
            b = await run(name, Model(shift, questions))
            measured[change, shift] = compare(("A", name), a, b)
            rewritten[change, shift] = Share(sum(_grades(a[c]) != _grades(b[c]) for c in a), len(a))
            if change == "asked again":
                passes[shift] = _passes(size, b, ideal)
    return OnSpine(retold, compare(("A", "A again"), a, control), measured, rewritten, passes)


def _grades(told: Told) -> list[tuple[str, ...]]:
    """What was decided before the pause."""
    return [found for who, found in told.decisions.items() if who.endswith(".grade")]


def _passes(size: Size, runs: Mapping[str, Told], ideal: Mapping[str, Told]) -> tuple[tuple[int, int], ...]:
    """Tries and successes of each task: a try succeeds that ends as the ideal model's does."""
    tasks: dict[str, list[bool]] = {}
    for claim in size.claims:
        task, right = claim.id.partition(".")[0], runs[claim.id].outcome == ideal[claim.id].outcome
        tasks.setdefault(task, []).append(right)
    return tuple((len(tries), sum(tries)) for tries in tasks.values())

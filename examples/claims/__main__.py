"""Sort some claims, and look at what stands outside: ``python -m provenet.examples.claims [COUNT]``."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from provenet import Agent, Engine, Report, VirtualClock, prove
from provenet.examples.claims.agent import UNDONE_BY, Claim, Kind, agent
from provenet.examples.claims.outside import Outside, Proposers
from provenet.examples.systems import Failures, drawn

KINDS: tuple[Kind, ...] = ("motor", "property", "injury")


def claims(count: int, *, seed: int = 1) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Made-up claims, each with the id of its case."""
    for number in range(count):
        kind = KINDS[int(drawn(seed, "kind", number) * len(KINDS))]
        cents = int(drawn(seed, "cents", number) ** 3 * 12_000_000)
        yield f"c-{number}", {"inbox": Claim(id=f"c-{number}", kind=kind, cents=cents)}


async def sort(
    made: Agent,
    cases: Iterable[tuple[str, Mapping[str, Any]]],
    *,
    database: str,
    report: Report | None = None,
) -> dict[str, str]:
    """Run cases to their ends on a virtual clock.

    Args:
        made: The agent.
        cases: The claims.
        database: Where the cases are kept.
        report: What is proved of the agent; none where the database has it deployed.

    Returns:
        Where each case ended.
    """
    clock = VirtualClock(datetime(2026, 1, 1, tzinfo=UTC))
    async with Engine.open(database, agents=[made], clock=clock) as engine:
        if report is not None:
            engine.deploy(made, report)
        for case_id, inputs in cases:
            await engine.start_case(made.net.name, inputs=inputs, case_id=case_id)
        await engine.run_until_idle()
        return {case.id: case.outcome_place or case.status for case in engine.read.cases()}


def main() -> None:
    """Sort as many claims as the command line says, 100 without."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    outside = Outside(failures=Failures())
    made = agent(proposers=Proposers(), outside=outside)
    ended = asyncio.run(sort(made, claims(count), report=prove(made.net), database=":memory:"))
    stand = Counter(
        f"{sum(told.values())} systems" for told in outside.standing(UNDONE_BY).values() if sum(told.values())
    )
    sys.stdout.write(f"{dict(Counter(ended.values()))}\nclaims that stand in: {dict(stand)}\n")


if __name__ == "__main__":
    main()

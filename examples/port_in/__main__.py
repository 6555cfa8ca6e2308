"""Bring numbers over, and look at what stands outside: ``python -m provenet.examples.port_in [COUNT]``."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from provenet import Agent, Engine, EngineError, Report, Throttle, VirtualClock, prove
from provenet.examples.port_in.agent import UNDONE_BY, agent
from provenet.examples.port_in.outside import DAY, Desk, Donor, Outside, Proposers
from provenet.examples.port_in.rules import Confirmed, PortRequest
from provenet.examples.systems import Failures, drawn

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
TOLD = {"clearing.submit": 1, "network.provision": 1}
"""What stands of a number that has moved; of one that has not, nothing."""

ORDERS_A_MINUTE = Throttle(
    name="clearing house", per=timedelta(minutes=1), calls=20, handlers=frozenset({"clearing.submit"})
)


def requests(count: int, *, seed: int = 1) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Made-up requests, each with the number, which is the id of its case."""
    for place in range(count):
        number = f"+49 30 {seed:02}{place:04}"
        wanted = PortRequest(
            number=number,
            kind="mobile" if drawn(seed, "kind", place) < 0.7 else "fixed",
            donor=f"carrier {1 + place % 3}",
            account=f"a-{place}",
            asked=START,
            wish=START + timedelta(days=int(10 * drawn(seed, "wish", place))),
        )
        yield number, {"inbox": wanted}


async def bring(
    made: Agent,
    cases: Iterable[tuple[str, Mapping[str, Any]]],
    *,
    outside: Outside,
    database: str,
    donor: Donor | None = None,
    desk: Desk | None = None,
    report: Report | None = None,
) -> dict[str, str]:
    """Run cases to their ends on a virtual clock, while donors and customers say what they say.

    Args:
        made: The agent.
        cases: The requests.
        outside: The two systems, which know what was ordered.
        database: Where the cases are kept.
        donor: What becomes of orders.
        desk: The people.
        report: What is proved of the agent; none where the database has it deployed.

    Returns:
        Where each case ended.
    """
    donor, clock = donor or Donor(), VirtualClock(START)
    async with Engine.open(
        database, agents=[made], clock=clock, people=(desk or Desk()).decides, throttles=[ORDERS_A_MINUTE]
    ) as engine:
        if report is not None:
            engine.deploy(made, report)
        for case_id, inputs in cases:
            await engine.start_case(made.net.name, inputs=inputs, case_id=case_id)
        ordered: dict[str, datetime] = {}
        for day in range(45):
            today = START + day * DAY
            await engine.run_until_idle(until=today)
            for order in outside.given("clearing.submit"):
                for said, date in donor.says(order, ordered.setdefault(order.number, today), today):
                    payload = Confirmed(date=date) if said == "donor.confirmed" else None
                    await _tell(engine, order.number, said, payload)
        await engine.run_until_idle()
        return {case.id: case.outcome_place or case.status for case in engine.read.cases()}


async def _tell(engine: Engine, number: str, event: str, payload: Confirmed | None) -> None:
    """Tell a case; one that is over, or has heard it before, refuses, and that is that."""
    try:
        await engine.signal(number, event, payload, key=event)
    except EngineError:
        return


def main() -> int:
    """Bring as many numbers over as the command line says, 60 without."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    outside = Outside(failures=Failures())
    made = agent(proposers=Proposers(), outside=outside)
    ended = asyncio.run(
        bring(made, requests(count), outside=outside, report=prove(made.net), database=":memory:")
    )
    wrong = disagreeing(ended, outside)
    sys.stdout.write(f"{dict(Counter(ended.values()))}\n")
    sys.stdout.write(f"ledger: {'; '.join(wrong) if wrong else 'each effect as often as it should'}\n")
    return 1 if wrong else 0


def disagreeing(ended: Mapping[str, str], outside: Outside) -> list[str]:
    """The numbers whose systems say otherwise than their cases do.

    Args:
        ended: Where each case ended.
        outside: The two systems.
    """
    standing, told = outside.standing(UNDONE_BY), {"ported": TOLD, "stayed": {}}
    times = Counter((payload.number, effect) for effect, payload in outside.done.values())
    found = [f"{number}: {effect} was done {n} times" for (number, effect), n in times.items() if n > 1]
    for number, place in ended.items():
        stands = {effect: n for effect, n in standing.get(number, Counter()).items() if n}
        if stands != told.get(place):
            found.append(f"{number} is {place}, and outside stands {stands}")
    return found


if __name__ == "__main__":
    raise SystemExit(main())

"""Workers, dispatcher and database are killed all the while: nothing is lost, doubled or stuck."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.engine.chaos import Worker, kill, orders_to, outage, storm_of_orders
from tests.support.postgres import Server
from tests.support.temporal import temporal

pytestmark = pytest.mark.postgres


@pytest.mark.long
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("kind", ["temporal", "dbos"])
@pytest.mark.parametrize(("cases", "kills", "outages"), [(30, 6, 1), (500, 60, 2)], ids=["gust", "storm"])
def test_a_storm_loses_and_doubles_nothing(
    tmp_path: Path, server: Server, postgres: str, kind: str, cases: int, kills: int, outages: int
) -> None:
    with ExitStack() as stack:
        on, blows = "dbos", [(kills, kill), (outages, outage(server))]
        if kind == "dbos":
            pytest.importorskip("dbos", reason="the extra provenet[dbos] is not installed")
        else:
            dispatcher = stack.enter_context(temporal(tmp_path))
            on, blows = dispatcher.target, [*blows, (outages, outage(dispatcher))]
        body = Worker(postgres, orders_to(tmp_path), on, suicidal=60)
        found = storm_of_orders(tmp_path, body, cases=cases, blows=blows, seconds=120 + 4 * cases)
    print(kind, found.happened)
    assert not found.harm

"""Tests of agents: a virtual clock, scripts in the place of models, services and people, and crashes.

::

    with Bench(agent) as bench:
        bench.proposer("refund").answers(Refund(cents=90), Refund(cents=20))
        case = bench.start(Ticket(id="t-1"))
        case.run_until("human_required")
        case.approve("dana@support")
        bench.crash_at("after-effect")
        case.run()
        case.assert_performed("bank.pay", times=1)

``docs/testing.md`` has the whole of it.
"""

from provenet.engine.testing.bench import AsyncBench, AsyncCase
from provenet.engine.testing.failures import BenchError, NotAsExpected
from provenet.engine.testing.histories import Entry, History, HistoryDiverged, replay_history
from provenet.engine.testing.plain import Bench, Case
from provenet.engine.testing.scripts import (
    Call,
    EffectScript,
    Hang,
    Late,
    Lost,
    PersonScript,
    ProposerScript,
)

__all__ = [
    "AsyncBench",
    "AsyncCase",
    "Bench",
    "BenchError",
    "Call",
    "Case",
    "EffectScript",
    "Entry",
    "Hang",
    "History",
    "HistoryDiverged",
    "Late",
    "Lost",
    "NotAsExpected",
    "PersonScript",
    "ProposerScript",
    "replay_history",
]

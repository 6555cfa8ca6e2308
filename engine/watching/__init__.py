"""What an engine does, told to whoever watches: logs, traces, metrics, and the live view."""

from provenet.engine.watching.events import (
    Answered,
    Asked,
    CaseStarted,
    CaseTaken,
    CaseTurned,
    Committed,
    Decided,
    Deployed,
    EffectIntended,
    EffectTried,
    Event,
    Fired,
    Opened,
    Pulled,
    Rung,
    Signalled,
    Stopped,
)
from provenet.engine.watching.logs import JsonLines, Logs, WholeLines
from provenet.engine.watching.watch import Observer

__all__ = [
    "Answered",
    "Asked",
    "CaseStarted",
    "CaseTaken",
    "CaseTurned",
    "Committed",
    "Decided",
    "Deployed",
    "EffectIntended",
    "EffectTried",
    "Event",
    "Fired",
    "JsonLines",
    "Logs",
    "Observer",
    "Opened",
    "Pulled",
    "Rung",
    "Signalled",
    "Stopped",
    "WholeLines",
]

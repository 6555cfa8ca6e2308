"""Durable execution of proved nets: exactly what was proved, through crashes, on SQLite and PostgreSQL."""

from provenet.engine.audit import Audit, Problem, audit
from provenet.engine.clock import Clock, RealClock, VirtualClock
from provenet.engine.engine import Engine, Progress
from provenet.engine.keys import Keys
from provenet.engine.people import Ruling
from provenet.engine.reader import Reader
from provenet.engine.retention import Retention
from provenet.engine.store.joining import transaction
from provenet.engine.throttle import Throttle
from provenet.engine.views import CaseDetail, CaseView, LogLine, TaskView
from provenet.engine.workers import Decision, People, Task

__all__ = [
    "Audit",
    "CaseDetail",
    "CaseView",
    "Clock",
    "Decision",
    "Engine",
    "Keys",
    "LogLine",
    "People",
    "Problem",
    "Progress",
    "Reader",
    "RealClock",
    "Retention",
    "Ruling",
    "Task",
    "TaskView",
    "Throttle",
    "VirtualClock",
    "audit",
    "transaction",
]

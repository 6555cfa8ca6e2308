"""What rows say beside what a replay leads to: names and times that the net, or the log, says as well."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeAlias

from provenet.engine.program import Program
from provenet.nets.net import Perform

Rows: TypeAlias = Callable[..., list[tuple[Any, ...]]]

_STOPS = {"park", "kill", "fail"}


def row_problems(rows: Rows, programs: dict[str, Program], no: int) -> list[str]:
    """What is wrong with a case's rows, in words.

    Args:
        rows: Reads one moment of the database.
        programs: The net versions there are, by hash.
        no: The case's number.
    """
    found: list[str] = []
    ((net, status, created, reason),) = rows(
        "SELECT net, status, created, reason FROM provenet_case WHERE no = ?", no
    )
    events = rows("SELECT seq, kind, at, data FROM provenet_event WHERE case_no = ? ORDER BY seq", no)
    if events and events[0][0] == 1 and created != events[0][2]:
        found.append("the case's row says that it was started at another time than its log")
    # The real clock is asked once more when a case is over, right after the entry that ended it.
    said = [json.loads(data or "{}").get("reason") for _, kind, _, data in events if kind in _STOPS]
    if status in {"parked", "killed"} and reason is not None and said and reason != said[-1]:
        found.append("the case's row gives another reason for where it stands than its log")
    handlers: dict[str, set[str]] = {}
    for program in programs.values():
        for name, step in program.by_name.items():
            if isinstance(step.transition.trigger, Perform):
                handlers.setdefault(name, set()).add(step.transition.trigger.handler)
    for transition, handler in rows("SELECT transition, handler FROM provenet_effect WHERE case_no = ?", no):
        if net in programs and handler not in handlers.get(transition, set()):
            found.append(f"effect {handler!r} is none that {transition} performs")
    return found

"""A case as a test's failure message shows it: its history, where it stands, and what it waits for."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from provenet.engine.views import CaseDetail

LONGEST = 40
"""Entries of a history that a message shows; the first and the last of a longer one."""


def story(detail: CaseDetail) -> str:
    """A case in a few lines."""
    case, begun = detail.case, detail.case.created
    lines = [f"case {case.id!r} of net {case.net!r} is {standing(detail)}"]
    entries = [f"  {e.seq:>4}  {since(begun, e.at):<14}  {e.text}" for e in detail.log]
    if len(entries) > LONGEST:
        left_out = f"        ... {len(entries) - LONGEST} entries ..."
        entries = [*entries[: LONGEST // 2], left_out, *entries[-LONGEST // 2 :]]
    lines += entries
    for place, tokens in detail.marking.items():
        lines += [f"  in {place!r}: {_short(token)}" for token in tokens]
    for task in detail.tasks:
        if task.status == "open":
            until = "" if task.deadline is None else f", until {since(begun, task.deadline)}"
            lines.append(f"  waits for a person: {task.task!r} ({task.role or 'anybody'}){until}")
    lines += [f"  waits for time: {name!r} at {since(begun, due)}" for name, due in detail.timers]
    lines += [
        f"  effect {e['handler']!r} {e['state']}, tries {e['tries']}"
        + (f": {e['reason']}" if e["reason"] else "")
        for e in detail.effects
        if e["state"] != "performed"
    ]
    return "\n".join(lines)


def standing(detail: CaseDetail) -> str:
    """Where a case stands, in a few words."""
    case = detail.case
    if case.outcome_place is not None:
        return f"{case.status}, in {case.outcome_place!r}"
    return case.status + (f": {case.reason}" if case.reason else "")


def since(begun: datetime, at: datetime) -> str:
    """A point in time, counted from another: ``+30d 02:15:00``."""
    span = at - begun
    rest = timedelta(seconds=span.seconds)
    return f"+{span.days}d {rest!s:0>8}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:117]}..."

"""Named points at which a test can make the engine raise, sleep or die.

``PROVENET_FAULT=after-intent:kill:3`` kills the process with SIGKILL at the third pass of the point
``after-intent``; actions are
``kill``, ``raise`` and ``sleep`` (one second). Off by default, where a point costs one look at a flag.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Final

POINTS: Final = (
    "before-commit",  # rows are written, the transaction is still open
    "after-commit",  # the transaction is durable, nothing that waits for it has been told
    "before-ask",  # the running token is durable, the proposer has not been called
    "after-answer",  # the proposer has answered, nothing of it is written
    "after-intent",  # the intent is durable, the effect has not been called
    "after-effect",  # the effect has been performed, nothing of it is written
    "timer-due",  # a timer is due and about to fire
    "decision",  # a person's decision has come, nothing of it is written
    "signal",  # an event has come, nothing of it is written
    "start",  # a case is about to start
)
"""The points there are."""


class FaultInjected(Exception):
    """Raised where a fault point was told to raise."""


class _Plan:
    def __init__(self, text: str) -> None:
        name, action, nth = (*text.split(":"), "raise", "1")[:3] if text.count(":") < 2 else text.split(":")
        if name not in POINTS or action not in ("kill", "raise", "sleep") or not nth.isdigit():
            raise ValueError(
                f"PROVENET_FAULT={text!r}: expected POINT:ACTION:N with POINT one of {', '.join(POINTS)}"
            )
        self.name, self.action, self.left = name, action, int(nth)

    def hit(self, name: str) -> None:
        if name != self.name:
            return
        self.left -= 1
        if self.left:
            return
        if self.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.action == "sleep":
            time.sleep(1)
        else:
            raise FaultInjected(name)


_plan: _Plan | None = _Plan(os.environ["PROVENET_FAULT"]) if os.environ.get("PROVENET_FAULT") else None


def fault_point(name: str) -> None:
    """Pass a named point; does nothing unless a test planned a fault."""
    if _plan is not None:
        _plan.hit(name)


def plan(text: str | None) -> None:
    """Plan a fault in this process, or none; the environment variable does the same for a new process."""
    global _plan  # noqa: PLW0603  one plan for the process is the point
    _plan = _Plan(text) if text else None

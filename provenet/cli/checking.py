"""One worker of `provenet verify` on many nets: loads what it is told to, decides, and sends rows.

It lives in a process of its own, so that a crash or a hang costs one row. What it sends are tuples whose
first part says what they are: ``asked`` (the properties), ``began`` (one of them), ``row``, ``done``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from provenet.cli.printing import error_text
from provenet.cli.reports.outcome import Outcome, Steps, failed, outcomes_of
from provenet.nets.errors import ProvenetError

if TYPE_CHECKING:
    from provenet.cli.loading import Loaded
    from provenet.verify.verdict import Report, Verdict

Row = dict[str, Any]
"""What programs read of one property of one target: ``target``, ``property``, ``verdict``, ``seconds`` ..."""

Send = Callable[[tuple[Any, ...]], None]

GRACE = 1.0
"""Seconds after its time that a property has to stop by itself."""

LOADING = 60.0
"""Seconds for a process to start and a target to be loaded, beside the property's own."""


def serve(tasks: Connection) -> None:
    """Work on what comes, until nothing does.

    Args:
        tasks: Where tasks come from and rows go to: a target, its properties (``None`` for what it requires),
            the seconds for each, and whether the steps of traces are told.
    """
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)  # so that whoever stops this process also stops those that it starts
    # What every task needs is loaded before the first one's clock starts; what cannot be, each task tells.
    with contextlib.suppress(Exception):
        import provenet.verify.asked
        import provenet.verify.check  # noqa: F401

    while True:
        try:
            target, words, timeout, steps = tasks.recv()

            def send(message: tuple[Any, ...], limit: float = timeout + 2 * GRACE) -> None:
                _alarm(limit)
                tasks.send(message)

            _alarm(timeout + LOADING + GRACE)
            answer(target, words, timeout=timeout, steps=steps, send=send)
            _alarm(0)
            tasks.send(("done",))
        except (EOFError, BrokenPipeError, KeyboardInterrupt):
            return


def _alarm(seconds: float) -> None:
    """End this process after a while, even inside a solver: for where nobody is left who would do it."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def answer(
    target: str, words: Sequence[str] | None, *, timeout: float, steps: Steps = "told", send: Send
) -> None:
    """Say what there is to say of one target.

    Args:
        target: What the user named.
        words: The properties; ``None`` for what the net requires.
        timeout: Seconds for each property.
        steps: Whether the steps of traces are told.
        send: Takes each message.
    """
    from provenet.cli.loading import load
    from provenet.verify.asked import decide
    from provenet.verify.check import requirements_of

    asked = words[0] if words is not None and len(words) == 1 else ""
    net = ""
    try:
        loaded = load(target)
        net = loaded.net.name
        if words is None:
            required = [r.name or p.id for p, r in requirements_of(loaded.net)]
            send(("asked", list(dict.fromkeys(required))))
            report = decide(
                loaded.net, timeout=timeout, progress=lambda name, *_: send(("began", name)) if name else None
            )
            for part in _parts(report):
                send(_row(loaded, _name(part.verdicts[0]), part, part.seconds, steps))
            return
    except Exception as error:  # noqa: BLE001 - whatever a file does, the others go on
        send(_error(target, asked, error, net=net))
        return
    for word in words:
        send(("began", word))
        began = time.perf_counter()
        try:
            report = decide(loaded.net, [word], timeout=timeout)
            row = _row(loaded, word, report, time.perf_counter() - began, steps)
        except Exception as error:  # noqa: BLE001
            row = _error(target, word, error, net=net, seconds=time.perf_counter() - began)
        send(row)


def row_of(outcome: Outcome, asked: str) -> Row:
    """The row for one outcome, where no report is at hand."""
    return {
        "target": outcome.target,
        "net": outcome.net,
        "property": asked,
        "verdict": outcome.status,
        "seconds": round(outcome.seconds, 4),
        "engine": outcome.engine,
        "reason": outcome.reason,
    }


def summary(report: Report) -> dict[str, str]:
    """A report in one verdict: the worst there is, how it was decided, and why it is no better."""
    status = str(report.status())
    worst = [v for v in report.verdicts if str(v.status) == status]
    reasons = [v.reason for v in worst if v.reason]
    more = f" (and {len(worst) - 1} more)" if len(worst) > 1 and status != "PROVED" else ""
    engines = dict.fromkeys(v.method for v in worst if v.method)
    return {
        "verdict": status,
        "engine": ", ".join(engines),
        "reason": (reasons[0] if reasons else "") + more,
    }


def _parts(report: Report) -> list[Report]:
    """A report for each property."""
    groups: dict[str, list[Verdict]] = {}
    for v in report.verdicts:
        groups.setdefault(_name(v), []).append(v)
    return [replace(report, verdicts=tuple(of), seconds=sum(v.seconds for v in of)) for of in groups.values()]


def _name(v: Verdict) -> str:
    """What a row calls a property: its id, or the text of the user's own."""
    return v.property if v.property[:1].isupper() else v.title


def _row(loaded: Loaded, asked: str, report: Report, seconds: float, steps: Steps) -> tuple[Any, ...]:
    row: Row = {"target": loaded.target, "net": report.net, "property": asked}
    told = summary(report)
    row |= {"verdict": told["verdict"], "seconds": round(seconds, 4)}
    row |= {"engine": told["engine"], "reason": told["reason"], "net_hash": report.net_hash}
    shown = next((v for v in report.verdicts if v.trace is not None), None)
    if shown is not None and shown.trace is not None:
        row |= {"subject": shown.subject, "trace": shown.trace.to_json(loaded.net)}
    return ("row", row, [o.to_json() for o in outcomes_of(loaded, report, steps=steps)])


def _error(
    target: str, asked: str, error: Exception, *, net: str = "", seconds: float = 0.0
) -> tuple[Any, ...]:
    if isinstance(error, ProvenetError):
        said = error_text(error)
    elif isinstance(error, OSError):
        said = str(error.strerror or error)
    else:
        said = f"provenet has a bug: {type(error).__name__}: {error}"
    outcome = failed(target, said, net=net, prop=asked, seconds=seconds)
    return ("row", row_of(outcome, asked), [outcome.to_json()])

"""Structured logs through the standard ``logging`` module: one record for each thing that happened.

::

    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.getLogger("provenet").addHandler(handler)
    logging.getLogger("provenet").setLevel(logging.INFO)
    Engine.open("renewals.db", agents=[agent], observers=[Logs()])

A firing or a call that begins is ``DEBUG``, what a case or the outside does ``INFO``, what somebody should
look at ``WARNING``, an engine that fell ``CRITICAL``. Each record carries its facts as ``record.provenet``,
which ``JsonLines`` writes out. Values of tokens are never among them.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import fields
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from provenet.engine.clock import from_micros
from provenet.engine.watching import events as e
from provenet.engine.watching.context import trace_id


class Logs:
    """An observer that logs; loggers are ``provenet.case``, ``provenet.proposal`` and so on."""

    def __init__(self) -> None:
        self._database = ""

    def see(self, event: e.Event) -> None:
        """Log it, where somebody listens at that level."""
        if isinstance(event, e.Opened):
            self._database = event.database
        kind: Any = type(event)
        name, about = _ABOUT[kind]
        level = _level(event)
        logger = logging.getLogger(name)
        if not logger.isEnabledFor(level):
            return
        said = {f: _plain(f, getattr(event, f)) for f in _fields(kind)}
        case = said.get("case", "")
        if case:
            said["trace"] = f"{trace_id(self._database, case):032x}"
        logger.log(level, "%s", about, extra={"provenet": {"event": about, **said}})


class JsonLines(logging.Formatter):
    """One JSON object a line: when it was logged, level, logger, and the record's facts.

    A record of another library, or one without facts, gets its text as ``message``. Control characters and
    line ends are escaped, so a line is always one record, whatever a name contains.

    Args:
        always: What every line says besides, such as which worker wrote it.
    """

    def __init__(self, **always: Any) -> None:
        super().__init__()
        self._always = always

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            **self._always,
        }
        facts = getattr(record, "provenet", None)
        if isinstance(facts, dict):
            line |= facts
        else:
            line["message"] = record.getMessage()
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class WholeLines(logging.Handler):
    """Appends each record to a file by one write of the operating system.

    So several processes can share the file: no line is ever in the midst of another's. (``FileHandler``
    writes a line that is longer than its buffer in pieces.)

    Args:
        name: The file; ``-`` for standard error.

    Raises:
        OSError: It cannot be opened.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._own = name != "-"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
        self._file = os.open(name, flags, 0o666) if self._own else 2

    def emit(self, record: logging.LogRecord) -> None:
        """Write it; what fails is for ``logging`` to handle."""
        try:
            line = memoryview(f"{self.format(record)}\n".encode("utf-8", "backslashreplace"))
            while line:
                line = line[os.write(self._file, line) :]
        except Exception:  # noqa: BLE001  as every handler does
            self.handleError(record)

    def close(self) -> None:
        """Close the file."""
        super().close()
        if self._own and self._file >= 0:
            os.close(self._file)
            self._file = -1


_ABOUT: dict[type, tuple[str, str]] = {
    e.Opened: ("provenet.engine", "engine opened"),
    e.Stopped: ("provenet.engine", "engine stopped"),
    e.Deployed: ("provenet.engine", "deployed"),
    e.CaseStarted: ("provenet.case", "case started"),
    e.CaseTaken: ("provenet.case", "case taken up"),
    e.CaseTurned: ("provenet.case", "case turned"),
    e.Fired: ("provenet.firing", "fired"),
    e.Asked: ("provenet.proposal", "asked"),
    e.Answered: ("provenet.proposal", "answered"),
    e.EffectIntended: ("provenet.effect", "effect intended"),
    e.EffectTried: ("provenet.effect", "effect tried"),
    e.Rung: ("provenet.timer", "timer rang"),
    e.Decided: ("provenet.person", "decided"),
    e.Signalled: ("provenet.signal", "event came"),
    e.Pulled: ("provenet.kill", "kill switch"),
    e.Committed: ("provenet.store", "committed"),
}
"""The logger of each kind of event, and what it is called."""

_DEBUG = (e.Fired, e.Asked, e.EffectIntended, e.Committed, e.CaseTaken)
_TIMES = {"at", "began", "due", "opened", "created"}


def _level(event: e.Event) -> int:
    match event:
        case e.Stopped(failure=failure) if failure:
            return logging.CRITICAL
        case e.CaseTurned(status="parked" | "failed") | e.Pulled(released="no"):
            return logging.WARNING
        case e.Answered(outcome="failed") | e.EffectTried(outcome="failed" | "again"):
            return logging.WARNING
        case e.CaseTurned(status="running" | "waiting", before="running" | "waiting"):
            return logging.DEBUG
        case _:
            return logging.DEBUG if isinstance(event, _DEBUG) else logging.INFO


@lru_cache(maxsize=64)
def _fields(kind: Any) -> tuple[str, ...]:
    return tuple(f.name for f in fields(kind))


def _plain(name: str, value: Any) -> Any:
    if name in _TIMES:
        return from_micros(value).isoformat()
    if isinstance(value, Decimal):
        return str(value)
    return round(value, 6) if isinstance(value, float) else value

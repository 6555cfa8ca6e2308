"""Who watches a `provenet run`: a Prometheus endpoint, a log of JSON lines."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from provenet.cli.printing import Unusable

if TYPE_CHECKING:
    from provenet.engine.watching import Observer

Metrics = Annotated[
    str | None,
    typer.Option(
        "--metrics", metavar="[HOST:]PORT", help="Serve metrics for Prometheus there.", show_default=False
    ),
]
Log = Annotated[
    str | None,
    typer.Option(
        "--log",
        metavar="FILE",
        help="Append what happens, one JSON object a line; - for standard error.",
        show_default=False,
    ),
]
LogLevel = Annotated[str, typer.Option(help="What --log takes: debug (every firing), info or warning.")]

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}


@contextlib.contextmanager
def observing(metrics: str | None, log: str | None, level: str) -> Iterator[tuple[Observer, ...]]:
    """The observers that the command line asks for, and an end to them.

    Raises:
        Unusable: An address, a file or a level cannot be used.
    """
    if level not in _LEVELS:
        raise Unusable(
            f"there is no level {level!r}", where="--log-level", hint=f"there are: {', '.join(_LEVELS)}"
        )
    with contextlib.ExitStack() as stack:
        found: list[Observer] = []
        if log is not None:
            found.append(stack.enter_context(_logging(log, _LEVELS[level])))
        if metrics is not None:
            found.append(stack.enter_context(_served(metrics)))
        yield tuple(found)


@contextlib.contextmanager
def _logging(name: str, level: int) -> Iterator[Observer]:
    from provenet.engine.watching import JsonLines, Logs

    try:
        handler: logging.Handler = (
            logging.StreamHandler(sys.stderr) if name == "-" else logging.FileHandler(name, encoding="utf-8")
        )
    except (OSError, ValueError) as error:
        raise Unusable(f"the log cannot be written: {error}", where="--log") from None
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("provenet")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield Logs()
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)
        handler.close()


@contextlib.contextmanager
def _served(address: str) -> Iterator[Observer]:
    found = re.fullmatch(r"(?:(\[[0-9a-fA-F:.]+\]|[^:\s]+):)?(\d{1,5})", address)
    if found is None or int(found[2]) > 65_535:
        raise Unusable(f"{address!r} is no address", where="--metrics", hint="write --metrics 127.0.0.1:9464")
    try:
        from provenet.engine.watching.prometheus import Prometheus
    except ImportError:
        raise Unusable(
            "metrics need prometheus-client", where="--metrics", hint="pip install 'provenet[otel]'"
        ) from None
    with Prometheus() as served:
        served.listen((found[1] or "127.0.0.1").strip("[]"), int(found[2]))
        yield served

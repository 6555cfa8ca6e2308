"""Who watches a `provenet run`: a Prometheus endpoint, a log of JSON lines, an OpenTelemetry collector."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from provenet.cli.printing import Unusable
from provenet.nets.quick import dataclass

if TYPE_CHECKING:
    from provenet.engine.watching import Observer
    from provenet.engine.watching.prometheus import Prometheus, Summed

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

Otlp = Annotated[
    str | None,
    typer.Option(
        "--otlp",
        metavar="URL",
        help="Send traces and metrics to this OpenTelemetry collector, over OTLP/HTTP.",
        show_default=False,
    ),
]

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """Who shall watch a run; goes to worker processes as it is.

    Attributes:
        metrics: Where Prometheus scrapes.
        log: The file of JSON lines.
        level: What of it.
        otlp: The collector.
    """

    metrics: str | None = None
    log: str | None = None
    level: str = "info"
    otlp: str | None = None


@contextlib.contextmanager
def observing(watching: Watching) -> Iterator[tuple[Observer, ...]]:
    """The observers that the command line asks for, and an end to them.

    Raises:
        Unusable: An address, a file or a level cannot be used.
    """
    with contextlib.ExitStack() as stack:
        found = stack.enter_context(_told(watching))
        if watching.metrics is not None:
            served = stack.enter_context(_counting())
            served.listen(*_address(watching.metrics))
            found = (*found, served)
        yield found


@contextlib.contextmanager
def observing_workers(watching: Watching) -> Iterator[tuple[tuple[Observer, ...], Summed | None]]:
    """The observers of the process that starts workers, and the metrics of them all.

    Raises:
        Unusable: An address, a file or a level cannot be used.
    """
    with contextlib.ExitStack() as stack:
        found = stack.enter_context(_told(watching))
        summed = None
        if watching.metrics is not None:
            address = _address(watching.metrics)
            # Workers find it in their environment, and have to before they import what counts.
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="provenet-metrics-"))
            stack.enter_context(_in_environment("PROMETHEUS_MULTIPROC_DIR", folder))
            found = (*found, stack.enter_context(_counting()))
            from provenet.engine.watching.prometheus import Summed

            summed = stack.enter_context(Summed(folder))
            summed.listen(*address)
        yield found, summed


@contextlib.contextmanager
def observing_as(worker: int, watching: Watching) -> Iterator[tuple[Observer, ...]]:
    """The observers of one of several workers: it counts into the folder, and signs its lines."""
    with contextlib.ExitStack() as stack:
        found = stack.enter_context(_told(watching, {"worker": worker}))
        if watching.metrics is not None:
            found = (*found, stack.enter_context(_counting()))
        yield found


@contextlib.contextmanager
def _told(watching: Watching, signed: Mapping[str, object] = {}) -> Iterator[tuple[Observer, ...]]:
    """The log, and the collector."""
    if watching.level not in _LEVELS:
        raise Unusable(
            f"there is no level {watching.level!r}",
            where="--log-level",
            hint=f"there are: {', '.join(_LEVELS)}",
        )
    with contextlib.ExitStack() as stack:
        found: list[Observer] = []
        if watching.log is not None:
            found.append(stack.enter_context(_logging(watching.log, _LEVELS[watching.level], signed)))
        if watching.otlp is not None or _has_collector(os.environ):
            exported = _exporting(watching.otlp)
            if exported is not None:
                found.append(stack.enter_context(exported))
        yield tuple(found)


@contextlib.contextmanager
def _logging(name: str, level: int, signed: Mapping[str, object]) -> Iterator[Observer]:
    from provenet.engine.watching import JsonLines, Logs, WholeLines

    try:
        handler = WholeLines(name)
    except (OSError, ValueError) as error:
        raise Unusable(f"the log cannot be written: {error}", where="--log") from None
    handler.setFormatter(JsonLines(**signed))
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


def _address(said: str) -> tuple[str, int]:
    found = re.fullmatch(r"(?:(\[[0-9a-fA-F:.]+\]|[^:\s]+):)?(\d{1,5})", said)
    if found is None or int(found[2]) > 65_535:
        raise Unusable(f"{said!r} is no address", where="--metrics", hint="write --metrics 127.0.0.1:9464")
    return (found[1] or "127.0.0.1").strip("[]"), int(found[2])


def _counting() -> Prometheus:
    try:
        from provenet.engine.watching.prometheus import Prometheus
    except ImportError:
        raise Unusable(
            "metrics need prometheus-client", where="--metrics", hint="pip install 'provenet[otel]'"
        ) from None
    return Prometheus()


_COLLECTORS = tuple(f"OTEL_EXPORTER_OTLP_{kind}ENDPOINT" for kind in ("", "TRACES_", "METRICS_"))
_PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"


def _has_collector(environment: Mapping[str, str]) -> bool:
    """Whether the environment names one, in the words of the OpenTelemetry specification."""
    disabled = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return not disabled and any(environment.get(name) for name in _COLLECTORS)


def _exporting(url: str | None) -> contextlib.AbstractContextManager[Observer] | None:
    """What sends to a collector; nothing where only the environment names one that we cannot speak to."""
    if os.environ.get(_PROTOCOL, "http/protobuf") == "http/protobuf":
        try:
            from provenet.engine.watching.otlp import exporting
        except ImportError:
            wrong = "the exporter is not installed: pip install 'provenet[otel]'"
        else:
            return exporting(url)
    else:
        wrong = f"{_PROTOCOL} is {os.environ[_PROTOCOL]!r}, and only http/protobuf is spoken here"
    if url is not None:
        raise Unusable(wrong, where="--otlp")
    # The variable may be meant for other programs.
    sys.stderr.write(f"nothing is sent to the OpenTelemetry collector: {wrong}\n")
    return None


@contextlib.contextmanager
def _in_environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before

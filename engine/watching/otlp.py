"""Traces and metrics to an OpenTelemetry collector, over OTLP/HTTP.

::

    with exporting("http://127.0.0.1:4318") as telemetry:
        Engine.open("renewals.db", agents=[agent], observers=[telemetry])

For programs that set up no providers of their own; one that has them uses ``Telemetry()``. The standard
environment variables hold for whatever is not said here: ``OTEL_EXPORTER_OTLP_ENDPOINT``, ``_HEADERS``,
``_TIMEOUT``, ``OTEL_SERVICE_NAME``, ``OTEL_TRACES_SAMPLER``, ``OTEL_METRIC_EXPORT_INTERVAL``, ... Needs
``provenet[otel]``.

Specifications: OpenTelemetry Protocol Exporter 1.x, OTLP 1.x (protobuf over HTTP).
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from provenet.engine.errors import EngineError
from provenet.engine.watching.telemetry import Telemetry


@contextmanager
def exporting(endpoint: str | None = None) -> Iterator[Telemetry]:
    """An observer whose spans and metrics go to a collector; what is left is sent at the end.

    A collector that is not there costs the spans, and an error in the log; no case waits for it.

    Args:
        endpoint: The collector's base URL; what the environment says unless given.

    Raises:
        EngineError: It is no URL of a collector.
    """
    places: dict[str, str] = {}
    if endpoint is not None:
        parts = urlsplit(endpoint)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query:
            raise EngineError(
                f"{endpoint!r} is no address of a collector", hint="write http://127.0.0.1:4318"
            )
        places = {kind: f"{endpoint.rstrip('/')}/v1/{kind}" for kind in ("traces", "metrics")}
    resource = Resource.create(_names(os.environ))
    traces = TracerProvider(resource=resource, shutdown_on_exit=False)
    traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=places.get("traces"))))
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=places.get("metrics")))
    meters = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
    try:
        yield Telemetry(traces=traces, meters=meters)
    finally:
        # Each goes on trying for some seconds where nobody answers.
        with ThreadPoolExecutor(2) as both:
            for _ in both.map(lambda provider: provider.shutdown(), (traces, meters)):
                pass


def _names(environment: Mapping[str, str]) -> dict[str, str]:
    """What tells this process's telemetry from others', where the environment does not."""
    said = environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    names = {"service.instance.id": uuid.uuid4().hex, "service.version": version("provenet")}
    if "OTEL_SERVICE_NAME" not in environment and "service.name=" not in said:
        names["service.name"] = "provenet"
    return {name: value for name, value in names.items() if f"{name}=" not in said}

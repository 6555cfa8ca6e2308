"""A Prometheus endpoint: the metrics of ``provenet.engine.watching.instruments``, to be scraped over HTTP.

::

    with Prometheus() as metrics:
        metrics.listen("127.0.0.1", 9464)
        Engine.open("renewals.db", agents=[agent], observers=[metrics])

Needs ``prometheus-client``, which ``provenet[otel]`` brings. Names are those of OpenTelemetry in
Prometheus's form: ``provenet.firings`` is ``provenet_firings_total``. The endpoint has no password: it
listens where it is told to, and belongs on a loopback or an inner network.

Several processes have one endpoint with ``Summed``: each counts into files of its own in a shared folder
(``prometheus-client``'s multi-process mode), one of them adds them up. What a process counted stays counted
when it dies, so no counter ever goes back; what it held is no longer held.
"""

from __future__ import annotations

import threading
from http.server import HTTPServer
from pathlib import Path
from typing import Any, Self

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from provenet.engine.errors import EngineError
from provenet.engine.watching import events as e
from provenet.engine.watching import instruments as i

SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that names the shared folder; to be set before this module is imported."""


class _Endpoint:
    """Answers scrapes of a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._server: tuple[HTTPServer, threading.Thread] | None = None

    def listen(self, host: str, port: int) -> int:
        """Answer scrapes in a thread of its own, until closed; the port, which 0 leaves to the system.

        Raises:
            EngineError: The address cannot be had.
        """
        try:
            server, thread = start_http_server(port, host, self.registry)
        except (OSError, OverflowError) as error:
            raise EngineError(
                f"metrics cannot be served: {error}",
                where=f"{host}:{port}",
                hint="name another address: --metrics 127.0.0.1:9464",
            ) from None
        self._server = (server, thread)
        return int(server.server_address[1])

    def close(self) -> None:
        """Listen no more."""
        if self._server is not None:
            server, thread = self._server
            self._server = None
            server.shutdown()
            server.server_close()
            thread.join()

    def __enter__(self) -> Self:
        """Nothing yet; ``listen`` begins."""
        return self

    def __exit__(self, *_: object) -> None:
        """Listen no more."""
        self.close()


class Prometheus(_Endpoint):
    """An observer that counts, and an endpoint that says the counts.

    Args:
        registry: Where the metrics are kept; one of its own unless said otherwise.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        super().__init__(registry or CollectorRegistry())
        self._metrics = {known.name: _metric(known, self.registry) for known in i.ALL}
        self._measure = i.Measure()
        self._children: dict[tuple[str, tuple[str, ...]], Any] = {}

    def see(self, event: e.Event) -> None:
        """Count it."""
        for instrument, amount, labels in self._measure.samples(event):
            child = self._children.get((instrument.name, labels))
            if child is None:
                metric = self._metrics[instrument.name]
                child = metric.labels(*labels) if labels else metric
                child = child.observe if instrument.kind == "histogram" else child.inc
                self._children[instrument.name, labels] = child
            child(amount)


class Summed(_Endpoint):
    """An endpoint that says what several processes have counted together.

    Args:
        folder: Where they count: what ``SHARED`` names in the environment of each.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__(CollectorRegistry())
        self._folder = str(folder)
        MultiProcessCollector(self.registry, path=self._folder)  # type: ignore[no-untyped-call]

    def gone(self, pid: int) -> None:
        """A process has ended: it holds nothing any more."""
        mark_process_dead(pid, self._folder)  # type: ignore[no-untyped-call]


def _metric(known: i.Instrument, registry: CollectorRegistry) -> Any:
    name = known.name.replace(".", "_")
    name += {"s": "_seconds", "USD": "_usd"}.get(known.unit, "")
    labels = [label.replace(".", "_") for label in known.labels]
    match known.kind:
        case "counter":
            return Counter(name, known.about, labels, registry=registry)
        case "level":
            return Gauge(name, known.about, labels, registry=registry, multiprocess_mode="livesum")
        case "histogram":
            return Histogram(name, known.about, labels, registry=registry, buckets=known.bounds)

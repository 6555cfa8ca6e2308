"""What an OpenTelemetry collector is on the wire: an HTTP endpoint that takes OTLP in protobuf."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """Keeps what came.

    Attributes:
        url: Where it is.
        spans: Spans, with the attributes of their resources.
        points: The last value of each metric by process and labels.
        wrong: What it could not make sense of.
    """

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[tuple[dict[str, str], Any]] = []
        self.points: dict[tuple[str, str, str], float] = {}
        self.wrong: list[str] = []

    def take(self, path: str, body: bytes) -> None:
        match path:
            case "/v1/traces":
                for of in ExportTraceServiceRequest.FromString(body).resource_spans:
                    names = _texts(of.resource.attributes)
                    self.spans += [(names, span) for scope in of.scope_spans for span in scope.spans]
            case "/v1/metrics":
                for had in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                    process = _texts(had.resource.attributes)["service.instance.id"]
                    for metric in (m for scope in had.scope_metrics for m in scope.metrics):
                        for point in metric.sum.data_points:
                            labels = str(sorted(_texts(point.attributes).items()))
                            self.points[metric.name, process, labels] = point.as_double or point.as_int
            case _:
                self.wrong.append(path)

    def total(self, name: str) -> float:
        """The sum of a metric over all processes and labels."""
        return sum(value for (metric, _, _), value in self.points.items() if metric == name)


def _texts(attributes: Any) -> dict[str, str]:
    return {a.key: a.value.string_value for a in attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on loopback."""
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            try:
                assert self.headers["content-type"] == "application/x-protobuf"
                found.take(self.path, body)
            except Exception as error:  # noqa: BLE001  told to the test
                found.wrong.append(repr(error))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""A collector of OpenTelemetry data: OTLP over HTTP, kept as it was sent."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support.server import Silent, running_server


class Collector:
    """What a service has sent so far, as paths and bodies."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.received: list[tuple[str, bytes]] = []

    def spans(self) -> list[Span]:
        """Return the spans."""
        return [
            span
            for path, body in self.received
            if path == "/v1/traces"
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def metric(self, name: str) -> dict[frozenset[tuple[str, Any]], float]:
        """Return the last values of a metric, by their attributes; counts for a histogram."""
        return {
            frozenset(attributes(point).items()): float(getattr(point, value))
            for path, body in self.received
            if path == "/v1/metrics"
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for data, value in ((metric.sum, "as_int"), (metric.histogram, "count"))
            for point in data.data_points
        }


def attributes(of: Any) -> dict[str, Any]:
    """Return the attributes of a span or of a metric's value."""
    return {
        each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value")
        for each in of.attributes
    }


@contextmanager
def running_collector() -> Iterator[Collector]:
    """Run a collector on a port of its own."""

    class Handler(Silent, BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.received.append((self.path, body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with running_server(Handler) as origin:
        yield (collector := Collector(origin))

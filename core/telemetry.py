"""OpenTelemetry: requests, statements and connections, where an `OTEL_*` variable asks for it."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import psycopg2
from fastapi.telemetry import TelemetryConfig
from opentelemetry import metrics, trace
from sqlalchemy.pool import QueuePool


def telemetry_config() -> TelemetryConfig:
    """Return FastAPI's own part: off without an `OTEL_*` variable, because it asks each request.

    Errors are in the log: here they would go out with their messages and stack traces.
    """
    is_on = any(name.startswith("OTEL_") for name in os.environ)
    return {
        "auto_configure": is_on,
        "tracing": is_on,
        "metrics": is_on,
        "logs": False,
        "operation_spans": False,
    }


def statement_tracer() -> trace.Tracer | None:
    """Return a tracer, or None when tracing is off, because spans cost time."""
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return None
    return trace.get_tracer(__name__)


def observe_pool(pool: QueuePool) -> None:
    """Report the connections in use as a metric."""

    def count(_options: metrics.CallbackOptions) -> Iterable[metrics.Observation]:
        yield metrics.Observation(pool.checkedout(), {"db.client.connection.state": "used"})

    metrics.get_meter(__name__).create_observable_up_down_counter(
        "db.client.connection.count",
        callbacks=[count],
        description="Connections to PostgreSQL, by their state.",
    )


@contextmanager
def statement_span(tracer: trace.Tracer, statement: str) -> Iterator[None]:
    """Record a span of a statement.

    The statement's text has names in the place of its parameters, which are left out. So is the
    message of an error, which could quote a row: its class is enough.
    """
    with tracer.start_as_current_span(
        statement.split(maxsplit=1)[0],
        kind=trace.SpanKind.CLIENT,
        attributes={"db.system.name": "postgresql", "db.query.text": statement},
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        except psycopg2.Error as error:
            span.set_attribute("error.type", type(error).__qualname__)
            span.set_status(trace.StatusCode.ERROR)
            raise

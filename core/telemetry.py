"""OpenTelemetry: a span for each statement, where an exporter is configured."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
from opentelemetry import trace


def statement_tracer() -> trace.Tracer | None:
    """Return a tracer, or None when tracing is off, because spans cost time."""
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return None
    return trace.get_tracer(__name__)


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

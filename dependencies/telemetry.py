"""OpenTelemetry: a span for each statement, where somebody has asked for spans."""

from typing import Any

from opentelemetry import trace
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext


def trace_statements(engine: Engine) -> None:
    """Make a span of each statement of an engine; where nobody collects them it costs nothing.

    The statement's text has names in the place of its parameters, which are left out.
    """
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return
    tracer = trace.get_tracer(__name__)

    def begin(*call: Any) -> None:  # noqa: ANN401 - what SQLAlchemy hands over
        _, _, statement, _, context, _ = call
        context.span = tracer.start_span(
            statement.split(maxsplit=1)[0],
            kind=trace.SpanKind.CLIENT,
            attributes={"db.system.name": "postgresql", "db.query.text": statement},
        )

    def end(*call: Any) -> None:  # noqa: ANN401 - the same
        call[4].span.end()

    def fail(failure: ExceptionContext) -> None:
        span = getattr(failure.execution_context, "span", None)
        if span is not None and span.is_recording():
            # The error's class and no more: its message could quote a row.
            span.set_attribute("error.type", type(failure.original_exception).__qualname__)
            span.set_status(trace.StatusCode.ERROR)
            span.end()

    event.listen(engine, "before_cursor_execute", begin)
    event.listen(engine, "after_cursor_execute", end)
    event.listen(engine, "handle_error", fail)

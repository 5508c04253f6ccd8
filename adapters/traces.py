"""Traces by OpenTelemetry, to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names. Imported only if there is one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from domain.ports import Traces

_TRACEPARENT: Final = "traceparent"
_SPANS_WAITING_MAX: Final = 2048
_EXPORT_S_MAX: Final = 5.0


class OpenTelemetryTraces(Traces):
    """Spans of one provider of our own: nothing global is set, so other users of the library in the process are left alone."""

    def __init__(self, processor: SpanProcessor) -> None:
        # Name and resource may be given in the library's own way: OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES.
        self._provider = TracerProvider(resource=Resource.create({"service.name": "emg-sessions"}), shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("emg-sessions")
        self._texts = TraceContextTextMapPropagator()

    @contextmanager
    def span(self, name: str, *, within: str | None = None, **facts: str | int | float) -> Iterator[None]:
        """See the port. Of an error only its type's name is told: messages may quote what must not leave."""
        context = None if within is None else self._texts.extract({_TRACEPARENT: within})
        with self._tracer.start_as_current_span(
            name, context=context, attributes=facts, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except BaseException as error:
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise

    def here(self) -> str | None:
        """See the port."""
        carrier: dict[str, str] = {}
        self._texts.inject(carrier)
        return carrier.get(_TRACEPARENT)

    def close(self) -> None:
        """Sends what waits, within a bound, and ends."""
        self._provider.shutdown()


def to_collector(endpoint: str) -> OpenTelemetryTraces:
    """Traces to a collector that speaks OTLP over HTTP. One that is slow or away costs spans, not time.

    Whatever else the library reads from its own environment variables, such as headers, it still does.
    """
    return OpenTelemetryTraces(batched(OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=_EXPORT_S_MAX)))


def batched(exporter: SpanExporter) -> SpanProcessor:
    """Exports in the background; what is more than may wait is dropped."""
    return BatchSpanProcessor(exporter, max_queue_size=_SPANS_WAITING_MAX, export_timeout_millis=_EXPORT_S_MAX * 1000)

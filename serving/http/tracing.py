"""OpenTelemetry traces, an extra (`pip install ownshelf[otel]`): one span a request, made from a RequestRecord.

The ready-made ASGI instrumentation is not used: it writes addresses, paths, queries and user agents into its spans.
A caller's own trace id is not taken over either, since it would join a shopper's requests.
"""

from __future__ import annotations

import time
from typing import Any

from data.errors import ServingError
from serving.http.request_record import RequestRecord

try:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
    from opentelemetry.trace import SpanKind, Status, StatusCode
except ImportError:
    raise ServingError("otel_endpoint: needs the extra: pip install 'ownshelf[otel]'") from None


class Traces:
    """Makes spans. They are sent by a thread of their own, in batches."""

    def __init__(self, processor: SpanProcessor) -> None:
        self._provider = TracerProvider(resource=Resource({"service.name": "ownshelf"}), shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("ownshelf")

    @staticmethod
    def exported(endpoint: str) -> Traces:
        """Export to an OTLP/HTTP address, such as http://127.0.0.1:4318/v1/traces."""
        exporter: SpanExporter = OTLPSpanExporter(endpoint=endpoint)
        return Traces(BatchSpanProcessor(exporter))

    def observe(self, seen: RequestRecord) -> None:
        """Record the span of a request that has just been answered."""
        end = time.time_ns()
        attributes: dict[str, Any] = {
            "http.request.method": seen.method,
            "http.route": seen.route,
            "http.response.status_code": seen.status,
            "http.response.body.size": seen.n_bytes,
            "ownshelf.request_id": seen.request_id,
            "ownshelf.mode": seen.mode,
            "error.type": seen.code,
        }
        span = self._tracer.start_span(
            f"{seen.method} {seen.route}",
            kind=SpanKind.SERVER,
            attributes={name: value for name, value in attributes.items() if value != ""},
            start_time=end - int(seen.seconds * 1e9),
        )
        if seen.status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        span.end(end)

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()

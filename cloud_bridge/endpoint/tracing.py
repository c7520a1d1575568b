"""What becomes of calls, as OpenTelemetry spans: one of the call, as a child of the device's, and in it one of its wait in
the queue and one of its run. They are made when the call has been answered, and sent on another thread."""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib import metadata
from typing import TYPE_CHECKING

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from cloud_bridge.endpoint.jobs import Answer, Call
from edge_runtime.errors import InputError

if TYPE_CHECKING:
    from opentelemetry.util.types import Attributes

CANCELLED = "cancelled"

_propagator = TraceContextTextMapPropagator()


class Tracing:
    """Makes the spans of an endpoint and sends them. Who is to be traced the caller decides (the flag in its
    `traceparent`), and of those who say nothing OTEL_TRACES_SAMPLER: all, unless it is set."""

    def __init__(self, exporter: SpanExporter) -> None:
        resource = Resource.create({"service.name": "edge-endpoint", "service.version": metadata.version("edge-runtime")})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("edge-runtime")

    def told(self, call: Call, answer: Answer | None) -> None:
        """A call was answered; None: it was cancelled."""
        now = time.monotonic()
        since = time.time_ns() - int(now * 1e9)  # of the instant 0 of that clock
        context = _propagator.extract(call.message.headers)
        status = CANCELLED if answer is None else answer.status
        about: dict[str, str | int | float] = {"edge.model": call.name, "edge.status": status}
        if call.deadline is not None:
            about["edge.budget"] = call.deadline - call.received
        span = self._tracer.start_span(
            f"infer {call.name}", context, SpanKind.SERVER, about, start_time=since + int(call.received * 1e9)
        )
        if status != 200:
            span.set_status(Status(StatusCode.ERROR, str(status)))
        if span.is_recording() and answer is not None and answer.ran is not None:
            ran = answer.ran
            for name in ("version", "engine", "device", "variant"):
                span.set_attribute(f"edge.{name}", getattr(ran, name))
            inside = set_span_in_context(span)
            for name, begin, end, told in self._parts(call, answer):
                part = self._tracer.start_span(name, inside, attributes=told, start_time=since + int(begin * 1e9))
                part.end(since + int(end * 1e9))
        span.end(since + int(now * 1e9))

    def close(self) -> None:
        """Send what is there, for some seconds at most."""
        self._provider.shutdown()

    def _parts(self, call: Call, answer: Answer) -> Sequence[tuple[str, float, float, Attributes]]:
        ran = answer.ran
        assert ran is not None  # noqa: S101  (the caller saw to it)
        return (
            ("queue", call.complete, ran.started, None),
            ("compute", ran.started, ran.ended, {"edge.rows": ran.rows}),
        )


def exporting(url: str) -> Tracing:
    """To a collector's OTLP over HTTP, like http://127.0.0.1:4318. Raises InputError."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    if not url.startswith(("http://", "https://")):
        raise InputError(f"{url!r} is no collector's URL: write http://127.0.0.1:4318")
    return Tracing(OTLPSpanExporter(f"{url.rstrip('/')}/v1/traces", timeout=5))

"""Calls to a cloud as spans of the application's trace (OpenTelemetry), which the endpoint's spans go on from.

An application that has not imported OpenTelemetry has no trace: then nothing is done, and nothing is needed.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from msgspec import structs

from edge_runtime.errors import RemoteError
from edge_runtime.remote import Call, Pending, Remote

if TYPE_CHECKING:
    from opentelemetry.trace import Span


class Traced:
    """A remote, its calls traced."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self.probe, self.health, self.close = remote.probe, remote.health, remote.close

    @property
    def name(self) -> str:
        """The remote's."""
        return self._remote.name

    def send(self, call: Call, *, deadline: float) -> Pending:
        """Start a call; see the port. Its span is a child of the one that is current here."""
        if "opentelemetry.trace" not in sys.modules:
            return self._remote.send(call, deadline=deadline)
        span, headers = _begin(call, self._remote.name)
        try:
            pending = self._remote.send(structs.replace(call, trace=headers), deadline=deadline)
        except RemoteError as error:
            _fail(span, error)
            raise
        pending.add_done_callback(lambda: _end(span, pending))
        return pending


def _begin(call: Call, where: str) -> tuple[Span, dict[str, str]]:
    """The call's span, and the headers that tell of it; none where nobody traces."""
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    told: dict[str, str | int] = {"edge.model": call.model, "edge.bytes": call.size, "server.address": where}
    span = trace.get_tracer("edge-runtime").start_span(f"infer {call.model}", kind=trace.SpanKind.CLIENT, attributes=told)
    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers, trace.set_span_in_context(span))
    return span, headers


def _end(span: Span, pending: Pending) -> None:
    try:
        reply = pending.result(0.0)
    except RemoteError as error:
        _fail(span, error)
        return
    span.set_attributes({"edge.engine": reply.engine, "edge.device": reply.device, "edge.variant": reply.variant})
    span.end()


def _fail(span: Span, error: RemoteError) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_attribute("error.type", type(error).__name__)
    span.set_status(Status(StatusCode.ERROR, str(error)))
    span.end()

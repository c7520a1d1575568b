"""Calls as spans of one trace, from an application to the engine."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from cloud_bridge.client.traced import Traced
from cloud_bridge.endpoint.service import Service
from cloud_bridge.endpoint.tracing import Tracing, exporting
from cloud_bridge.protocol import oip
from cloud_bridge.protocol.message import Message
from edge_runtime.bundles.store import Bundle, Store
from edge_runtime.engines import Candidate, Loaded
from edge_runtime.errors import InputError, RefusedError, UnreachableError
from edge_runtime.remote import Call
from tests.bundles import write_bundle
from tests.doubles import HERE, PythonSession, ScriptedRemote

AMPLE = 30.0
CALL = Call("double", {"x": np.ones((1, 2), np.float32)})


@pytest.fixture(scope="module")
def told() -> InMemorySpanExporter:
    """The spans of this process's application: a provider is set once and for all."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(told: InMemorySpanExporter) -> InMemorySpanExporter:
    told.clear()
    return told


Endpoint = tuple[Service, Tracing, InMemorySpanExporter]


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[Endpoint]:
    """A service whose spans are kept."""
    store = Store(tmp_path / "store", create=True)
    store.install(write_bundle(tmp_path / "double", "1.0"))
    exporter = InMemorySpanExporter()
    tracing = Tracing(exporter)

    def opener(bundle: Bundle) -> Loaded:
        return Loaded(bundle, Candidate(bundle.manifest.variants[0], HERE), PythonSession(), "a test")

    service = Service(store, workers=1, opener=opener, tracing=tracing)
    yield service, tracing, exporter
    service.close()


def ended(endpoint: Endpoint) -> dict[str, ReadableSpan]:
    """Its spans by name, once all were sent."""
    service, tracing, exporter = endpoint
    service.close()
    tracing.close()
    return {span.name: span for span in exporter.get_finished_spans()}


def test_a_call_goes_on_from_the_application_s_span(spans: InMemorySpanExporter, endpoint: Endpoint) -> None:
    """One trace id through all of it: the application's span, the call's, the endpoint's, and in that wait and run."""
    remote = ScriptedRemote()
    with trace.get_tracer("app").start_as_current_span("frame") as frame:
        Traced(remote).send(CALL, deadline=float("inf")).result(AMPLE)
    (call,) = (span for span in spans.get_finished_spans() if span.name == "infer double")
    assert call.parent is not None
    assert call.parent.span_id == frame.get_span_context().span_id
    assert call.attributes is not None
    assert call.attributes["edge.bytes"] == 8
    message = oip.encode_request(remote.calls[0], budget=AMPLE)
    assert endpoint[0].submit("double", None, message, received=time.monotonic()).result(AMPLE).status == 200
    found = ended(endpoint)
    assert {span.context.trace_id for span in (*found.values(), call)} == {frame.get_span_context().trace_id}
    infer, queue, compute = (found[name] for name in ("infer double", "queue", "compute"))
    assert infer.parent is not None
    assert infer.parent.span_id == call.context.span_id
    assert infer.attributes is not None
    assert infer.attributes["edge.engine"] == "python"
    assert infer.attributes["edge.budget"] == pytest.approx(AMPLE)
    assert infer.start_time is not None
    assert abs(infer.start_time / 1e9 - time.time()) < AMPLE
    for part in (queue, compute):
        assert part.parent is not None
        assert part.parent.span_id == infer.context.span_id
        assert infer.start_time <= (part.start_time or 0) <= (part.end_time or 0) <= (infer.end_time or 0)


def test_who_is_not_to_be_traced_is_not(endpoint: Endpoint) -> None:
    """The caller's flag decides."""
    headers = {**oip.encode_request(CALL).headers, "traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-00"}
    message = Message(oip.encode_request(CALL).body, headers)
    endpoint[0].submit("double", None, message, received=time.monotonic()).result(AMPLE)
    assert ended(endpoint) == {}


def test_a_call_that_did_not_run_is_an_error(endpoint: Endpoint) -> None:
    """With its status; a strange traceparent begins a trace of its own."""
    message = Message(b"junk", {"traceparent": "junk"})
    assert endpoint[0].submit("double", None, message, received=time.monotonic()).result(AMPLE).status == 400
    found = ended(endpoint)
    assert list(found) == ["infer double"]
    assert found["infer double"].status.status_code == StatusCode.ERROR
    assert found["infer double"].parent is None


@pytest.mark.parametrize("at_once", [True, False])
def test_a_call_that_fails_ends_its_span(spans: InMemorySpanExporter, at_once: bool) -> None:
    """As an error, of the kind that the caller meets."""
    error = UnreachableError("nobody") if at_once else RefusedError("no", status=503)
    traced = Traced(ScriptedRemote(failure=error, at_once=at_once))
    with pytest.raises(type(error)):
        traced.send(CALL, deadline=float("inf")).result(AMPLE)
    (span,) = spans.get_finished_spans()
    assert span.status.status_code == StatusCode.ERROR
    assert span.attributes is not None
    assert span.attributes["error.type"] == type(error).__name__


def test_without_a_trace_nothing_is_imported() -> None:
    """An application that does not use OpenTelemetry does not load it by asking a cloud."""
    script = """
import sys
from cloud_bridge.client import connect
from edge_runtime.errors import RemoteError
from edge_runtime.remote import Call
remote = connect("http://127.0.0.1:9")
try:
    remote.send(Call("m", {}), deadline=0.0).result(1.0)
except RemoteError:
    pass
remote.close()
sys.exit(any(name.startswith("opentelemetry") for name in sys.modules))
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=AMPLE, check=False).returncode == 0


def test_a_collector_s_url() -> None:
    """Is one of HTTP."""
    with pytest.raises(InputError, match="http://127"):
        exporting("localhost:4317")

"""One trace from a device's application to the engine, over every transport, as a collector gets it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

from cloud_bridge import broker
from cloud_bridge.client import connect
from edge_runtime import Runtime
from edge_runtime.bundles.manifest import MANIFEST, encode
from edge_runtime.bundles.store import Store
from tests.doubles import manifest
from tests.endpoint import endpoint, eventually
from tests.onnx_store import write_store
from tests.system.mqtt_parts import need

TRACE, PARENT = 0x1234_5678_9ABC_DEF0_1234_5678_9ABC_DEF0, 0x1234_5678_9ABC_DEF0


@contextmanager
def collector() -> Iterator[tuple[str, list[Span]]]:
    """A collector's URL, and the spans that it got."""
    spans: list[Span] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    spans.extend(scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", spans
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("transport", ["http", "mqtt"])
@pytest.mark.parametrize("submitted", [False, True], ids=["infer", "submit"])
def test_a_trace_goes_from_the_device_to_the_engine(tmp_path: Path, transport: str, submitted: bool) -> None:
    """The endpoint's spans carry the trace id of the span that was current where the application asked."""
    store = write_store(tmp_path / "cloud").path
    only_there = tmp_path / "bundle"
    only_there.mkdir()
    (only_there / MANIFEST).write_bytes(encode(manifest(variants=0)))
    Store(tmp_path / "device", create=True).install(only_there)
    inputs = {"x": np.ones((1, 2), np.float32)}
    with collector() as (url, spans), broker.start(kind=need("mosquitto")) as running:
        with (
            endpoint(store, "--trace", url, mqtt=running.url) as cloud,
            closing(connect(cloud.url if transport == "http" else running.url)) as remote,
            Runtime(tmp_path / "device", cloud=remote) as runtime,
        ):
            eventually(lambda: remote.health(1.0), "the way to the endpoint is there")
            model = runtime.model("double")
            current = NonRecordingSpan(SpanContext(TRACE, PARENT, True, TraceFlags(1)))
            with use_span(current):
                result = model.submit(inputs).result(30.0) if submitted else model.infer(inputs)
            assert result.target == "cloud"
        ended = {span.name: span for span in spans}
    assert set(ended) == {"infer double", "queue", "compute"}
    assert {int.from_bytes(span.trace_id) for span in ended.values()} == {TRACE}
    assert ended["infer double"].parent_span_id

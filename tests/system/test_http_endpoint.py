"""The endpoint's HTTP face as strangers meet it: its routes, hostile bodies, and its life as a process."""

from __future__ import annotations

import gzip
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn
from prometheus_client.parser import text_string_to_metric_families

from cloud_bridge.endpoint.guard import GuardedProtocol
from cloud_bridge.endpoint.http import app
from cloud_bridge.endpoint.jobs import Answer, Form
from cloud_bridge.endpoint.serve import listen, serve
from cloud_bridge.endpoint.service import Service
from cloud_bridge.protocol import oip
from cloud_bridge.protocol.message import Message
from edge_runtime.bundles.store import Store
from edge_runtime.engines import Candidate, Loaded
from edge_runtime.errors import InputError
from tests.doubles import HERE, PythonSession
from tests.endpoint import Endpoint, GatedSession, endpoint, eventually
from tests.onnx_store import write_store

GOOD = json.dumps({"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}).encode()
INFER = "/v2/models/double/infer"
LENGTH = "inference-header-content-length"
PATIENT = json.dumps({"inputs": [{"name": "turns", "shape": [], "datatype": "INT64", "data": [500_000]}]}).encode()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("http")).path


@pytest.fixture(scope="module")
def running(store: Path) -> Iterator[Endpoint]:
    with endpoint(store) as running:
        yield running


@pytest.fixture
def alive(running: Endpoint) -> Iterator[Endpoint]:
    """The endpoint, which must still be the same process and answer after the test."""
    yield running
    assert running.process.poll() is None
    assert ask(running, "POST", INFER, GOOD)[0] == 200


def connection(running: Endpoint) -> HTTPConnection:
    return HTTPConnection(urlsplit(running.url).netloc, timeout=30)


def ask(running: Endpoint, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
    http = connection(running)
    try:
        http.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = http.getresponse()
        content = response.read()
        assert response.headers["content-type"] == "application/json"
        return response.status, json.loads(content)
    finally:
        http.close()


def raw(running: Endpoint) -> socket.socket:
    parts = urlsplit(running.url)
    assert parts.hostname is not None
    assert parts.port is not None
    return socket.create_connection((parts.hostname, parts.port), timeout=30)


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/v2/health/live", {"live": True, "ready": True}),
        ("/v2/health/ready", {"live": True, "ready": True}),
        ("/v2/models/double/ready", {"ready": True}),
        ("/v2/models/double/versions/2.0/ready", {"ready": True}),
    ],
)
def test_health(alive: Endpoint, path: str, wanted: dict[str, bool]) -> None:
    """Health is a status, with a body for those who look."""
    assert ask(alive, "GET", path) == (200, wanted)


def test_server(alive: Endpoint) -> None:
    """The server says what it is and that it takes binary tensors."""
    status, told = ask(alive, "GET", "/v2")
    assert status == 200
    assert told["name"] == "edge-runtime"
    assert "binary_tensor_data" in told["extensions"]


@pytest.mark.parametrize("path", ["/v2/models/double", "/v2/models/double/versions/2.0"])
def test_model(alive: Endpoint, path: str) -> None:
    """A model's description, with or without a version."""
    status, told = ask(alive, "GET", path)
    assert status == 200
    assert told["versions"] == ["1.0", "2.0"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v2/", 404),
        ("GET", "/v2/nothing", 404),
        ("GET", "/v2/models/nothing", 404),
        ("GET", "/v2/models/nothing/ready", 404),
        ("GET", "/v2/models/double/versions/9", 404),
        ("GET", "/v2/models/..%2f..%2fetc/ready", 404),
        ("GET", "/v2/models/%00/ready", 404),
        ("POST", "/v2/models/nothing/infer", 404),
        ("POST", "/v2/models/double/versions/..%2f1.0/infer", 404),
        ("GET", INFER, 405),
        ("PUT", INFER, 405),
        ("DELETE", "/v2", 405),
        ("POST", "/v2/models/double", 405),
    ],
)
def test_wrong_places(alive: Endpoint, method: str, path: str, status: int) -> None:
    """No such route, no such model, not that method: the status says it, and the body is the protocol's error."""
    given, answer = ask(alive, method, path, GOOD if method in {"POST", "PUT"} else None)
    assert given == status
    assert list(answer) == ["error"]
    assert answer["error"]


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", {}),
        (b"junk", {}),
        (GOOD[:-1], {}),
        (GOOD, {LENGTH: str(len(GOOD) + 1)}),
        (GOOD, {LENGTH: "-1"}),
        (GOOD, {LENGTH: "x"}),
        (GOOD + b" ", {LENGTH: "0"}),
        (GOOD + b"junk", {LENGTH: str(len(GOOD))}),
        (GOOD, {"content-encoding": "gzip"}),
        (GOOD, {"content-encoding": "br"}),
        (gzip.compress(bytes(100 << 20), 9), {"content-encoding": "gzip"}),
        (GOOD, {"budget-ms": "soon"}),
        (b"[" * 100_000, {}),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, {}),
        (b'{"inputs":[' + b'{"name":"x","shape":[1],"datatype":"FP32","data":[1]},' * 10_000 + b"]}", {}),
        (b"\x89PNG\r\n\x1a\n", {"content-type": "image/png"}),
        (b"a=1&b=2", {"content-type": "application/x-www-form-urlencoded"}),
    ],
    ids=range(17),
)
def test_hostile_bodies(alive: Endpoint, body: bytes, headers: dict[str, str]) -> None:
    """Whatever the body is: 400, the protocol's error, and the endpoint works on."""
    status, answer = ask(alive, "POST", INFER, body, **headers)
    assert status == 400
    assert list(answer) == ["error"]


def test_content_type_is_not_asked_for(alive: Endpoint) -> None:
    """curl calls every body a form: what counts is what is in it."""
    assert ask(alive, "POST", INFER, GOOD, content_type="application/x-www-form-urlencoded")[0] == 200


def test_raw_body(alive: Endpoint) -> None:
    """A body that is nothing but the one input's bytes is answered in binary."""
    http = connection(alive)
    http.request("POST", INFER, bytes(16), {LENGTH: "0"})
    response = http.getresponse()
    content = response.read()
    http.close()
    assert response.status == 200
    assert content[int(response.headers[LENGTH]) :] == bytes(16)


def test_huge_content_length(alive: Endpoint) -> None:
    """A body that is announced too large is refused before a byte of it is read."""
    with raw(alive) as sock:
        sock.sendall(f"POST {INFER} HTTP/1.1\r\nhost: a\r\ncontent-length: {1 << 50}\r\n\r\n".encode())
        answer = b""
        while chunk := sock.recv(65536):  # until it is closed
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 413")
    assert b'{"error":' in answer


def test_endless_body(alive: Endpoint) -> None:
    """A body without a length is refused as soon as it is past the limit."""
    chunk = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
    with raw(alive) as sock:
        sock.sendall(f"POST {INFER} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        sent = 0
        try:
            while sent < 1 << 30:
                sock.sendall(chunk)
                sent += 1 << 20
        except OSError:  # it hung up
            pass
    assert 32 << 20 < sent < 512 << 20


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"GET /", b"a" * 60_000),
        (b"GET /v2 HTTP/1.1\r\n", b"x: " + b"a" * 60_000 + b"\r\n"),
        (b"GET /v2 HTTP/1.1\r\nx: ", b"a" * 60_000),
        (b"POST /v2/health/probe HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", b"x: " + b"a" * 60_000 + b"\r\n"),
        (b"POST /v2/health/probe HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5;", b"a" * 60_000),
        (b"", b"\r\n" * 30_000),
        (b"", b"GET /v2 HTTP/1.1\r\nhost: a\r\n\r\n" * 2000),
    ],
    ids=["target", "headers", "header", "trailers", "chunk", "blanks", "requests"],
)
def test_endless_beside_the_body(alive: Endpoint, start: bytes, piece: bytes) -> None:
    """What has no end, and is no body, is hung up on after a few megabytes in the kernel's buffers, not collected."""
    with raw(alive) as sock:
        sock.sendall(start)
        sent = 0
        with suppress(OSError):  # it hung up
            while sent < 64 << 20:
                sock.sendall(piece)
                sent += len(piece)
    assert sent < 64 << 20


def test_trailers_and_small_chunks(alive: Endpoint) -> None:
    """A body in small pieces with a trailer after it is as good as any."""
    chunks = b"".join(b"8\r\n" + bytes(8) + b"\r\n" for _ in range(30_000))
    with raw(alive) as sock:
        sock.sendall(b"POST /v2/health/probe HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
        sock.sendall(chunks + b"0\r\nx: " + b"a" * 1000 + b"\r\n\r\n")
        assert sock.recv(12) == b"HTTP/1.1 200"


def test_room_for_bodies(store: Path) -> None:
    """When bodies that are arriving hold all the room, one more is refused with 503; one that goes makes room."""
    service = Service(Store(store), held=1000)
    with listen("127.0.0.1:0") as listener:
        server = uvicorn.Server(uvicorn.Config(app(service), http=GuardedProtocol, lifespan="off", log_level="warning"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()

        def probe(size: int, sent: int) -> socket.socket:
            sock = socket.create_connection(listener.getsockname(), timeout=30)
            sock.sendall(
                f"POST /v2/health/probe HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n".encode() + bytes(sent)
            )
            return sock

        def status(size: int) -> bytes:
            with probe(size, size) as sock:
                return sock.recv(12)

        with probe(900, 899):
            eventually(lambda: status(200) == b"HTTP/1.1 503", "the half body takes its room")
            assert status(100) == b"HTTP/1.1 200"
        eventually(lambda: status(1000) == b"HTTP/1.1 200", "it is given back")
        server.should_exit = True
        thread.join(30)
    service.close()


def test_body_cut_short(alive: Endpoint) -> None:
    """A client that leaves in the middle of its body leaves nothing behind."""
    for _ in range(20):
        with raw(alive) as sock:
            sock.sendall(f"POST {INFER} HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n{{".encode())


def test_not_http(alive: Endpoint) -> None:
    """Bytes that are no HTTP."""
    with raw(alive) as sock:
        sock.sendall(b"\x16\x03\x01\x02\x00" + bytes(100))
        assert sock.recv(12) in (b"HTTP/1.1 400", b"")


class Watched(Service):
    """A service whose futures can be looked at."""

    def __init__(self, store: Store, session: PythonSession) -> None:
        super().__init__(
            store,
            workers=1,
            rows=1,
            opener=lambda bundle: Loaded(bundle, Candidate(bundle.manifest.variants[0], HERE), session, ""),
        )
        self.futures: list[Future[Answer]] = []

    def submit(
        self, model: str, version: str | None, message: Message, *, received: float, form: Form = oip
    ) -> Future[Answer]:
        self.futures.append(super().submit(model, version, message, received=received, form=form))
        return self.futures[-1]


def test_client_that_leaves_makes_room(store: Path) -> None:
    """A call whose client hangs up while it waits is dropped, and never run."""
    session = GatedSession()
    service = Watched(Store(store), session)
    with listen("127.0.0.1:0") as listener:
        server = uvicorn.Server(uvicorn.Config(app(service), http=GuardedProtocol, lifespan="off", log_level="warning"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        request = f"POST {INFER} HTTP/1.1\r\nhost: a\r\ncontent-length: {len(GOOD)}\r\n\r\n".encode() + GOOD
        staying, leaving = (socket.create_connection(listener.getsockname(), timeout=30) for _ in range(2))
        staying.sendall(request)
        assert session.begun.wait(30)
        leaving.sendall(request)
        eventually(lambda: len(service.futures) == 2, "the second call is waiting")
        leaving.close()
        eventually(service.futures[1].cancelled, "the second call is dropped")
        session.gate.set()
        assert staying.recv(12) == b"HTTP/1.1 200"
        staying.close()
        server.should_exit = True
        thread.join(30)
    service.close()
    assert session.runs == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_orderly_end(store: Path, number: int) -> None:
    """A signal lets the call under way end and be answered, and the process ends with status 0 and nothing to say."""
    with endpoint(store) as running:
        http = connection(running)
        http.request("POST", "/v2/models/patience/infer", PATIENT)
        probe = connection(running)
        probe.request("GET", "/v2")  # answered on the same loop: the request before it has been read
        assert probe.getresponse().read()
        probe.close()
        running.process.send_signal(number)
        assert json.loads(http.getresponse().read())["outputs"][0]["data"] == [500_000]
        http.close()
        assert running.process.wait(30) == 0


def test_announced_in_words(store: Path) -> None:
    """Without --json a person is told where it serves what."""
    command = [sys.executable, "-m", "cloud_bridge.cli", "serve", str(store), "--http", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.terminate()
    assert "http://127.0.0.1:" in line
    assert "double" in line
    assert process.returncode == 0


@pytest.mark.parametrize("address", ["", "8000", "host:port", "127.0.0.1:70000", "127.0.0.1:-1", "no.such.host.invalid:0"])
def test_odd_addresses(address: str) -> None:
    """An address that cannot be listened on is an InputError that names it."""
    with pytest.raises(InputError, match=address or "address"):
        listen(address)


def test_address_in_use() -> None:
    """So is one that is taken."""
    with listen("127.0.0.1:0") as taken, pytest.raises(InputError, match="in use"):
        listen(f"127.0.0.1:{taken.getsockname()[1]}")


def test_nowhere_to_serve(store: Path) -> None:
    """Serving needs a face."""
    with pytest.raises(InputError, match="nothing to serve on"):
        serve(store)


def test_metrics(alive: Endpoint) -> None:
    """Prometheus's own parser reads them: stages by model, rows that ran together, how calls ended; no strangers' names."""
    for path in (INFER, "/v2/models/nobody/infer"):
        ask(alive, "POST", path, GOOD)
    http = connection(alive)
    http.request("GET", "/metrics")
    response = http.getresponse()
    body = response.read()
    http.close()
    assert response.status == 200
    assert response.headers["content-type"].startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(body.decode())}
    stages = {sample.labels["stage"] for sample in families["edge_stage_seconds"].samples}
    assert stages == {"queue", "compute", "write"}
    ended = {sample.labels["status"]: sample.value for sample in families["edge_answers"].samples}
    assert ended["200"] >= 1
    assert ended["404"] >= 1
    assert "nobody" not in body.decode()
    assert families["edge_waiting_calls"].samples[0].value == 0
    assert families["edge_batch_rows"].samples


@pytest.mark.parametrize(
    ("body", "status"), [(b"", 200), (b"{}", 200), (b'{"ready": true}', 200), (b'{"ready": 5}', 400), (b"junk", 400)]
)
def test_repository_index(alive: Endpoint, body: bytes, status: int) -> None:
    """Both versions are there, and one of them is open; what is no request is told."""
    found, told = ask(alive, "POST", "/v2/repository/index", body)
    assert found == status
    if status == 200:
        states = {(entry["name"], entry["version"]): entry["state"] for entry in told}
        assert states["double", "1.0"] == "READY"
        assert b"true" not in body or set(states.values()) == {"READY"}


@pytest.mark.parametrize("version", ["", "/versions/2.0"])
def test_tensorflow_form(alive: Endpoint, version: str) -> None:
    """Rows and columns, of the active version and of another."""
    path, factor = f"/v1/models/double{version}", 3 if version else 2
    rows = ask(alive, "POST", f"{path}:predict", b'{"instances": [[1, 2], [3, 4]]}')
    columns = ask(alive, "POST", f"{path}:predict", b'{"inputs": {"x": [[1, 2]]}}')
    assert rows == (200, {"predictions": [[factor, 2 * factor], [3 * factor, 4 * factor]]})
    assert columns == (200, {"outputs": [[factor, 2 * factor]]})
    status, told = ask(alive, "GET", path)
    assert status == 200
    assert "AVAILABLE" in {entry["state"] for entry in told["model_version_status"]}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/models/nobody:predict", b'{"instances": [[1, 2]]}', 404),
        ("/v1/models/double:predict", b'{"instances": [[1]]}', 400),
        ("/v1/models/double:predict", b"junk", 400),
        ("/v1/models/double:classify", b"{}", 404),
    ],
)
def test_tensorflow_form_refuses(alive: Endpoint, path: str, body: bytes, status: int) -> None:
    """With an error that says why."""
    found, told = ask(alive, "POST", path, body)
    assert found == status or (status == 404 and found == 405)
    assert told["error"]


def test_openapi(alive: Endpoint) -> None:
    """The document is where clients look for it."""
    status, told = ask(alive, "GET", "/openapi.json")
    assert status == 200
    assert INFER.replace("double", "{model}") in told["paths"]

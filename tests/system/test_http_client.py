"""The HTTP client against servers that stall, trickle, lie, hang up, or speak no binary: its deadline holds."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trustme

from cloud_bridge.client import connect
from cloud_bridge.client.http import NOT_UNDERSTOOD, HttpRemote
from cloud_bridge.client.link import Link
from cloud_bridge.client.pool import WAITING
from cloud_bridge.client.transfer import Transfer
from cloud_bridge.protocol.message import Limits
from edge_runtime.errors import (
    CancelledError,
    InputError,
    LateError,
    ProtocolError,
    RefusedError,
    RemoteError,
    UnreachableError,
)
from edge_runtime.remote import Call
from tests.endpoint import endpoint
from tests.onnx_store import write_store
from tests.system.http_parts import (
    AMPLE,
    ANSWER,
    BINARY,
    CALL,
    PLAIN,
    Handler,
    after_hello,
    http,
    read,
    send,
    server,
    some,
    stall,
)

BUDGET = 0.3
AUTHORITY = trustme.CA()
CERTIFICATE = AUTHORITY.issue_cert("localhost", "127.0.0.1")
"""A key and a certificate that it signs itself, for localhost and for tests only."""


@pytest.fixture
def reach() -> Iterator[Callable[..., HttpRemote]]:
    """Starts a server with a handler and connects to it."""
    with ExitStack() as stack:

        def reach(handler: Handler, **settings: Any) -> HttpRemote:
            remote = HttpRemote(stack.enter_context(server(handler)), **settings)
            stack.callback(remote.close)
            return remote

        yield reach


Reach = Callable[..., HttpRemote]


def trickle(answer: bytes) -> Handler:
    """Answer a byte at a time, too slowly to ever end."""

    def handle(sock: socket.socket) -> None:
        read(sock)
        for byte in answer:
            sock.sendall(bytes([byte]))
            time.sleep(0.02)

    return handle


def say(*answer: bytes) -> Handler:
    """Read a call, answer this, and hang up."""

    def handle(sock: socket.socket) -> None:
        read(sock)
        sock.sendall(b"".join(answer))

    return handle


def say_and_stall(answer: bytes) -> Handler:
    def handle(sock: socket.socket) -> None:
        read(sock)
        sock.sendall(answer)
        stall(sock)

    return handle


SLOW = {
    "stalls": after_hello(stall),
    "stalls-at-hello": stall,
    "trickles-its-head": after_hello(trickle(http(ANSWER))),
    "trickles-its-body": after_hello(trickle(http(ANSWER * 10))),
    "stalls-in-its-head": after_hello(say_and_stall(http(ANSWER)[:20])),
    "stalls-in-its-body": after_hello(say_and_stall(http(ANSWER)[:-20])),
    "says-100": after_hello(say_and_stall(b"HTTP/1.1 100 Continue\r\n\r\n" * 50)),
}


@pytest.mark.parametrize("handler", SLOW.values(), ids=SLOW)
def test_deadline_holds(reach: Reach, handler: Handler) -> None:
    """However the server drags its feet, the call is late when its deadline passes, and its connection is given up."""
    remote = reach(handler, connections=1)
    start = time.monotonic()
    with pytest.raises(LateError):
        send(remote, BUDGET).result(AMPLE)
    assert BUDGET <= time.monotonic() - start < AMPLE / 6
    with pytest.raises(LateError):  # the only connection's thread is free for the next
        send(remote, BUDGET).result(AMPLE)
    assert time.monotonic() - start < AMPLE / 3


def test_deadline_holds_while_a_name_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that does not answer costs the caller its deadline, no more; closing does not wait for it either."""
    answer = threading.Event()

    def hang(*_: Any, **__: Any) -> Any:
        answer.wait(AMPLE)
        raise socket.gaierror("no answer")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    remote = HttpRemote("http://cloud.example", connections=1)
    start = time.monotonic()
    for _ in range(2):
        with pytest.raises(LateError):
            send(remote, BUDGET).result(AMPLE)
    with pytest.raises(LateError):
        send(remote).result(0.01)
    remote.close()
    assert time.monotonic() - start < AMPLE / 3
    answer.set()


def test_too_many_waiting(reach: Reach) -> None:
    """Calls do not pile up for ever: one too many is refused at once."""
    remote = reach(stall, connections=1)
    for _ in range(1 + WAITING):
        send(remote)
    with pytest.raises(UnreachableError, match="no more are taken"):
        send(remote)


WRONG: dict[str, tuple[bytes, type[RemoteError], str]] = {
    "nothing": (b"", UnreachableError, "disconnected"),
    "no-http": (b"hello\r\n\r\n", ProtocolError, "http://"),
    "junk": (bytes(100), ProtocolError, "http://"),
    "half-a-body": (http(ANSWER, length=1000), ProtocolError, "http://"),
    "empty": (http(b""), ProtocolError, "JSON"),
    "html": (http(b"<html>hello</html>"), ProtocolError, "JSON"),
    "two-lengths": (b"HTTP/1.1 200 X\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", ProtocolError, "http://"),
    "odd-length": (
        http(ANSWER).replace(b"\r\n\r\n", b"\r\ninference-header-content-length: 999\r\n\r\n"),
        ProtocolError,
        "past",
    ),
    "too-large": (http(bytes(2 << 20)), ProtocolError, "larger than"),
    "endless-head": (b"HTTP/1.1 200 X\r\n" + b"a: b\r\n" * 100_000, ProtocolError, "http://"),
    "moved": (b"HTTP/1.1 302 X\r\nlocation: http://elsewhere\r\ncontent-length: 0\r\n\r\n", RefusedError, "302"),
    "not-here": (http(b'{"error":"no such model"}', 404), RefusedError, "no such model"),
    "bad-gateway": (http(b"<html>", 502), RefusedError, "502"),
    "overloaded": (http(b'{"error":"full"}', 503), RefusedError, "full"),
    "late": (http(b'{"error":"too late"}', 504), LateError, "too late"),
}


@pytest.mark.parametrize(("answer", "error", "words"), WRONG.values(), ids=WRONG)
def test_wrong_answers(reach: Reach, answer: bytes, error: type[RemoteError], words: str) -> None:
    """Whatever comes back is an answer or one error of the tree, and the next call is not hurt by it."""
    answers = iter([answer])

    def handle(sock: socket.socket) -> None:
        while True:
            read(sock)
            given = next(answers, None)
            sock.sendall(http(ANSWER) if given is None else given)
            if given is not None:
                return

    remote = reach(after_hello(handle), connections=1, limits=Limits(body=1 << 20))
    with pytest.raises(error, match=words):
        send(remote).result(AMPLE)
    assert send(remote).result(AMPLE).outputs["y"].tolist() == [5.0]


def test_late_answer_is_dropped(reach: Reach) -> None:
    """The answer to a call that was given up never reaches the next one."""
    asked: list[bytes] = []
    go = threading.Event()

    def handle(sock: socket.socket) -> None:
        while True:
            asked.append(read(sock)[2])
            if len(asked) == 1:
                go.wait(AMPLE)
                sock.sendall(http(ANSWER.replace(b"[5]", b"[6]")))
            else:
                sock.sendall(http(ANSWER))

    remote = reach(after_hello(handle), connections=1)
    with pytest.raises(LateError):
        send(remote, BUDGET).result(AMPLE)
    go.set()
    assert send(remote).result(AMPLE).outputs["y"].tolist() == [5.0]


def test_answer_with_a_foreign_id(reach: Reach) -> None:
    """An answer that carries another request's id is not taken for ours."""
    foreign = ANSWER.replace(b'{"model_name"', b'{"id":"999","model_name"')
    with pytest.raises(ProtocolError, match="another request"):
        send(reach(after_hello(say(http(foreign))))).result(AMPLE)


def test_connection_is_kept(reach: Reach) -> None:
    """One connection carries call after call, and the server is asked what it is once."""
    lines: list[list[str]] = []

    def handle(sock: socket.socket) -> None:
        mine: list[str] = []
        lines.append(mine)
        while True:
            mine.append(read(sock)[0])
            sock.sendall(http(BINARY if mine[-1].startswith("GET") else ANSWER))

    remote = reach(handle, connections=1)
    for _ in range(3):
        send(remote).result(AMPLE)
    assert lines == [["GET /v2 HTTP/1.1"] + ["POST /v2/models/m/infer HTTP/1.1"] * 3]


@pytest.mark.parametrize("race", [False, True], ids=["before", "while-it-is-on-its-way"])
def test_connection_that_was_closed_while_idle(reach: Reach, race: bool) -> None:
    """A server that closes idle connections is not an error: the call goes out again over a new one, once."""
    connections = 0

    def handle(sock: socket.socket) -> None:
        nonlocal connections
        connections += 1
        read(sock)
        sock.sendall(http(ANSWER))
        if race:
            some(sock)  # the next call has begun, and is hung up on

    remote = reach(after_hello(handle), connections=1)
    for _ in range(3):
        assert send(remote).result(AMPLE).outputs["y"].tolist() == [5.0]
    assert connections == 3


def counted(hello: bytes, binary: bytes, plain: bytes) -> tuple[Handler, list[str]]:
    """A server that answers binary and JSON calls differently, and a list of what was asked."""
    asked: list[str] = []

    def handle(sock: socket.socket) -> None:
        while True:
            line, head, _ = read(sock)
            form = "hello" if line.startswith("GET") else "binary" if b"inference-header" in head else "json"
            asked.append(form)
            sock.sendall({"hello": hello, "binary": binary, "json": plain}[form])

    return handle, asked


@pytest.mark.parametrize("status", sorted(NOT_UNDERSTOOD))
def test_downgrade_once(reach: Reach, status: int) -> None:
    """A server that claims binary tensors but refuses them is asked again in JSON, and from then on in JSON only."""
    handle, asked = counted(http(BINARY), http(b'{"error":"what?"}', status), http(ANSWER))
    remote = reach(handle, connections=1)
    for _ in range(3):
        assert send(remote).result(AMPLE).outputs["y"].tolist() == [5.0]
    assert asked == ["hello", "binary", "json", "json", "json"]


def test_no_downgrade_for_a_call_that_is_wrong(reach: Reach) -> None:
    """A refusal in both forms is the call's own fault: it is told as it was first given, and nothing is concluded."""
    handle, asked = counted(http(BINARY), http(b'{"error":"shape"}', 400), http(b'{"error":"no"}', 400))
    remote = reach(handle, connections=1)
    for _ in range(2):
        with pytest.raises(RefusedError, match="shape"):
            send(remote).result(AMPLE)
    assert asked == ["hello", "binary", "json", "binary", "json"]


def test_no_downgrade_after_a_binary_answer(reach: Reach) -> None:
    """A server that has answered in binary once is not asked twice."""
    answers = iter([http(ANSWER)])
    asked = []

    def handle(sock: socket.socket) -> None:
        while True:
            asked.append(read(sock)[0][:4])
            sock.sendall(next(answers, http(b'{"error":"shape"}', 400)))

    remote = reach(after_hello(handle), connections=1)
    send(remote).result(AMPLE)
    with pytest.raises(RefusedError, match="shape"):
        send(remote).result(AMPLE)
    assert asked == ["POST", "POST"]


@pytest.mark.parametrize("hello", [http(PLAIN), http(b"{}"), http(b"<html>"), http(b"", 404)])
def test_json_for_others(reach: Reach, hello: bytes) -> None:
    """A server that does not speak of binary tensors gets JSON from the first call on; one without metadata, too."""
    handle, asked = counted(hello, http(b"", 500), http(ANSWER))
    remote = reach(handle, connections=1)
    send(remote).result(AMPLE)
    assert asked == ["hello", "json"]


def test_server_that_is_still_starting(reach: Reach) -> None:
    """A server that cannot say yet what it is refuses the call, and is asked again by the next."""
    hellos = iter([http(b'{"error":"starting"}', 503)])
    asked: list[str] = []

    def handle(sock: socket.socket) -> None:
        while True:
            asked.append(read(sock)[0])
            sock.sendall(next(hellos, http(BINARY)) if asked[-1].startswith("GET") else http(ANSWER))

    remote = reach(handle, connections=1)
    with pytest.raises(RefusedError, match="starting"):
        send(remote).result(AMPLE)
    send(remote).result(AMPLE)
    assert len(asked) == 3


def test_what_json_cannot_carry(reach: Reach) -> None:
    """float16 for a server that takes JSON only is an error that says so."""
    handle, _ = counted(http(PLAIN), b"", http(ANSWER))
    with pytest.raises(ProtocolError, match="float16"):
        send(reach(handle), call=Call("m", {"x": np.zeros(1, np.float16)})).result(AMPLE)


def test_probe_needs_our_endpoint(reach: Reach) -> None:
    """Another server has no place to send bytes to that mean nothing."""
    handle, _ = counted(http(BINARY), b"", b"")
    with pytest.raises(RefusedError, match="takes no probes"):
        reach(handle).probe(10).result(AMPLE)


def test_health_of_a_server_that_is_not_ready(reach: Reach) -> None:
    """A server that answers, but not with 200, takes no calls; one that stalls does not either."""
    assert not reach(say(http(b"", 400))).health(AMPLE)
    start = time.monotonic()
    assert not reach(stall).health(BUDGET)
    assert time.monotonic() - start < AMPLE / 3


def test_credentials_and_path(reach: Reach) -> None:
    """User, password and path of the URL go into every request, and the name shows the path only."""
    seen: list[tuple[str, bytes]] = []

    def handle(sock: socket.socket) -> None:
        while True:
            line, head, _ = read(sock)
            seen.append((line, head))
            sock.sendall(http(b""))

    with server(handle) as url:
        remote = connect(url.replace("http://", "http://me:s%40crt@") + "/cloud/")
        assert remote.health(AMPLE)
        remote.close()
    assert remote.name == url + "/cloud/"
    assert seen[0][0] == "GET /cloud/v2/health/ready HTTP/1.1"
    assert b"\r\nauthorization: basic bwu6c0bjcnq=" in seen[0][1]  # lower case as all of the head: me:s@crt


@pytest.mark.parametrize(
    "url",
    [
        "", "cloud", "ftp://cloud", "http://", "http:///v2", "http://cloud:x", "http://cloud:0", "http://cloud:70000",
        "http://cloud?a=b", "http://cloud/#a", "http://cl oud", "http://cloüd", "http://[::1",
    ],
)  # fmt: skip
def test_odd_urls(url: str) -> None:
    """What is no URL of a cloud is an InputError when it is given, not when it is used."""
    with pytest.raises(InputError):
        connect(url)


def tls(handler: Handler) -> Handler:
    """The handler behind TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CERTIFICATE.configure_cert(context)

    def handle(sock: socket.socket) -> None:
        with context.wrap_socket(sock, server_side=True) as secure:
            handler(secure)

    return handle


def answer_all(sock: socket.socket) -> None:
    while True:
        line, _, _ = read(sock)
        sock.sendall(http(BINARY if line.startswith("GET") else ANSWER))


@contextmanager
def over_tls(handler: Handler, trust: bool = True) -> Iterator[HttpRemote]:
    with server(handler) as url:
        context = ssl.create_default_context()
        if trust:
            AUTHORITY.configure_trust(context)
        remote = HttpRemote(url.replace("http://", "https://"), tls=context, connections=1)
        yield remote
        remote.close()


def test_tls() -> None:
    """Over TLS a call works as without, megabytes too."""
    with over_tls(tls(answer_all)) as remote:
        big = Call("m", {"x": np.zeros(4 << 20, np.uint8)})
        for call in (CALL, big, CALL):
            assert send(remote, call=call).result(AMPLE).outputs["y"].tolist() == [5.0]


def test_tls_is_verified() -> None:
    """A certificate that nobody here vouches for is refused."""
    with over_tls(tls(answer_all), trust=False) as remote, pytest.raises(UnreachableError, match="certificate"):
        send(remote).result(AMPLE)


@pytest.mark.parametrize("handler", [stall, tls(stall)], ids=["handshake", "answer"])
def test_tls_deadline_holds(handler: Handler) -> None:
    """A server that stalls in the handshake, or after it, costs the deadline and no more; a cancel ends it at once."""
    with over_tls(handler) as remote:
        start = time.monotonic()
        with pytest.raises(LateError):
            send(remote, BUDGET).result(AMPLE)
        call = send(remote)
        call.cancel()
        with pytest.raises(CancelledError):
            call.result(AMPLE)
        assert time.monotonic() - start < AMPLE / 3


def test_endpoint_that_is_killed(tmp_path: Path) -> None:
    """When the endpoint dies in the middle of a call, whoever waits is told at once; so is the next."""
    with endpoint(write_store(tmp_path).path) as running:
        remote = HttpRemote(running.url)
        call = send(remote, call=Call("patience", {"turns": np.array(1 << 40)}))
        with pytest.raises(LateError):
            call.result(BUDGET)
        running.process.kill()
        start = time.monotonic()
        with pytest.raises(UnreachableError):
            call.result(AMPLE)
        with pytest.raises(UnreachableError):
            send(remote).result(AMPLE)
        assert time.monotonic() - start < AMPLE / 3
        remote.close()


def test_a_system_that_gives_no_thread() -> None:
    """The call fails as one that reaches nobody, so that the local model takes over; later ones work."""
    remote = HttpRemote("http://127.0.0.1:9")
    size = threading.stack_size(1 << 46)  # more than there is
    try:
        with pytest.raises(UnreachableError, match="no thread"):
            remote.send(Call("model", {}), deadline=time.monotonic() + 30.0)
    finally:
        threading.stack_size(size)
    with pytest.raises(UnreachableError, match="refused"):
        remote.send(Call("model", {}), deadline=time.monotonic() + 30.0).result(30.0)
    remote.close()


def test_a_deadline_that_passes_is_no_broken_connection() -> None:
    """While a connection is made, and while nothing comes over it: LateError, not UnreachableError."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = Link("127.0.0.1", server.getsockname()[1], None)
        link.lend(Transfer(time.monotonic() - 1.0))
        with pytest.raises(LateError):
            link.connect()
        link.lend(Transfer(time.monotonic() + 0.2))
        link.connect()
        with pytest.raises(LateError):
            link.receive(memoryview(bytearray(16)))
        link.close()

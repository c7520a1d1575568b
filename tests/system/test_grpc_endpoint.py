"""The endpoint's gRPC face, asked by grpcio with bytes: budgets, cancelling, errors, limits, and streams."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc import StatusCode

from cloud_bridge.endpoint.access import Access
from cloud_bridge.endpoint.grpc import Server
from cloud_bridge.endpoint.grpc_face import AHEAD
from cloud_bridge.endpoint.jobs import Answer, Form
from cloud_bridge.endpoint.service import Service
from cloud_bridge.protocol import oip
from cloud_bridge.protocol.message import BUDGET, Message
from edge_runtime.bundles.store import Bundle, Store
from edge_runtime.engines import Candidate, Loaded
from edge_runtime.values import Array, Tensors
from tests.doubles import HERE, PythonSession
from tests.endpoint import Endpoint, GatedSession, endpoint, eventually
from tests.onnx_store import write_store
from tests.system.grpc_parts import AMPLE, METHODS, Client, answer, call, double, patience, pb


class Watched(Service):
    """Runs every model in one session, and keeps what is submitted."""

    def __init__(self, store: Path, session: PythonSession, **options: Any) -> None:
        def opener(bundle: Bundle) -> Loaded:
            return Loaded(bundle, Candidate(bundle.manifest.variants[0], HERE), session, "a test")

        super().__init__(Store(store), opener=opener, workers=1, rows=1, **options)
        self.futures: list[Future[Answer]] = []
        self.headers: list[dict[str, str]] = []

    def submit(
        self, model: str, version: str | None, message: Message, *, received: float, form: Form = oip
    ) -> Future[Answer]:  # fmt: skip
        self.headers.append(dict(message.headers))
        self.futures.append(super().submit(model, version, message, received=received, form=form))
        return self.futures[-1]


@contextmanager
def served(service: Service) -> Iterator[Client]:
    """The face in front of a service in this process."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def wait(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(AMPLE)

    async def start() -> Server:
        server = Server(service, "127.0.0.1", 0, Access())
        await server.start()
        return server

    server = wait(start())
    try:
        with closing(Client(server.url.removeprefix("grpc://"))) as client:
            yield client
    finally:
        wait(server.stop(AMPLE))
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        service.close()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("grpc")).path


@pytest.fixture(scope="module")
def running(store: Path) -> Iterator[Endpoint]:
    with endpoint(store, "--grpc", ":0") as running:
        yield running


@pytest.fixture
def client(running: Endpoint) -> Iterator[Client]:
    """A client of an endpoint, which must still answer after the test."""
    with closing(Client(running.grpc)) as client:
        yield client
        assert answer(client.ask("ModelInfer", double())) == [2.0, 2.0]


@pytest.mark.parametrize("streamed", [False, True])
def test_who_leaves_costs_nothing(store: Path, streamed: bool) -> None:
    """A call that is cancelled while it waits is not run, and neither is what waits in a stream that is."""
    session = GatedSession()
    service = Watched(store, session)
    with served(service) as client:
        staying = client.infer(double())
        assert session.begun.wait(AMPLE)
        leaving = client.stream(iter([double()] * 3)) if streamed else client.infer(double())
        calls = 4 if streamed else 2
        eventually(lambda: len(service.futures) == calls, "the calls wait")
        leaving.cancel()
        eventually(lambda: all(future.cancelled() for future in service.futures[1:]), "they are dropped")
        session.gate.set()
        assert answer(staying.result(AMPLE)) == [2.0, 2.0]
    assert session.runs == 1


def test_deadlines_are_budgets(store: Path) -> None:
    """The shorter of the call's deadline and what its metadata say; without either there is none."""
    session = GatedSession()
    service = Watched(store, session)
    session.gate.set()
    with served(service) as client:
        for options in ({}, {"timeout": 20.0}, {"timeout": 20.0, "metadata": ((BUDGET, "5000"),)}):
            client.infer(double(), **options).result(AMPLE)
        client.infer(double(), timeout=5.0, metadata=((BUDGET, "20000"),)).result(AMPLE)
        assert service.headers[0] == {}
        long, said, short = (float(headers[BUDGET]) for headers in service.headers[1:])
        assert 5000.0 < long < 20_500.0  # on the wire gRPC rounds a deadline up, by one per cent at most
        assert said == 5000.0
        assert 0.0 < short < 5100.0
        code, told, _ = client.refused("ModelInfer", double(), metadata=((BUDGET, "0"),))
        assert code is StatusCode.DEADLINE_EXCEEDED
        assert "budget" in told
        code, told, _ = client.refused("ModelInfer", double(), metadata=((BUDGET, "soon"),))
        assert code is StatusCode.INVALID_ARGUMENT


def test_traces(store: Path) -> None:
    """The trace that a call's metadata name is the call's."""
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b"}
    service = Watched(store, PythonSession())
    with served(service) as client:
        client.infer(double(), metadata=tuple(trace.items())).result(AMPLE)
    assert service.headers == [trace]


def test_a_deadline_that_passes_drops_the_call(store: Path) -> None:
    """It is not run when its turn comes."""
    session = GatedSession()
    service = Watched(store, session)
    with served(service) as client:
        staying = client.infer(double())
        assert session.begun.wait(AMPLE)
        assert client.infer(double(), timeout=0.2).exception(AMPLE).code() is StatusCode.DEADLINE_EXCEEDED
        eventually(lambda: all(future.done() for future in service.futures[1:]), "it is dropped")
        session.gate.set()
        staying.result(AMPLE)
    assert session.runs == 1


def test_refused_with_a_time_to_come_again(store: Path) -> None:
    """An endpoint that is full says so at once, and when it may be asked again."""
    session = GatedSession()
    with served(Watched(store, session, waiting=0)) as client:
        staying = client.infer(double())
        assert session.begun.wait(AMPLE)
        code, told, trailing = client.refused("ModelInfer", double())
        assert code is StatusCode.UNAVAILABLE
        assert "overloaded" in told
        assert int(trailing["retry-after"]) >= 1
        session.gate.set()
        staying.result(AMPLE)
        assert "wait-ms" in dict(staying.trailing_metadata())  # how long the next one would wait


def test_requests_take_room(store: Path) -> None:
    """What they hold in memory is counted with that of all others."""
    with served(Watched(store, PythonSession(), held=100)) as client:
        assert client.refused("ModelInfer", call("double", "x", np.ones((20, 2), np.float32), "FP32"))[0] is (
            StatusCode.UNAVAILABLE
        )
        stream = client.stream(iter([bytes(1000), double("2")]))
        told = [pb.ModelStreamInferResponse.FromString(each) for each in stream]
        assert "large requests" in told[0].error_message
        assert answer(told[1].infer_response.SerializeToString()) == [2.0, 2.0]


def test_a_defect_is_one_caller_s(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    """INTERNAL, with no word of what is inside; the next call is answered."""

    class Broken(PythonSession):
        def run(self, inputs: Tensors) -> dict[str, Array]:
            if inputs["x"][0, 0] == 1:
                raise ZeroDivisionError("a defect")
            return super().run(inputs)

    with served(Watched(store, Broken())) as client:
        assert client.refused("ModelInfer", double())[:2] == (
            StatusCode.INTERNAL,
            "an internal error: see the endpoint's log",
        )
        zeros = call("double", "x", np.zeros((1, 2), np.float32), "FP32")
        assert answer(client.ask("ModelInfer", zeros)) == [0.0, 0.0]
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    ("method", "body", "code", "words"),
    [
        ("ModelInfer", call("nothing", "x", np.ones(1), "FP64"), StatusCode.NOT_FOUND, "not installed"),
        ("ModelInfer", call("double", "z", np.ones(1), "FP64"), StatusCode.INVALID_ARGUMENT, "z"),
        ("ModelInfer", call("../x", "x", np.ones(1), "FP64"), StatusCode.NOT_FOUND, "no such model"),
        ("ModelInfer", call("m" * 9000, "x", np.ones(1), "FP64"), StatusCode.NOT_FOUND, "mmm"),
        ("ModelInfer", call("\N{SNOWMAN}" * 9000, "x", np.ones(1), "FP64"), StatusCode.NOT_FOUND, "no such model"),
        ("ModelInfer", b"\x0b", StatusCode.INVALID_ARGUMENT, "Protocol Buffers"),
        ("ModelInfer", b"", StatusCode.NOT_FOUND, "no such model"),
        ("ModelMetadata", b"\x0a\x07nothing", StatusCode.NOT_FOUND, "not installed"),
        ("ModelConfig", b"\x0a\x07nothing", StatusCode.NOT_FOUND, "not installed"),
        ("ModelStatistics", b"\x0a\x07nothing", StatusCode.NOT_FOUND, "not installed"),
        ("ModelReady", b"\xff", StatusCode.INVALID_ARGUMENT, "Protocol Buffers"),
        ("RepositoryModelLoad", b"\x12\x06double", StatusCode.PERMISSION_DENIED, "--control"),
        ("RepositoryModelUnload", b"\x12\x06double", StatusCode.PERMISSION_DENIED, "--control"),
        ("TraceSetting", b"", StatusCode.UNIMPLEMENTED, "Method not found"),
        ("ModelInfer", bytes(65 << 20), StatusCode.RESOURCE_EXHAUSTED, "larger than max"),
    ],
)  # fmt: skip
def test_errors_have_their_status(client: Client, method: str, body: bytes, code: StatusCode, words: str) -> None:
    """In gRPC's words, with ours beside them."""
    found, told, _ = client.refused(method, body)
    assert found is code
    assert words in told


def test_compressed_messages_have_the_same_limit(client: Client) -> None:
    """Those that would expand past it are not expanded."""
    found, told, _ = client.refused("ModelInfer", bytes(100 << 20), compression=grpc.Compression.Gzip)
    assert found is StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in told


def test_a_call_without_a_message(client: Client) -> None:
    """Is answered too."""
    with pytest.raises(grpc.RpcError, match="without a message"):
        client.channel.stream_unary(METHODS + "ModelInfer")(iter([]), timeout=AMPLE)


def test_a_stream_s_answers_come_in_order(client: Client) -> None:
    """Many more than are under way at once, slow ones before quick ones, and errors in their place."""
    requests = [patience(200_000), b"\xff", double("2"), call("nothing", "x", np.ones(1), "FP64", "3")]
    requests += [double(str(number)) for number in range(4, 4 + 3 * AHEAD)]
    told = [pb.ModelStreamInferResponse.FromString(each) for each in client.stream(iter(requests))]
    assert len(told) == len(requests)
    assert told[0].infer_response.model_name == "patience"
    assert "Protocol Buffers" in told[1].error_message
    assert "not installed" in told[3].error_message
    assert [each.infer_response.id for each in told[2:]] == [str(number) for number in range(2, len(requests))]


def test_clients_that_leave_at_any_time(running: Endpoint, client: Client) -> None:
    """Before their answer or in the midst of a stream: nothing is lost by it, and nothing complained of."""
    for turn in range(20):
        with closing(Client(running.grpc)) as leaving:
            calls = [
                leaving.infer(body, timeout=timeout) for body in (double(), b"\xff") for timeout in (None, 0.002, 0.01)
            ]
            stream = leaving.stream(iter([double(), b"\xff", patience(100)] * AHEAD))
            for each in calls[turn % 2 :: 2]:
                each.cancel()
            for _ in range(turn):
                next(stream)
            if turn % 3:
                stream.cancel()


def test_calls_are_counted_with_all_others(running: Endpoint, client: Client) -> None:
    """In the statistics that HTTP tells."""
    before = pb.ModelStatisticsResponse.FromString(client.ask("ModelStatistics", b"\x0a\x06double"))
    client.ask("ModelInfer", double())
    after = pb.ModelStatisticsResponse.FromString(client.ask("ModelStatistics", b"\x0a\x06double"))
    assert after.model_stats[0].execution_count == before.model_stats[0].execution_count + 1

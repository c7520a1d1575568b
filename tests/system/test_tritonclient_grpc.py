"""NVIDIA's gRPC client and its asynchronous forms, as they come from PyPI, against our endpoint."""

from __future__ import annotations

import asyncio
import queue
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_runtime.values import Array
from tests.endpoint import Endpoint, endpoint
from tests.onnx_store import KINDS, write_store

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its own, on newer Pythons
    import tritonclient.grpc as triton
    import tritonclient.grpc.aio as grpc_aio
    import tritonclient.http as http
    import tritonclient.http.aio as http_aio
    from tritonclient.utils import InferenceServerException, np_to_triton_dtype

AMPLE = 30.0
X = np.random.default_rng(0).random((200, 2), np.float32)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    store: Path = write_store(tmp_path_factory.mktemp("triton")).path
    with endpoint(store, "--grpc", ":0", "--control") as running:
        yield running


@pytest.fixture(scope="module")
def client(running: Endpoint) -> Iterator[Any]:
    with triton.InferenceServerClient(running.grpc) as client:
        yield client


def given(name: str, array: Array, kind: Any = triton) -> Any:
    tensor = kind.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array)
    return tensor


@pytest.mark.parametrize("coding", [None, "gzip", "deflate"])
@pytest.mark.parametrize("named", [False, True])
def test_infer(client: Any, coding: str | None, named: bool) -> None:
    """Whether its outputs are named or not, compressed or not, an answer has its numbers and the caller's id."""
    answer = client.infer(
        "double",
        [given("x", X)],
        outputs=[triton.InferRequestedOutput("y")] if named else None,
        request_id="seven",
        priority=1,
        timeout=30_000_000,
        client_timeout=AMPLE,
        headers={"budget-ms": "30000"},
        compression_algorithm=coding,
        parameters={"mine": "passed over"},
    )
    assert np.array_equal(answer.as_numpy("y"), 2 * X)
    told = answer.get_response(as_json=True)
    assert (told["id"], told["model_name"], told["model_version"]) == ("seven", "double", "1.0")
    assert told["parameters"]["edge_device"]["string_param"] == "CPU"


def test_every_dtype(client: Any) -> None:
    """Each comes back as it went."""
    arrays = {kind: np.array([0, 1, 1], kind) for kind in KINDS}
    answer = client.infer("kinds", [given(f"{kind}_in", array) for kind, array in arrays.items()])
    for kind, array in arrays.items():
        found = answer.as_numpy(f"{kind}_out")
        assert found.dtype == array.dtype
        assert np.array_equal(found, array)


def test_version_and_state(client: Any) -> None:
    """A version can be asked for, and state tensors are ordinary tensors."""
    assert np.array_equal(client.infer("double", [given("x", X)], model_version="2.0").as_numpy("y"), 3 * X)
    one = np.ones(1, np.float32)
    assert client.infer("counter", [given("x", one), given("s", 4 * one)]).as_numpy("t").tolist() == [5.0]


def test_async_infer(client: Any) -> None:
    """Its calls with callbacks are answered, those that fail with an error; one can be cancelled."""
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()

    def callback(result: Any, error: Any) -> None:
        answers.put((result, error))

    client.async_infer("double", [given("x", X)], callback)
    assert np.array_equal(answers.get(timeout=AMPLE)[0].as_numpy("y"), 2 * X)
    client.async_infer("nothing", [given("x", X)], callback)
    assert "not installed" in str(answers.get(timeout=AMPLE)[1])
    client.async_infer("patience", [given("turns", np.array(200_000))], callback).cancel()
    assert "CANCELLED" in str(answers.get(timeout=AMPLE)[1])


def test_stream(client: Any) -> None:
    """A stream's calls are answered in their order, errors among them, and each says that it is whole if it is asked to."""
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(
        lambda result, error: answers.put((result, error)), stream_timeout=AMPLE, compression_algorithm="gzip"
    )
    for number in range(40):
        model = "nothing" if number == 7 else "double"
        client.async_stream_infer(model, [given("x", X + number)], request_id=str(number), enable_empty_final_response=True)
    for number in range(40):
        result, error = answers.get(timeout=AMPLE)
        if number == 7:
            assert "not installed" in str(error)
            continue
        response = result.get_response()
        assert response.id == str(number)
        assert response.parameters["triton_final_response"].bool_param
        assert np.array_equal(result.as_numpy("y"), 2 * (X + number))
    client.stop_stream()
    client.start_stream(lambda result, error: answers.put((result, error)))
    client.async_stream_infer("patience", [given("turns", np.array(200_000))])
    client.stop_stream(cancel_requests=True)
    assert "CANCELLED" in str(answers.get(timeout=AMPLE)[1])


def test_health_and_metadata(client: Any) -> None:
    """Its questions about server and models are answered."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("double")
    assert client.is_model_ready("double", "2.0")
    assert not client.is_model_ready("nothing")
    assert client.get_server_metadata().name == "edge-runtime"
    assert client.get_model_metadata("double", as_json=True) == {
        "name": "double",
        "versions": ["1.0", "2.0"],
        "platform": "edge_runtime",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": ["-1", "2"]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": ["-1", "2"]}],
    }
    config = client.get_model_config("double").config
    assert [(tensor.name, list(tensor.dims)) for tensor in config.input] == [("x", [-1, 2])]


def test_statistics_and_index(client: Any) -> None:
    """What ran, how often and how long; every version in the store, and whether it is open."""
    client.infer("double", [given("x", X)])
    before = client.get_inference_statistics("double", "1.0").model_stats[0]
    for _ in range(3):
        client.infer("double", [given("x", X)])
    after = client.get_inference_statistics("double", "1.0").model_stats[0]
    assert after.inference_stats.success.count == before.inference_stats.success.count + 3
    assert after.inference_stats.compute_infer.ns > before.inference_stats.compute_infer.ns > 0
    assert sum(batch.batch_size * batch.compute_infer.count for batch in after.batch_stats) == after.inference_count
    assert "double" in {entry.name for entry in client.get_inference_statistics().model_stats}
    index = {(entry.name, entry.version): entry for entry in client.get_model_repository_index().models}
    assert index["double", "1.0"].state == "READY"
    assert all(entry.reason for entry in index.values() if entry.state == "UNAVAILABLE")


def test_load_and_unload(client: Any) -> None:
    """A model that is unloaded answers no more until it is loaded."""
    client.unload_model("counter")
    assert not client.is_model_ready("counter")
    client.load_model("counter")
    assert client.is_model_ready("counter")
    with pytest.raises(InferenceServerException, match="not installed"):
        client.load_model("nothing")


def test_errors(client: Any) -> None:
    """What is wrong reaches its user as our words, with gRPC's status."""
    for status, words, ask in (
        ("NOT_FOUND", "not installed", lambda: client.infer("nothing", [given("x", X)])),
        ("NOT_FOUND", "not installed", lambda: client.get_model_metadata("nothing")),
        ("INVALID_ARGUMENT", "dtype int32", lambda: client.infer("double", [given("x", X.astype(np.int32))])),
        ("INVALID_ARGUMENT", "sequence_id", lambda: client.infer("double", [given("x", X)], sequence_id=5)),
        ("DEADLINE_EXCEEDED", "budget", lambda: client.infer("double", [given("x", X)], timeout=1)),
        ("INVALID_ARGUMENT", "config", lambda: client.load_model("double", config="{}")),
        ("UNIMPLEMENTED", "Method not found", client.get_log_settings),
    ):
        with pytest.raises(InferenceServerException, match=words) as caught:
            ask()
        assert caught.value.status() == f"StatusCode.{status}"


Ask = Callable[[Any], Awaitable[None]]


def asked(client: Callable[[], Any], ask: Ask) -> None:
    """Run questions to a client that is made, used and closed in one loop."""

    async def run() -> None:
        async with client() as made:
            await ask(made)

    asyncio.run(run())


@pytest.mark.parametrize("face", ["grpc", "http"])
def test_asynchronous_clients(running: Endpoint, face: str) -> None:
    """Over either face, every question of theirs is answered, and calls run side by side."""
    kind, inputs = (grpc_aio, triton) if face == "grpc" else (http_aio, http)
    address = running.grpc if face == "grpc" else running.url.removeprefix("http://")
    json: dict[str, Any] = {"as_json": True} if face == "grpc" else {}

    async def ask(client: Any) -> None:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("double", "2.0")
        assert not await client.is_model_ready("nothing")
        assert (await client.get_server_metadata(**json))["name"] == "edge-runtime"
        assert (await client.get_model_metadata("double", **json))["versions"] == ["1.0", "2.0"]
        calls = [client.infer("double", [given("x", X + n, inputs)], request_id=str(n)) for n in range(20)]
        for n, answer in enumerate(await asyncio.gather(*calls)):
            assert np.array_equal(answer.as_numpy("y"), 2 * (X + n))
        statistics = await client.get_inference_statistics("double", **json)
        assert int(statistics["model_stats"][0]["inference_count"]) >= 20 * len(X)
        index = await client.get_model_repository_index(**json)
        assert "double" in {entry["name"] for entry in (index["models"] if face == "grpc" else index)}
        with pytest.raises(InferenceServerException, match="not installed"):
            await client.infer("nothing", [given("x", X, inputs)])

    asked(lambda: kind.InferenceServerClient(address), ask)


def test_asynchronous_stream(running: Endpoint) -> None:
    """Answers come as an iterator, in the order of the requests."""

    async def requests() -> AsyncIterator[dict[str, Any]]:
        for number in range(20):
            yield {"model_name": "double", "inputs": [given("x", X + number)], "request_id": str(number)}

    async def ask(client: Any) -> None:
        number = 0
        async for result, error in client.stream_infer(requests()):
            assert error is None
            assert result.get_response().id == str(number)
            assert np.array_equal(result.as_numpy("y"), 2 * (X + number))
            number += 1
        assert number == 20

    asked(lambda: grpc_aio.InferenceServerClient(running.grpc), ask)

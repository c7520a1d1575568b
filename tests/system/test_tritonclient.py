"""NVIDIA's client, as it comes from PyPI, against our endpoint."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_runtime.values import Array
from tests.endpoint import endpoint
from tests.onnx_store import KINDS, write_store

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # gevent's and its own, on newer Pythons
    import tritonclient.http as triton
    from tritonclient.utils import InferenceServerException, np_to_triton_dtype


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    store: Path = write_store(tmp_path_factory.mktemp("triton")).path
    with endpoint(store, "--control") as running:
        client = triton.InferenceServerClient(running.url.removeprefix("http://"))
        yield client
        client.close()


def given(name: str, array: Array, binary: bool) -> Any:
    tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


X = np.random.default_rng(0).random((200, 2), np.float32)


@pytest.mark.parametrize("binary_in", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("binary_out", [True, False, None], ids=["to-binary", "to-json", "to-default"])
@pytest.mark.parametrize("request_coding", [None, "gzip", "deflate"])
@pytest.mark.parametrize("response_coding", [None, "gzip", "deflate"])
def test_infer(
    client: Any, binary_in: bool, binary_out: bool | None, request_coding: str | None, response_coding: str | None
) -> None:
    """Every way to write tensors with every way to compress them gives the same answer, with the caller's id."""
    outputs = None if binary_out is None else [triton.InferRequestedOutput("y", binary_data=binary_out)]
    answer = client.infer(
        "double",
        [given("x", X, binary_in)],
        outputs=outputs,
        request_id="seven",
        request_compression_algorithm=request_coding,
        response_compression_algorithm=response_coding,
    )
    assert np.array_equal(answer.as_numpy("y"), 2 * X)
    document = answer.get_response()
    assert document["id"] == "seven"
    assert (document["model_name"], document["model_version"]) == ("double", "1.0")
    assert document["parameters"]["edge_device"] == "CPU"
    assert ("data" in document["outputs"][0]) == (binary_out is False)


@pytest.mark.parametrize("binary", [True, False])
def test_every_dtype(client: Any, binary: bool) -> None:
    """Each dtype that JSON and this client can carry comes back as it went."""
    arrays = {kind: np.array([0, 1, 1], kind) for kind in KINDS}
    inputs = [given(f"{kind}_in", array, binary or kind == "float16") for kind, array in arrays.items()]
    answer = client.infer("kinds", inputs)
    for kind, array in arrays.items():
        found = answer.as_numpy(f"{kind}_out")
        assert found.dtype == array.dtype
        assert np.array_equal(found, array)


def test_version_and_state(client: Any) -> None:
    """A version can be asked for, and state tensors are ordinary tensors."""
    answer = client.infer("double", [given("x", X, True)], model_version="2.0")
    assert np.array_equal(answer.as_numpy("y"), 3 * X)
    one = np.ones(1, np.float32)
    answer = client.infer("counter", [given("x", one, True), given("s", 4 * one, True)])
    assert answer.as_numpy("t").tolist() == [5.0]


def test_async(client: Any) -> None:
    """Its asynchronous call works as well."""
    assert np.array_equal(client.async_infer("double", [given("x", X, True)]).get_result().as_numpy("y"), 2 * X)


def test_health_and_metadata(client: Any) -> None:
    """Its questions about server and models are answered."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("double")
    assert client.is_model_ready("double", "2.0")
    assert not client.is_model_ready("nothing")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    assert client.get_model_metadata("double") == {
        "name": "double",
        "versions": ["1.0", "2.0"],
        "platform": "edge_runtime",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
    }


def test_errors(client: Any) -> None:
    """What is wrong reaches its user as our words, and the status as its exception's."""
    with pytest.raises(InferenceServerException, match="nothing is not installed") as caught:
        client.infer("nothing", [given("x", X, True)])
    assert caught.value.status() == "404"
    with pytest.raises(InferenceServerException, match="dtype int32"):
        client.infer("double", [given("x", X.astype(np.int32), True)])
    with pytest.raises(InferenceServerException, match="no output 'z'"):
        client.infer("double", [given("x", X, True)], outputs=[triton.InferRequestedOutput("z")])
    with pytest.raises(InferenceServerException, match="classification"):
        client.infer("double", [given("x", X, True)], outputs=[triton.InferRequestedOutput("y", class_count=2)])
    with pytest.raises(InferenceServerException, match="sequence_id"):
        client.infer("double", [given("x", X, True)], sequence_id=5, sequence_start=True)


def test_timeout_is_the_budget(client: Any) -> None:
    """Its timeout (microseconds) is obeyed: a call that comes too late is refused, unrun."""
    with pytest.raises(InferenceServerException, match="budget") as caught:
        client.infer("double", [given("x", X, True)], timeout=1)
    assert caught.value.status() == "504"


def test_statistics(client: Any) -> None:
    """Calls are counted by model, with what they waited and what they took; a model that never ran has noughts."""
    before = client.get_inference_statistics("double")["model_stats"][0]
    for _ in range(3):
        client.infer("double", [given("x", X, True)])
    after = client.get_inference_statistics("double")["model_stats"][0]
    assert (after["name"], after["version"]) == ("double", "1.0")
    assert after["inference_stats"]["success"]["count"] == before["inference_stats"]["success"]["count"] + 3
    assert after["inference_stats"]["compute_infer"]["ns"] > before["inference_stats"]["compute_infer"]["ns"]
    assert after["last_inference"] > 0
    assert (
        sum(batch["batch_size"] * batch["compute_infer"]["count"] for batch in after["batch_stats"])
        == (after["inference_count"])
    )
    everything = client.get_inference_statistics()["model_stats"]
    assert after["name"] in {entry["name"] for entry in everything}
    with pytest.raises(InferenceServerException, match="not installed"):
        client.get_inference_statistics("nothing")


def test_repository_index(client: Any) -> None:
    """Every version in the store, and whether it is open."""
    index = client.get_model_repository_index()
    states = {(entry["name"], entry["version"]): entry["state"] for entry in index}
    assert states["double", "1.0"] == "READY"
    assert all(entry["reason"] for entry in index if entry["state"] == "UNAVAILABLE")


def test_load_and_unload(client: Any) -> None:
    """An unloaded model is not there until it is loaded; what a store does not hold is not uploaded this way."""
    client.unload_model("counter")
    assert not client.is_model_ready("counter")
    assert [e["reason"] for e in client.get_model_repository_index() if e["name"] == "counter"] == ["unloaded"]
    client.load_model("counter")
    assert client.is_model_ready("counter")
    with pytest.raises(InferenceServerException, match="not installed"):
        client.load_model("nothing")
    with pytest.raises(InferenceServerException, match="install the model into the store"):
        client.load_model("counter", config="{}")

"""Our client against a server that is not ours and takes no binary tensors: SeldonIO's MLServer, as it comes from PyPI."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from cloud_bridge.client import connect
from cloud_bridge.client.http import NOT_UNDERSTOOD
from cloud_bridge.protocol import oip
from edge_runtime.errors import LateError, ProtocolError, RefusedError
from edge_runtime.remote import Call, Remote
from edge_runtime.values import Array
from tests.contract.transports import free_port

AMPLE = 60.0
MLSERVER = Path(__file__).parents[2] / ".venv-mlserver" / "bin" / "mlserver"
"""Its own environment: it pins versions of its own."""

MODEL = """
import asyncio
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Doubler(MLModel):
    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        arrays = {tensor.name: NumpyCodec.decode_input(tensor) for tensor in payload.inputs}
        if "pause" in arrays:
            await asyncio.sleep(float(arrays.pop("pause")[0]))
        outputs = [NumpyCodec.encode_output(name, array + array) for name, array in arrays.items()]
        return InferenceResponse(model_name=self.name, model_version=self.version, id=payload.id, outputs=outputs)
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """MLServer with one model that gives back twice what it gets."""
    if not MLSERVER.exists():
        if os.environ.get("CI"):
            pytest.fail("mlserver is not installed, and CI must have it: make .venv-mlserver/ready")
        pytest.skip("mlserver is not installed here: make .venv-mlserver/ready")
    folder = tmp_path_factory.mktemp("mlserver")
    ports = dict(zip(("http_port", "grpc_port", "metrics_port"), _free_ports(3), strict=True))
    settings = {"host": "127.0.0.1", "parallel_workers": 0, "debug": False, **ports}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "double").mkdir()
    (folder / "double" / "doubler.py").write_text(MODEL)
    model = {"name": "double", "implementation": "doubler.Doubler", "parameters": {"version": "1.0"}}
    (folder / "double" / "model-settings.json").write_text(json.dumps(model))
    address = f"http://127.0.0.1:{ports['http_port']}"
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen([MLSERVER, "start", folder], stdout=log, stderr=log) as process,
    ):
        try:
            remote = connect(address)
            deadline = time.monotonic() + AMPLE
            while not remote.health(1.0):
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.05)
            remote.close()
            yield address
        finally:
            process.terminate()


def _free_ports(count: int) -> list[int]:
    return [free_port() for _ in range(count)]


@pytest.fixture
def remote(url: str) -> Iterator[Remote]:
    remote = connect(url)
    yield remote
    remote.close()


def ask(remote: Remote, seconds: float = AMPLE, model: str = "double", **inputs: Array) -> dict[str, Array]:
    return dict(remote.send(Call(model, inputs), deadline=time.monotonic() + seconds).result(AMPLE).outputs)


def test_goes_on_in_json(remote: Remote) -> None:
    """It is noticed that the server takes no binary tensors, and every call is answered."""
    x = np.random.default_rng(0).random((3, 50, 2), np.float32)
    for _ in range(3):
        y = ask(remote, x=x)["x"]
        assert y.dtype == np.float32
        assert np.array_equal(y, 2 * x)


def test_why_it_has_to_be_noticed(url: str) -> None:
    """The server really refuses a binary request, with one of the statuses after which the client asks again in JSON."""
    message = oip.encode_request(Call("double", {"x": np.ones(2, np.float32)}))
    with closing(HTTPConnection(urlsplit(url).netloc, timeout=AMPLE)) as http:
        http.request("POST", "/v2/models/double/infer", bytes(message.body), dict(message.headers))
        assert http.getresponse().status in NOT_UNDERSTOOD


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "float32", "float64"])
def test_dtypes(remote: Remote, dtype: str) -> None:
    """Numbers arrive as numbers of the same kind."""
    y = ask(remote, x=np.array([[1, 2], [3, 4]], dtype))["x"]
    assert y.dtype == dtype
    assert y.tolist() == [[2, 4], [6, 8]]


def test_nothing_is_said_of_what_ran(remote: Remote) -> None:
    """What only our endpoint tells stays empty."""
    call = remote.send(Call("double", {"x": np.ones(1)}), deadline=time.monotonic() + AMPLE)
    reply = call.result(AMPLE)
    assert (reply.engine, reply.device, reply.variant, reply.seconds) == ("", "", "", None)


def test_refused(remote: Remote) -> None:
    """Its errors are ours; what JSON cannot carry is refused on this side."""
    with pytest.raises(RefusedError, match="nothing not found") as caught:
        ask(remote, model="nothing", x=np.ones(1))
    assert caught.value.status == 404
    with pytest.raises(ProtocolError, match="float16"):
        ask(remote, x=np.ones(1, np.float16))
    with pytest.raises(RefusedError, match="takes no probes"):
        remote.probe(10).result(AMPLE)


def test_deadline(remote: Remote) -> None:
    """The deadline holds on this side, though the server knows nothing of it."""
    ask(remote, x=np.ones(1))
    start = time.monotonic()
    with pytest.raises(LateError):
        ask(remote, 0.2, x=np.ones(1), pause=np.array([3.0]))
    assert time.monotonic() - start < 3.0

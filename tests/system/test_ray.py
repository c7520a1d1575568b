"""The endpoint on Ray Serve: the same protocol from replicas on two nodes, one of which is killed under load."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from benchmarks.endpoint.load import closed
from benchmarks.ray.nodes import Cluster, cluster
from cloud_bridge import broker
from cloud_bridge.client import connect
from cloud_bridge.protocol import oip
from edge_runtime.errors import RefusedError
from edge_runtime.remote import Call
from tests.endpoint import Endpoint, endpoint, eventually
from tests.onnx_store import write_store

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tritonclient.grpc as triton_grpc
    import tritonclient.http as triton

AMPLE = 30.0
X = np.random.default_rng(0).random((200, 2), np.float32)
PROXY = """
import json, sys
from cloud_bridge.endpoint.ray import app
import ray
from ray import serve
ray.init(sys.argv[1], log_to_driver=False)
serve.start(http_options={"port": int(sys.argv[2])}, proxy_location="HeadOnly")
print("started", flush=True)
if line := sys.stdin.readline():
    serve.run(app(json.loads(line)), name="plain")
    print("ready", flush=True)
    sys.stdin.readline()
    serve.delete("plain")
    print("deleted", flush=True)
"""
LONG = {"turns": np.array(500_000)}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("ray")).path


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    with cluster(2) as running:
        yield running


class Proxy:
    """Ray's own, of a cluster."""

    def __init__(self, address: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the process is
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROXY, address, str(self.port)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.said, text=True,
        )  # fmt: skip
        self.hear("started")

    def say(self, arguments: dict[str, str] | None) -> None:
        assert self.process.stdin is not None
        print(json.dumps(arguments), file=self.process.stdin, flush=True)

    def hear(self, what: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == what, self.complaint()

    def complaint(self) -> str:
        self.said.seek(0)
        return self.said.read()[-2000:]


@pytest.fixture(scope="module")
def proxy(nodes: Cluster) -> Iterator[Proxy]:
    """A proxy of Ray's: whoever starts Serve first says where it listens."""
    running = Proxy(nodes.address)
    yield running
    running.process.communicate(timeout=60)
    running.said.close()


@pytest.fixture(scope="module")
def served(store: Path, nodes: Cluster, proxy: Proxy) -> Iterator[Endpoint]:
    """Two replicas, one a node, behind a face of ours."""
    options = ("--engine", "ray", "--ray-address", nodes.address, "--replicas", "2", "--grpc", "127.0.0.1:0")
    with endpoint(store, *options) as running:
        yield running
    assert running.process.returncode == 0


def fetched(url: str, headers: Mapping[str, str] = MappingProxyType({})) -> bytes:
    request = urllib.request.Request(url, headers=dict(headers))  # noqa: S310 - the endpoint's
    with urllib.request.urlopen(request, timeout=AMPLE) as answer:  # noqa: S310
        return bytes(answer.read())


def runs(url: str) -> int:
    """How often `double` has run, on all replicas."""
    told = json.loads(fetched(f"{url}/v2/models/double/stats"))["model_stats"]
    return sum(int(model["inference_stats"]["success"]["count"]) for model in told)


def replicas(url: str) -> set[str]:
    """Those that tell their metrics, by name."""
    return set(re.findall(r'replica="(\w+)"', fetched(f"{url}/metrics").decode()))


def ask(url: str, call: Call, seconds: float = AMPLE) -> Any:
    remote = connect(url)
    try:
        if url.startswith("mqtt:"):
            eventually(lambda: remote.health(AMPLE), "the broker can be reached")
        return remote.send(call, deadline=time.monotonic() + seconds).result(seconds)
    finally:
        remote.close()


def send(url: str, call: Call, headers: Mapping[str, str]) -> socket.socket:
    """A call under way, by its connection."""
    host, _, port = url.removeprefix("http://").partition(":")
    message = oip.encode_request(call)
    head = "".join(f"{name}: {value}\r\n" for name, value in {**message.headers, **headers}.items())
    length = f"content-length: {len(message.body)}\r\n"
    sock = socket.create_connection((host, int(port)))
    sock.sendall(f"POST /v2/models/{call.model}/infer HTTP/1.1\r\nhost: x\r\n{length}{head}\r\n".encode())
    sock.sendall(message.body)
    return sock


@pytest.mark.parametrize("binary", [True, False])
def test_triton_s_client(served: Endpoint, binary: bool) -> None:
    """NVIDIA's client is answered as by an endpoint in one process, whatever the form."""
    client = triton.InferenceServerClient(served.url.removeprefix("http://"))
    tensor = triton.InferInput("x", list(X.shape), "FP32").set_data_from_numpy(X, binary_data=binary)
    answer = client.infer("double", [tensor], outputs=[triton.InferRequestedOutput("y", binary_data=binary)])
    assert np.array_equal(answer.as_numpy("y"), 2 * X)
    assert client.infer("double", [tensor], model_version="2.0").get_response()["model_version"] == "2.0"
    assert client.is_model_ready("double")
    assert client.get_model_metadata("double")["versions"] == ["1.0", "2.0"]
    client.close()


def test_grpc(served: Endpoint) -> None:
    """gRPC is a face as HTTP is."""
    client = triton_grpc.InferenceServerClient(str(served.announced["grpc"]).rpartition("/")[2])
    tensor = triton_grpc.InferInput("x", list(X.shape), "FP32").set_data_from_numpy(X)
    assert np.array_equal(client.infer("double", [tensor]).as_numpy("y"), 2 * X)
    client.close()


def test_our_client_and_figures_of_all_replicas(served: Endpoint) -> None:
    """Our client is answered, and statistics and metrics are those of both replicas."""
    before = runs(served.url)
    for _ in range(20):
        assert np.array_equal(ask(served.url, Call("double", {"x": X})).outputs["y"], 2 * X)
    assert runs(served.url) == before + 20
    assert len(replicas(served.url)) == 2
    assert replicas(served.url) == replicas(served.url)


def test_errors_are_the_endpoint_s(served: Endpoint) -> None:
    """What a replica refuses comes with its status and words, not with Ray's."""
    with pytest.raises(RefusedError, match="nope is not installed") as missing:
        ask(served.url, Call("nope", {"x": X}))
    assert missing.value.status == 404
    with pytest.raises(RefusedError, match="has shape") as wrong:
        ask(served.url, Call("double", {"x": X[:, :1]}))
    assert wrong.value.status == 400


def test_a_budget_is_kept(served: Endpoint) -> None:
    """A call that takes longer than its budget is refused before that is over."""
    message = oip.encode_request(Call("patience", LONG), budget=0.3)
    found = closed(f"{served.url}/v2/models/patience/infer", message, clients=1, seconds=0.1)
    assert set(found.statuses) <= {503, 504}


def test_a_second_face(served: Endpoint, store: Path, nodes: Cluster) -> None:
    """Another machine's endpoint uses the replicas that are there, over HTTP and MQTT, and leaves them when it ends."""
    join = ("--engine", "ray", "--ray-address", nodes.address)
    with broker.start(kind="iotcore") as running, endpoint(store, *join, mqtt=f"{running.url}/ray") as second:
        for url in (second.url, f"{running.url}/ray"):
            assert np.array_equal(ask(url, Call("double", {"x": X})).outputs["y"], 2 * X)
    assert np.array_equal(ask(served.url, Call("double", {"x": X})).outputs["y"], 2 * X)


def test_ray_s_own_proxies(proxy: Proxy, store: Path, tmp_path: Path) -> None:
    """`serve run` takes the plain application: the same answers behind Ray's proxy, keys, and no compute for who leaves."""
    keys = tmp_path / "keys"
    keys.write_text("a-key-that-is-long\n")
    proxy.say({"store": str(store), "keys": str(keys)})
    proxy.hear("ready")
    plain, url = f"http://127.0.0.1:{proxy.port}", f"http://me:a-key-that-is-long@127.0.0.1:{proxy.port}"
    with pytest.raises(RefusedError, match="needs a key"):
        ask(plain, Call("double", {"x": X}))
    assert np.array_equal(ask(url, Call("double", {"x": X})).outputs["y"], 2 * X)
    check_who_leaves(plain, {"authorization": "Bearer a-key-that-is-long"})
    proxy.say(None)
    proxy.hear("deleted")


def test_who_leaves_is_not_computed_for(served: Endpoint) -> None:
    """A client that hangs up takes its call from the replica's queue."""
    check_who_leaves(served.url, {})


def check_who_leaves(url: str, headers: Mapping[str, str]) -> None:
    def told(pattern: str) -> bool:
        return re.search(pattern, fetched(f"{url}/metrics", headers).decode()) is not None

    calls = [send(url, Call("patience", LONG), headers) for _ in range(8)]  # each replica runs two at once
    eventually(lambda: told(r"edge_waiting_calls\S* [1-9]"), "a call waits")
    for call in calls:
        call.close()
    eventually(lambda: told('status="499"'), "a call was dropped")


def test_another_store(served: Endpoint, nodes: Cluster, tmp_path: Path) -> None:
    """A face does not stand before replicas of another store than it was told to serve, nor change how many there are."""
    other = write_store(tmp_path).path
    join = ("--engine", "ray", "--ray-address", nodes.address)
    assert "serve the same store" in refused(other, *join)
    assert "run already" in refused(other, *join, "--replicas", "2")


def test_a_node_is_killed_under_load(served: Endpoint, nodes: Cluster) -> None:
    """No process of the node says good-bye, and yet every call is answered or refused within its budget, and soon all are
    answered again."""
    budget = 10.0
    message = oip.encode_request(Call("double", {"x": X}), budget=budget)
    killer = threading.Timer(1.0, nodes.kill, (1,))
    killer.start()
    found = closed(f"{served.url}/v2/models/double/infer", message, clients=8, seconds=5.0)
    killer.join()
    assert set(found.statuses) <= {200, 503, 504}, Counter(found.statuses)
    assert max(found.seconds) <= budget
    again = closed(f"{served.url}/v2/models/double/infer", message, clients=8, seconds=1.0)
    assert set(again.statuses) == {200}


def test_alone_on_one_machine(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a cluster one is started, on this machine, and ends with the endpoint: SIGTERM is exit status 0. Missed
    calls bring a second replica."""
    monkeypatch.setenv("RAY_worker_niceness", "0")  # else its processes give way to all other tests
    hurried = oip.encode_request(Call("patience", LONG), budget=0.1)

    def grown(url: str) -> bool:
        closed(f"{url}/v2/models/patience/infer", hurried, clients=2, seconds=1.0)
        return len(replicas(url)) == 2

    with endpoint(store, "--engine", "ray", "--replicas", "1:2") as running:
        assert running.announced["models"] == ["counter", "double", "kinds", "patience"]
        started = children(running.process.pid)
        assert np.array_equal(ask(running.url, Call("double", {"x": X})).outputs["y"], 2 * X)
        eventually(lambda: grown(running.url), "a second replica", 60.0)
    assert running.process.returncode == 0
    assert started
    eventually(lambda: not any(map(alive, started)), "all that it started has ended")


def refused(store: Path, *options: str) -> str:
    """What an endpoint says that does not start."""
    command = [sys.executable, "-m", "cloud_bridge.cli", "serve", str(store), "--http", "127.0.0.1:0", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--replicas", "2"], "--engine ray"),
        (["--ray-address", "127.0.0.1:6379"], "--engine ray"),
        (["--engine", "ray", "--replicas", "8:2"], "LEAST:MOST"),
        (["--engine", "ray", "--control"], "--control"),
        (["--engine", "ray", "--ray-address", "here"], "HOST:PORT"),
    ],
)
def test_options_that_make_no_sense(store: Path, options: list[str], told: str) -> None:
    """They are refused by name, before anything is started."""
    assert told in refused(store, *options)


def children(process: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *children(child)]
    return found


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"

"""One suite for every transport: a real endpoint in its own process, real models, and the `Remote` port in front."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cloud_bridge.client import connect
from edge_runtime.errors import CancelledError, LateError, RefusedError, RemoteError, UnreachableError
from edge_runtime.remote import Call, Pending, Remote
from edge_runtime.values import Array
from tests.contract.transports import TRANSPORTS, Transport
from tests.endpoint import eventually
from tests.onnx_store import KINDS, write_store

AMPLE = 30.0
SLOW = 1_000_000
"""Turns of `patience` that take the better part of a second or more."""


@pytest.fixture(scope="module", params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> Transport:
    return TRANSPORTS[request.param]


@pytest.fixture(scope="module")
def url(transport: Transport, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    store: Path = write_store(tmp_path_factory.mktemp("transports")).path
    with transport.serve(store) as address:
        yield address


@pytest.fixture
def remote(url: str) -> Iterator[Remote]:
    remote = connect(url)
    assert remote.health(AMPLE)
    yield remote
    remote.close()


def pairs(count: int = 1, value: float = 1.5) -> Array:
    return np.full((count, 2), value, np.float32)


def send(
    remote: Remote, model: str, inputs: dict[str, Array], version: str | None = None, seconds: float = AMPLE
) -> Pending:
    return remote.send(Call(model, inputs, version), deadline=time.monotonic() + seconds)


def doubled(remote: Remote) -> bool:
    return bool((send(remote, "double", {"x": pairs()}).result(AMPLE).outputs["y"] == 3.0).all())


def test_answers_and_says_what_ran(remote: Remote) -> None:
    """The outputs are the model's, and the reply tells engine, device, variant and the seconds that were spent."""
    reply = send(remote, "double", {"x": pairs()}).result(AMPLE)
    assert reply.outputs["y"].tolist() == [[3.0, 3.0]]
    assert reply.engine.startswith("onnxruntime ")
    assert (reply.device, reply.variant) == ("CPU", "fp32-onnx")
    assert reply.seconds is not None
    assert 0 < reply.seconds < AMPLE


def test_outputs_are_the_caller_s_to_keep_and_change(remote: Remote) -> None:
    """As those of a local model are: the application must not be able to tell them apart by a crash."""
    first = send(remote, "double", {"x": pairs()}).result(AMPLE).outputs["y"]
    first *= 2
    assert send(remote, "double", {"x": pairs()}).result(AMPLE).outputs["y"].tolist() == [[3.0, 3.0]]
    assert first.tolist() == [[6.0, 6.0]]


def test_a_call_that_has_ended_lets_go_of_its_tensors(transport: Transport, remote: Remote) -> None:
    """At once, however it ended: they may be large, and the garbage collector comes when it likes."""

    def ask(remote: Remote, model: str) -> list[weakref.ref[Array]]:
        array = pairs()
        kept = [weakref.ref(array)]
        with contextlib.suppress(RefusedError, UnreachableError):
            kept.append(weakref.ref(send(remote, model, {"x": array}).result(AMPLE).outputs["y"]))
        return kept

    gc.disable()
    try:
        nobody = connect(transport.nobody())
        kept = ask(remote, "double") + ask(remote, "no_such_model") + ask(nobody, "double")
        nobody.close()
        assert len(kept) == 4
        eventually(lambda: all(array() is None for array in kept), "tensors of calls that have ended are still there", 10.0)
    finally:
        gc.enable()


def test_every_dtype_bit_for_bit(remote: Remote) -> None:
    """Every dtype goes and comes back as it was, NaN and infinity included."""
    rng = np.random.default_rng(0)
    inputs: dict[str, Array] = {}
    for kind in KINDS:
        raw = rng.integers(0, 2 if kind == "bool" else 256, 64 * np.dtype(kind).itemsize, np.uint8)
        inputs[f"{kind}_in"] = raw.view(kind)
    reply = send(remote, "kinds", inputs).result(AMPLE)
    for kind in KINDS:
        assert reply.outputs[f"{kind}_out"].dtype == kind
        assert reply.outputs[f"{kind}_out"].tobytes() == inputs[f"{kind}_in"].tobytes()


def test_megabytes(remote: Remote) -> None:
    """A tensor of 4 MB arrives whole, both ways."""
    x = np.random.default_rng(0).random((1 << 19, 2), np.float32)
    assert np.array_equal(send(remote, "double", {"x": x}).result(AMPLE).outputs["y"], 2 * x)


def test_version(remote: Remote) -> None:
    """A version that is asked for runs, not the active one."""
    assert send(remote, "double", {"x": pairs()}, "2.0").result(AMPLE).outputs["y"].tolist() == [[4.5, 4.5]]


def test_state_goes_and_comes_back(remote: Remote) -> None:
    """A recurrent model's state is an input and an output like others: the caller carries it."""
    state = np.zeros(1, np.float32)
    for _ in range(3):
        state = send(remote, "counter", {"x": np.ones(1, np.float32), "s": state}).result(AMPLE).outputs["t"]
    assert state.tolist() == [3.0]


def test_many_at_once(remote: Remote) -> None:
    """Calls that are under way together each get their own answer."""
    calls = [send(remote, "double", {"x": pairs(1 + i, float(i))}) for i in range(40)]
    for i, call in enumerate(calls):
        y = call.result(AMPLE).outputs["y"]
        assert y.shape == (1 + i, 2)
        assert (y == 2.0 * i).all()


def test_from_many_threads(remote: Remote) -> None:
    """A remote may be used from any thread."""
    wrong: list[float] = []

    def ask(value: float) -> None:
        for _ in range(10):
            y = send(remote, "double", {"x": pairs(1, value)}).result(AMPLE).outputs["y"]
            wrong.extend(found for found in y.ravel() if found != 2 * value)

    threads = [threading.Thread(target=ask, args=(float(i),)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(("model", "version"), [("nothing", None), ("double", "9.9"), ("Double", None)])
def test_not_there(remote: Remote, model: str, version: str | None) -> None:
    """A model or version that the endpoint does not have is a refusal with 404."""
    with pytest.raises(RefusedError) as caught:
        send(remote, model, {"x": pairs()}, version).result(AMPLE)
    assert caught.value.status == 404


@pytest.mark.parametrize(
    "inputs",
    [
        {"z": pairs()},
        {"x": pairs(), "z": pairs()},
        {"x": pairs().astype(np.float64)},
        {"x": np.zeros((1, 3), np.float32)},
        {"x": np.zeros((2,), np.float32)},
        {"x": np.zeros((0, 2), np.float32)},
        {"x": pairs(1, np.nan)},
        {},
    ],
    ids=["name", "extra", "dtype", "shape", "rank", "empty", "nan", "none"],
)
def test_wrong_inputs(remote: Remote, inputs: dict[str, Array]) -> None:
    """Inputs that the model does not take are a refusal with 400, and the endpoint works on."""
    with pytest.raises(RefusedError) as caught:
        send(remote, "double", inputs).result(AMPLE)
    assert caught.value.status == 400
    assert doubled(remote)


def test_deadline_that_has_passed(remote: Remote) -> None:
    """A call without time is late at once."""
    with pytest.raises(LateError):
        send(remote, "double", {"x": pairs()}, seconds=-1.0).result(AMPLE)


def test_deadline_is_kept(remote: Remote) -> None:
    """A call is late when its deadline passes, however long the caller would wait."""
    start = time.monotonic()
    with pytest.raises(LateError):
        send(remote, "patience", {"turns": np.array(SLOW)}, seconds=0.1).result(AMPLE)
    assert 0.1 <= time.monotonic() - start < AMPLE / 3


def test_waiting_in_steps(remote: Remote) -> None:
    """Waiting too short is LateError, and the call goes on: its answer is there for the next who waits."""
    call = send(remote, "patience", {"turns": np.array(SLOW // 4)})
    with pytest.raises(LateError):
        call.result(0.01)
    assert call.result(AMPLE).outputs["y"] == SLOW // 4


def test_cancel(remote: Remote) -> None:
    """A cancelled call ends at once with CancelledError, says how much had left, and can be cancelled again."""
    call = send(remote, "patience", {"turns": np.array(SLOW)})
    assert call.cancel() >= 0
    start = time.monotonic()
    with pytest.raises(CancelledError):
        call.result(AMPLE)
    assert time.monotonic() - start < AMPLE / 3
    assert call.cancel() >= 0
    assert doubled(remote)


def test_cancel_wakes_who_waits(remote: Remote) -> None:
    """Whoever waits for the answer is woken by a cancel from another thread."""
    call = send(remote, "patience", {"turns": np.array(SLOW)})
    timer = threading.Timer(0.05, call.cancel)
    timer.start()
    with pytest.raises(CancelledError):
        call.result(AMPLE)
    timer.join()


def test_cancel_after_the_answer(remote: Remote) -> None:
    """An answer that is there stays."""
    x = pairs(1000)
    call = send(remote, "double", {"x": x})
    call.result(AMPLE)
    assert call.cancel() >= x.nbytes
    assert call.result(0.0).outputs["y"].shape == (1000, 2)


@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_probe(remote: Remote, size: int) -> None:
    """A probe takes its bytes there and brings nothing back."""
    probe = remote.probe(size)
    assert probe.result(AMPLE).outputs == {}
    assert probe.cancel() >= size


def test_close_ends_what_is_under_way(url: str) -> None:
    """Closing wakes whoever waits; after that nothing can be sent."""
    remote = connect(url)
    assert remote.health(AMPLE)
    call = send(remote, "patience", {"turns": np.array(SLOW)})
    remote.close()
    with pytest.raises(RemoteError):
        call.result(AMPLE)
    with pytest.raises(RemoteError):
        send(remote, "double", {"x": pairs()}).result(AMPLE)
    assert not remote.health(1.0)
    remote.close()


def test_nobody_there(transport: Transport) -> None:
    """Where nobody answers, a call fails as unreachable long before its deadline, and health says no."""
    remote = connect(transport.nobody())
    try:
        start = time.monotonic()
        with pytest.raises(UnreachableError):
            send(remote, "double", {"x": pairs()}).result(AMPLE)
        assert time.monotonic() - start < AMPLE / 3
        assert not remote.health(1.0)
    finally:
        remote.close()


def test_name_keeps_secrets(url: str) -> None:
    """The name is the URL without credentials."""
    scheme, _, rest = url.partition("://")
    remote = connect(f"{scheme}://user:secret@{rest}")
    assert "secret" not in remote.name
    assert rest.partition("/")[0].partition("?")[0] in remote.name
    remote.close()

"""Small real implementations of the ports, for tests that need neither an engine nor a network."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import numpy as np

from edge_runtime.backends.base import StateStream, Stream
from edge_runtime.bundles.manifest import File, Manifest, Variant
from edge_runtime.bundles.store import Bundle
from edge_runtime.engines import Candidate, Loaded
from edge_runtime.errors import LateError, RemoteError
from edge_runtime.remote import Call, Pending, Reply
from edge_runtime.signature import Signature, StatePair, TensorSpec
from edge_runtime.values import Array, Device, Result, Tensors

DOUBLE = Signature(inputs=(TensorSpec("x", "float32", ("N", 2)),), outputs=(TensorSpec("y", "float32", ("N", 2)),))
COUNTER = Signature(
    inputs=(TensorSpec("x", "float32", (1,)), TensorSpec("s", "float32", (1,))),
    outputs=(TensorSpec("y", "float32", (1,)), TensorSpec("t", "float32", (1,))),
    state=(StatePair("s", "t"),),
)
HERE = Device("python", "CPU", engine="python")


def manifest(signature: Signature = DOUBLE, *, partner: str | None = "double", variants: int = 1) -> Manifest:
    """A manifest of `variants` variants whose files are not there: no engine reads them."""
    names = [f"v{i}" for i in range(variants)]
    rows = tuple(Variant(name, "onnx", "fp32", (File(f"{name}.onnx", f"{i:064x}", 1),)) for i, name in enumerate(names))
    return Manifest(
        name="double", version="1.0", task="test", signature=signature, variants=rows, sizes={"N": 1}, partner=partner
    )


class PythonSession:
    """y = 2 x (and t = s + x for a counter), after `delay` seconds."""

    def __init__(self, signature: Signature = DOUBLE, delay: float = 0.0) -> None:
        self.signature = signature
        self.device = HERE
        self.delay = delay
        self.runs = 0
        self.closed = False

    def run(self, inputs: Tensors) -> dict[str, Array]:
        self.runs += 1
        time.sleep(self.delay)
        outputs = {"y": inputs["x"] * 2}
        if self.signature.state:
            outputs["t"] = inputs["s"] + inputs["x"]
        return outputs

    def stream(self) -> Stream:
        return StateStream(self)

    def close(self) -> None:
        self.closed = True


def loaded(session: PythonSession, described: Manifest) -> Loaded:
    """The session as the runtime sees an opened bundle."""
    return Loaded(Bundle(described, Path("nowhere")), Candidate(described.variants[0], HERE), session, "a test")


def at_once(call: Callable[[], Result]) -> Future[Result]:
    """Run on the caller's thread, as a future."""
    future: Future[Result] = Future()
    future.set_result(call())
    return future


class ScriptedRemote:
    """A cloud that answers y = 3 x after `delay` seconds, or fails as `failure` says, when asked or when it answers."""

    name = "test://cloud"

    def __init__(self, delay: float = 0.0, failure: RemoteError | None = None, at_once: bool = False) -> None:
        self.delay = delay
        self.failure = failure
        self.at_once = at_once
        self.answer: Callable[[Call], Tensors] = lambda call: {"y": call.inputs["x"] * np.float32(3)}
        self.calls: list[Call] = []
        self.probes = 0
        self.cancelled = 0
        self.closed = False

    def send(self, call: Call, *, deadline: float) -> Pending:
        self.calls.append(call)
        if self.failure is not None and self.at_once:
            raise self.failure
        return _ScriptedPending(self, call)

    def probe(self, size: int) -> Pending:
        self.probes += 1
        return _ScriptedPending(self, Call("probe", {"x": np.zeros((1, 2), np.float32)}))

    def health(self, timeout: float) -> bool:
        return self.failure is None

    def close(self) -> None:
        self.closed = True


class _ScriptedPending:
    def __init__(self, remote: ScriptedRemote, call: Call) -> None:
        self._remote = remote
        self._call = call
        self._ready = time.monotonic() + remote.delay
        self._gone = threading.Event()

    def result(self, timeout: float) -> Reply:
        wait = self._ready - time.monotonic()
        if wait > timeout:
            self._gone.wait(timeout)
            raise LateError("no answer yet")
        self._gone.wait(max(0.0, wait))
        if self._remote.failure is not None:
            raise self._remote.failure
        return Reply(self._remote.answer(self._call), engine="test 1", device="CPU", variant="v0")

    def done(self) -> bool:
        return self._gone.is_set() or time.monotonic() >= self._ready

    def add_done_callback(self, callback: Callable[[], None]) -> None:
        timer = threading.Timer(max(0.0, self._ready - time.monotonic()), callback)
        timer.daemon = True
        timer.start()

    def cancel(self) -> int:
        self._remote.cancelled += 1
        self._gone.set()
        return self._call.size

"""A tensor's way to an endpoint and back, with our clients, over the bare wire: http.client to a uvicorn app that echoes,
and two sockets that exchange the same bytes through the same mosquitto.

The model gives back what it gets, so that nothing but the wire and our own code takes time. All that is compared takes
turns in one run; client, endpoint, broker and the bare ends are processes of their own, and all share this machine's
processors. Every end keeps its big buffers (`cloud_bridge.malloc`), the bare ones too.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from hashlib import sha256
from pathlib import Path
from time import monotonic

import msgspec
import numpy as np

from benchmarks.convention import Bar, Options, Outcome, at_most, main
from benchmarks.wire.floor import ANSWERED, ASKED, HttpFloor, MqttFloor
from cloud_bridge import broker
from cloud_bridge.client import connect
from cloud_bridge.protocol import oip
from edge_runtime.bench.measure import Case, Samples, called, measure
from edge_runtime.bench.statistics import Ratio, paired_ratio
from edge_runtime.bundles.manifest import MANIFEST, File, Manifest, Variant, encode
from edge_runtime.bundles.store import Store
from edge_runtime.errors import BackendError
from edge_runtime.remote import Call, Remote
from edge_runtime.signature import Signature, TensorSpec

MODEL = "identity"
SIZES = {"40 B": 10, "1 kB": 256, "600 kB": 150_000}
"""Elements of a float32 tensor."""
LARGE = "600 kB"
AIMS = {"HTTP": 1.3, "MQTT": 2.0}
"""How many times what the bare wire takes, for the largest."""
SMALL_AIM = 0.4
"""Milliseconds of 1 kB over HTTP."""


class Pair(msgspec.Struct, frozen=True):
    """One size over one protocol: medians of rounds in nanoseconds, and their ratio."""

    protocol: str
    size: str
    bare: tuple[float, ...]
    ours: tuple[float, ...]

    @property
    def ratio(self) -> Ratio:
        """Ours over the bare wire's."""
        return paired_ratio(self.ours, self.bare)

    def __str__(self) -> str:
        bare, ours, ratio = float(np.median(self.bare)) / 1e6, float(np.median(self.ours)) / 1e6, self.ratio
        sure = "" if ratio.low is None else f" [{ratio.low:.2f}, {ratio.high:.2f}]"
        return f"{self.protocol} {self.size:>6}  bare {bare:6.3f} ms   ours {ours:6.3f} ms   ratio {ratio.value:.2f}{sure}"


def run(options: Options) -> Outcome:
    """Every size over both, in turns."""
    runs, seconds = (300, 1.2) if options.quick else (4000, 8.0)
    with ExitStack() as stack:
        store = Store(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "store", create=True)
        _install(store)
        cases = []
        for protocol, (bare, remote) in _ends(stack, store).items():
            for size, elements in SIZES.items():
                call = Call(MODEL, {"x": np.random.default_rng(0).random((1, elements), np.float32)})
                cases += [
                    called(f"bare {protocol} {size}", bare(bytes(oip.encode_request(call).body))),
                    called(f"{protocol} {size}", _asked(remote, call)),
                ]
        samples = _measured(cases, runs, seconds, options)
    pairs = [
        _pair(protocol, size, samples[f"bare {protocol} {size}"], samples[f"{protocol} {size}"])
        for protocol in AIMS
        for size in SIZES
    ]
    return Outcome(_bars(pairs), [str(pair) for pair in pairs], pairs)


def _ends(stack: ExitStack, store: Store) -> dict[str, tuple[Callable[[bytes], Callable[[], object]], Remote]]:
    """For each protocol the bare way of some bytes, and our client."""
    running = stack.enter_context(broker.start(kind="mosquitto"))
    ours = stack.enter_context(_process("cloud_bridge.cli", "serve", str(store.path), "--http", "127.0.0.1:0",
        "--mqtt", running.url, "--json"))  # fmt: skip
    url = str(msgspec.json.decode(ours)["http"])
    port = int(stack.enter_context(_process("benchmarks.wire.floor", "http")))
    stack.enter_context(_process("benchmarks.wire.floor", "mqtt", running.host, str(running.port)))
    http = stack.enter_context(closing(HttpFloor(port, {"content-type": "application/octet-stream"})))
    mqtt = stack.enter_context(closing(MqttFloor(running.host, running.port, ANSWERED, ASKED)))
    remotes = [stack.enter_context(closing(connect(where))) for where in (url, running.url)]
    if not all(remote.health(20.0) for remote in remotes):
        raise BackendError("the endpoint does not answer")
    return {
        "HTTP": (lambda body: lambda: http.trip(body), remotes[0]),
        "MQTT": (lambda body: lambda: mqtt.trip(body), remotes[1]),
    }


def _asked(remote: Remote, call: Call) -> Callable[[], object]:
    x = call.inputs["x"]
    given = remote.send(call, deadline=monotonic() + 20.0).result(20.0).outputs["y"]
    if not np.array_equal(given, x):
        raise BackendError("what came back is not what was sent")
    return lambda: remote.send(call, deadline=monotonic() + 20.0).result(20.0)


def _measured(cases: Sequence[Case], runs: int, seconds: float, options: Options) -> dict[str, Samples]:
    samples = {each.name: each for each in measure(cases, runs=runs, seconds=seconds, progress=options.progress)}
    for each in samples.values():
        if each.error is not None:
            raise BackendError(f"{each.name}: {each.error}")
    return samples


def _pair(protocol: str, size: str, bare: Samples, ours: Samples) -> Pair:
    both = [(b, o) for b, o in zip(bare.rounds, ours.rounds, strict=False) if b and o]
    return Pair(
        protocol, size, tuple(float(np.median(b)) for b, _ in both), tuple(float(np.median(o)) for _, o in both)
    )  # fmt: skip


def _bars(pairs: Sequence[Pair]) -> list[Bar]:
    found = {(pair.protocol, pair.size): pair for pair in pairs}
    large = [
        at_most(f"{LARGE} over {protocol}, over the bare wire", found[protocol, LARGE].ratio.value, "x", aim)
        for protocol, aim in AIMS.items()
    ]
    return [*large, at_most("1 kB over HTTP", float(np.median(found["HTTP", "1 kB"].ours)) / 1e6, "ms", SMALL_AIM)]


def _install(store: Store) -> None:
    """The model that gives back what it gets."""
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, "M"]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], MODEL, [x], [y])
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    file = File("identity.onnx", sha256(data).hexdigest(), len(data))
    x_spec, y_spec = ((TensorSpec(name, "float32", (1, "M")),) for name in "xy")
    manifest = Manifest(
        name=MODEL, version="1.0", task="give back", signature=Signature(x_spec, y_spec), sizes={"M": 10},
        variants=(Variant("fp32-onnx", "onnx", "fp32", (file,)),),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / file.path).write_bytes(data)
        (Path(folder) / MANIFEST).write_bytes(encode(manifest))
        store.install(Path(folder))


@contextmanager
def _process(module: str, *arguments: str) -> Iterator[str]:
    """A module as a process, for as long as the context lasts: the first line that it says."""
    with subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            assert process.stdout is not None  # noqa: S101
            yield process.stdout.readline()
        finally:
            process.terminate()


if __name__ == "__main__":
    main("wire", __doc__, run)

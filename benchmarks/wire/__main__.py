"""A tensor's way to an endpoint and back, with our clients, over the bare wire: http.client to a uvicorn app that echoes,
and two sockets that exchange the same bytes through the same mosquitto.

The model gives back what it gets, so that nothing but the wire and our own code takes time. All that is compared takes
turns in one run; every client, endpoint and broker is a process of its own but for our clients, which are in this one, and
all share this machine's processors. The bare ends are measured as they come, and, told beside that, with the allocator's
settings that ours have (`cloud_bridge.malloc`).
"""

from __future__ import annotations

import os
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
from benchmarks.wire.floor import Order
from cloud_bridge import broker
from cloud_bridge.client import connect
from cloud_bridge.protocol import oip
from edge_runtime.bench.measure import Case, Samples, Turn, called, measure
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
WAYS = ("bare", "bare, tuned", "ours")


class Trip(msgspec.Struct, frozen=True):
    """One size over one protocol: medians of the rounds in nanoseconds."""

    protocol: str
    size: str
    bare: tuple[float, ...]
    tuned: tuple[float, ...]
    """With big buffers kept."""
    ours: tuple[float, ...]

    @property
    def ratio(self) -> Ratio:
        """Ours over the bare wire."""
        return paired_ratio(self.ours, self.bare)

    def __str__(self) -> str:
        bare, tuned, ours = (float(np.median(each)) / 1e6 for each in (self.bare, self.tuned, self.ours))
        ratios = " and ".join(map(_told, (self.ratio, paired_ratio(self.ours, self.tuned))))
        return (
            f"{self.protocol} {self.size:>6}   bare {bare:6.3f} ms, tuned {tuned:6.3f} ms   ours {ours:6.3f} ms   "
            f"over them {ratios}"
        )


def run(options: Options) -> Outcome:
    """Every size over both, in turns."""
    runs, seconds = (300, 1.0) if options.quick else (4000, 8.0)
    with ExitStack() as stack:
        store = Store(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "store", create=True)
        _install(store)
        cases = list(_cases(stack, store))
        samples = {each.name: each for each in measure(cases, runs=runs, seconds=seconds, progress=options.progress)}
    for each in samples.values():
        if each.error is not None:
            raise BackendError(f"{each.name}: {each.error}")
    trips = [
        Trip(protocol, size, *_medians([samples[f"{way} {protocol} {size}"] for way in WAYS]))
        for protocol in AIMS
        for size in SIZES
    ]
    return Outcome(_bars(trips), [str(trip) for trip in trips], trips)


def _cases(stack: ExitStack, store: Store) -> Iterator[Case]:
    running = stack.enter_context(broker.start(kind="mosquitto"))
    serve = ("serve", str(store.path), "--http", "127.0.0.1:0", "--mqtt", running.url, "--json")
    url = str(msgspec.json.decode(_first_line(stack.enter_context(_process("cloud_bridge.cli", *serve))))["http"])
    remotes = [stack.enter_context(closing(connect(where))) for where in (url, running.url)]
    if not all(remote.health(20.0) for remote in remotes):
        raise BackendError("the endpoint does not answer")
    bare = {way: _floors(stack, running, tuned="tuned" in way) for way in WAYS[:2]}
    for protocol, remote in zip(AIMS, remotes, strict=True):
        for size, elements in SIZES.items():
            call = Call(MODEL, {"x": np.random.default_rng(0).random((1, elements), np.float32)})
            yield called(f"ours {protocol} {size}", _asked(remote, call))
            for way, floors in bare.items():
                yield Case(f"{way} {protocol} {size}", _ordered(floors[protocol], oip.encode_request(call).size))


def _floors(stack: ExitStack, running: broker.Broker, *, tuned: bool) -> dict[str, subprocess.Popen[str]]:
    """For each protocol a process that makes round trips over the bare wire."""
    port = _first_line(stack.enter_context(_process("benchmarks.wire.floor", "echo-http", tuned=tuned))).strip()
    where = running.host, str(running.port), f"floor/{'tuned' if tuned else 'plain'}"
    _first_line(stack.enter_context(_process("benchmarks.wire.floor", "echo-mqtt", *where, tuned=tuned)))
    return {
        "HTTP": stack.enter_context(_process("benchmarks.wire.floor", "ask-http", "127.0.0.1", port, tuned=tuned)),
        "MQTT": stack.enter_context(_process("benchmarks.wire.floor", "ask-mqtt", *where, tuned=tuned)),
    }


def _ordered(floor: subprocess.Popen[str], size: int) -> Callable[[int, float, bool], Turn]:
    def turn(runs: int, seconds: float, both: bool) -> Turn:
        assert floor.stdin is not None  # noqa: S101
        floor.stdin.write(msgspec.json.encode(Order(size, runs, seconds, both)).decode() + "\n")
        floor.stdin.flush()
        return msgspec.json.decode(_first_line(floor), type=Turn)

    return turn


def _asked(remote: Remote, call: Call) -> Callable[[], object]:
    def ask() -> object:
        return remote.send(call, deadline=monotonic() + 20.0).result(20.0).outputs["y"]

    if not np.array_equal(ask(), call.inputs["x"]):  # type: ignore[arg-type]
        raise BackendError("what came back is not what was sent")
    return ask


def _medians(ways: Sequence[Samples]) -> list[tuple[float, ...]]:
    """Of the rounds in which all of them ran."""
    rounds = [each for each in zip(*(way.rounds for way in ways), strict=False) if all(each)]
    return [tuple(float(np.median(one[at])) for one in rounds) for at in range(len(ways))]


def _bars(trips: Sequence[Trip]) -> list[Bar]:
    found = {(trip.protocol, trip.size): trip for trip in trips}
    large = [
        at_most(f"{LARGE} over {protocol}, over the bare wire", found[protocol, LARGE].ratio.value, "x", aim)
        for protocol, aim in AIMS.items()
    ]
    return [*large, at_most("1 kB over HTTP", float(np.median(found["HTTP", "1 kB"].ours)) / 1e6, "ms", SMALL_AIM)]


def _told(ratio: Ratio) -> str:
    return f"{ratio.value:.2f}" + ("" if ratio.low is None else f" [{ratio.low:.2f}, {ratio.high:.2f}]")


def _install(store: Store) -> None:
    """The model that gives back what it gets."""
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, "M"]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], MODEL, [x], [y])
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    file = File("identity.onnx", sha256(data).hexdigest(), len(data))
    inputs, outputs = ((TensorSpec(name, "float32", (1, "M")),) for name in "xy")
    manifest = Manifest(
        name=MODEL, version="1.0", task="give back", signature=Signature(inputs, outputs), sizes={"M": 10},
        variants=(Variant("fp32-onnx", "onnx", "fp32", (file,)),),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / file.path).write_bytes(data)
        (Path(folder) / MANIFEST).write_bytes(encode(manifest))
        store.install(Path(folder))


@contextmanager
def _process(module: str, *arguments: str, tuned: bool = False) -> Iterator[subprocess.Popen[str]]:
    """A module as a process, for as long as the context lasts."""
    environment = {**os.environ, **({"KEEP_BUFFERS": "1"} if tuned else {})}
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()


def _first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None  # noqa: S101
    return process.stdout.readline()


if __name__ == "__main__":
    main("wire", __doc__, run)

"""The inside of a candidate's process: load it, hold it against the golden outputs, and run it as it is told.

`python -m edge_runtime.bench.worker` reads a Request as its first line of stdin, then commands, a line each, and answers
each with a line on what was stdout when it began: what a vendor prints goes to stderr. `bench.process.Worker` is the
outside.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, TypeAlias

import msgspec
import numpy as np

from edge_runtime import backends
from edge_runtime.backends import integer
from edge_runtime.bench.inputs import seeded_inputs
from edge_runtime.bench.measure import Turn, timed
from edge_runtime.bench.report import ColdStart
from edge_runtime.bundles import golden
from edge_runtime.errors import EdgeError, RunError
from edge_runtime.signature import Scale, Signature
from edge_runtime.values import Array, Device, Settings, Tensors

Run: TypeAlias = Callable[[Tensors], dict[str, Array]]


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the process is to load and run."""

    artifact: str
    backend: str
    device: str
    settings: Settings
    signature: Signature
    names: dict[str, str]
    sizes: dict[str, int]
    seed: int = 0
    quantized: dict[str, Scale] = {}
    golden: str = ""
    """A file of golden samples: the first is what is run. Inputs drawn from `seed` where it is ""."""
    tolerance: float | None = None
    """How far the outputs may be from the golden ones; None: anywhere, as long as they are numbers."""
    cache: str = ""
    """A folder of what the engine has compiled before, or may leave there."""


class Started(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What loading it and running it once showed."""

    cold: ColdStart
    device: Device
    """Where it really landed."""
    distance: float | None
    """Of its outputs from the golden ones; None where there are none."""


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to do next: a turn back to back, or, with a `period` in seconds, one run each period."""

    runs: int
    seconds: float = 0.0
    both: bool = False
    period: float | None = None
    calls: int | None = None
    """So many threads call at once, each for `seconds`, on `rows` rows."""
    rows: int = 1


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What came of it: one of the three."""

    started: Started | None = None
    turn: Turn | None = None
    error: str | None = None


class Opened(Protocol):
    """A loaded model: a session of a backend, or what stands for one."""

    @property
    def device(self) -> Device: ...
    def run(self, inputs: Tensors) -> dict[str, Array]: ...
    def stream(self) -> Any: ...


class Vendor(Protocol):
    """How a model is loaded in here."""

    def prepare(self, request: Request) -> None:
        """Import the engine."""
        ...

    def load(self, request: Request) -> Opened: ...


class Backends:
    """By the backends of this package."""

    def prepare(self, request: Request) -> None:
        next(iter(backends.backend(request.backend).devices()), None)

    def load(self, request: Request) -> Opened:
        return integer.load(
            backends.backend(request.backend), Path(request.artifact), device=request.device, settings=request.settings,
            signature=request.signature, names=request.names, quantized=request.quantized,
            cache=Path(request.cache) if request.cache else None,
        )  # fmt: skip


def serve(vendor: Vendor, source: BinaryIO, sink: BinaryIO) -> None:
    """Obey until the source ends."""

    def answer(given: Answer) -> None:
        sink.write(msgspec.json.encode(given) + b"\n")
        sink.flush()

    try:
        request = msgspec.json.decode(source.readline(), type=Request)
        loaded = _start(vendor, request)
        answer(Answer(started=loaded.started))
        gc.collect()
        gc.disable()
        while line := source.readline():
            answer(Answer(turn=_obeyed(loaded, msgspec.json.decode(line, type=Command))))
            gc.collect()
    except EdgeError as error:
        answer(Answer(error=str(error) if isinstance(error, RunError) else f"{type(error).__name__}: {error}"))
    except MemoryError:
        answer(Answer(error="there was not enough memory"))


class Ready(NamedTuple):
    """A loaded model, and what is run."""

    started: Started
    call: Callable[[], object]
    """One run on the first sample; a step of a stream where the model has a state."""
    session: Opened
    signature: Signature
    first: Tensors


def _obeyed(loaded: Ready, command: Command) -> Turn:
    if command.calls is not None:
        return _together(loaded, command)
    return _turn(loaded.call, command) if command.period is None else _paced(loaded.call, command)


def _start(vendor: Vendor, request: Request) -> Ready:
    """Import, load, run once; then hold it against the golden outputs."""
    signature = request.signature
    samples = golden.read(Path(request.golden), signature) if request.golden else None
    first = samples[0][0] if samples else _drawn(request)
    begin = time.perf_counter()
    vendor.prepare(request)
    imported = time.perf_counter()
    before = resident()
    loading = time.perf_counter()
    session = vendor.load(request)
    loaded = time.perf_counter()
    (session.stream() if signature.hidden_state else session).run(first)
    ended = time.perf_counter()
    after = resident()
    grown = None if before is None or after is None else max(0, after - before)
    cold = ColdStart(imported - begin, loaded - loading, ended - loaded, grown)
    distance = None if samples is None else _distance(session, samples, request)
    fed = {spec.name: first[spec.name] for spec in signature.stateless_inputs}
    run: Run = session.stream().run if signature.recurrent else session.run
    return Ready(Started(cold, session.device, distance), lambda: run(fed), session, signature, first)


def _drawn(request: Request) -> Tensors:
    signature, sizes = request.signature, request.sizes
    return {**seeded_inputs(signature.stateless_inputs, sizes, request.seed), **signature.zeros(sizes)}


def _distance(session: Opened, samples: tuple[list[Tensors], list[Tensors]], request: Request) -> float:
    """How far its outputs are from the golden ones. Raises RunError where that is too far."""
    run: Run = session.stream().run if request.signature.hidden_state else session.run
    return golden.check(run, *samples, request.tolerance)


def _turn(call: Callable[[], object], command: Command) -> Turn:
    return timed(call, command.runs, command.seconds, both=command.both)


def _paced(call: Callable[[], object], command: Command) -> Turn:
    """One run each period, by the clock: none is skipped, and CPU time counts the gaps."""
    times, period = [], command.period or 0.0
    begin, cpu = time.perf_counter(), time.process_time_ns()
    for number in range(command.runs):
        time.sleep(max(0.0, begin + number * period - time.perf_counter()))
        start = time.perf_counter_ns()
        call()
        times.append(max(1, time.perf_counter_ns() - start))
    time.sleep(max(0.0, begin + command.runs * period - time.perf_counter()))
    return Turn(tuple(times), time.process_time_ns() - cpu)


def _together(loaded: Ready, command: Command) -> Turn:
    """Threads that call the session at the same time, each again as soon as it has its answer."""
    inputs = loaded.first if command.rows == 1 else _rows(loaded, command.rows)
    loaded.session.run(inputs)  # shapes that are new to the engine
    cpu = time.process_time_ns()
    with ThreadPoolExecutor(command.calls) as pool:
        jobs = [
            pool.submit(timed, lambda: loaded.session.run(inputs), command.runs, command.seconds, both=command.both)
            for _ in range(command.calls or 1)
        ]
        turns = [job.result() for job in jobs]
    return Turn(tuple(took for turn in turns for took in turn.times), time.process_time_ns() - cpu)


def _rows(loaded: Ready, rows: int) -> Tensors:
    """The first row of the first sample, so many times."""
    if loaded.signature.batch is None:
        raise RunError("its rows do not run together")
    return {name: np.repeat(array[:1], rows, axis=0) for name, array in loaded.first.items()}


def resident() -> int | None:
    """Resident memory of this process in bytes; None where the system does not tell."""
    return resident_of("self")


def resident_of(process: int | str) -> int | None:
    """Resident memory of a process; None where the system does not tell, or it is gone."""
    try:
        with open(f"/proc/{process}/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def die_with_parent() -> None:
    """When the parent is killed the child must not stay; and it is the first to go where memory runs out."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        try:
            Path("/proc/self/oom_score_adj").write_text("1000")
        except OSError:
            return


def main(vendor: Vendor) -> None:
    """The process: answers go to what is stdout now, and nothing else does."""
    die_with_parent()
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(vendor, sys.stdin.buffer, sink)
    os._exit(0)  # what an engine does at exit is no part of a measurement, and may hang


if __name__ == "__main__":
    main(Backends())

"""The cold start of one candidate, measured in a process of its own.

Only a fresh process shows what a device pays at boot: in one that has already run, the engine is imported, its thread pool
stands and the allocator has pages to give. An engine that crashes or hangs takes its own process down and nothing else.

`python -m edge_runtime.bench.cold` is the inside of that process: a Request as JSON on stdin, an Answer on the last line of
stdout.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np

from edge_runtime import backends
from edge_runtime.backends import integer
from edge_runtime.bench.report import ColdStart
from edge_runtime.bundles import golden
from edge_runtime.errors import BackendError, RunError
from edge_runtime.signature import Scale, Signature, TensorSpec
from edge_runtime.values import Array, Settings, Tensors


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the process is to load and run."""

    artifact: str
    backend: str
    device: str
    settings: Settings
    signature: Signature
    names: dict[str, str]
    sizes: dict[str, int]
    seed: int
    quantized: dict[str, Scale] = {}
    golden: str = ""
    """A file of golden samples: the first is run. Inputs drawn from `seed` where it is ""."""


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What it found: one of the two."""

    cold: ColdStart | None = None
    error: str | None = None


def cold_start(request: Request, *, timeout: float = 120.0) -> ColdStart:
    """Start a process, load the candidate in it, and run it once.

    Raises RunError with the candidate's own error, or when the process crashed, or was not done after `timeout` seconds.
    """
    command = [sys.executable, "-m", "edge_runtime.bench.cold"]
    try:
        done = subprocess.run(  # noqa: S603  (our own interpreter and module)
            command, input=msgspec.json.encode(request), capture_output=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise RunError(f"loading and running it once took more than {timeout:g} s in a process of its own") from error
    if done.returncode != 0:
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit status {done.returncode}"
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise RunError(f"the process that loaded it ended with {how}: {last[0][:300]}")
    answer = msgspec.json.decode(done.stdout.strip().splitlines()[-1], type=Answer)
    if answer.cold is None:
        raise RunError(answer.error or "the process that loaded it gave no figures")
    return answer.cold


def seeded_inputs(specs: tuple[TensorSpec, ...], sizes: Mapping[str, int], seed: int) -> dict[str, Array]:
    """Inputs of these shapes and dtypes: floats of mean 0 and deviation 1; bytes of any value; 0 or 1 for wider integers,
    which often index into a table."""
    random = np.random.default_rng(seed)
    inputs: dict[str, Array] = {}
    for spec in specs:
        dtype, shape = np.dtype(spec.dtype), spec.sized(sizes)
        if dtype.kind == "f":
            inputs[spec.name] = random.standard_normal(shape).astype(dtype)
        elif dtype.itemsize == 1 and dtype.kind in "iu":
            inputs[spec.name] = random.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, shape).astype(dtype)
        else:
            inputs[spec.name] = random.integers(0, 2, shape).astype(dtype)
    return inputs


def _measure(request: Request) -> ColdStart:
    """Inside the process: import, load, run."""
    signature = request.signature
    inputs: Tensors = {
        **seeded_inputs(signature.stateless_inputs, request.sizes, request.seed),
        **signature.zeros(request.sizes),
    }
    if request.golden:
        inputs = golden.read(Path(request.golden), signature)[0][0]
    start = time.perf_counter()
    backend = backends.backend(request.backend)
    next(backend.devices(), None)  # imports the engine
    imported = time.perf_counter()
    before = resident()
    loading = time.perf_counter()
    session = integer.load(
        backend, Path(request.artifact), device=request.device, settings=request.settings, signature=signature,
        names=request.names, quantized=request.quantized,
    )  # fmt: skip
    loaded = time.perf_counter()
    (session.stream() if signature.hidden_state else session).run(inputs)
    ended = time.perf_counter()
    after = resident()
    grown = None if before is None or after is None else max(0, after - before)
    return ColdStart(imported - start, loaded - loading, ended - loaded, grown)


def resident() -> int | None:
    """Resident memory of this process in bytes; None where the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


def _main() -> None:
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    try:
        answer = Answer(cold=_measure(request))
    except BackendError as error:
        answer = Answer(error=f"{type(error).__name__}: {error}")
    sys.stdout.buffer.write(b"\n" + msgspec.json.encode(answer) + b"\n")
    sys.stdout.buffer.flush()
    os._exit(0)  # what an engine does at exit is not part of a cold start, and may hang


if __name__ == "__main__":
    _main()

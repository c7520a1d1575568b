"""What every backend promises, held against the real engines and a real model."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from edge_runtime import backends
from edge_runtime.backends.base import Session
from edge_runtime.errors import ArtifactError, BackendError, DeviceMissingError, InputError, RunError
from edge_runtime.signature import Signature, TensorSpec
from edge_runtime.values import Array, Settings
from tests.contract.conftest import Engine

AUDIO = "serving_default_input_2:0"
OUTPUTS = {f"StatefulPartitionedCall:{i}": bins for i, bins in enumerate((264, 88, 88))}
WINDOW = 43844
"""Samples that basic-pitch takes at a time, and the outputs' frames for them."""
FRAMES = 172

RENAMED = Signature(
    inputs=(TensorSpec("audio", "float32", ("windows", WINDOW, 1)),),
    outputs=(TensorSpec("onsets", "float32", ("windows", FRAMES, 88)),),
)
NAMES = {"audio": AUDIO, "onsets": "StatefulPartitionedCall:2"}


def audio(seed: int, windows: int = 1) -> Array:
    """Noise, as loud as music."""
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (windows, WINDOW, 1)).astype(np.float32)


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def test_lists_its_devices(engine: Engine) -> None:
    """Every engine finds the CPU, once, and tells its own name and version."""
    found = tuple(engine.backend.devices())
    assert [device.name for device in found].count("CPU") == 1
    for device in found:
        assert device.backend == engine.backend.name
        assert re.fullmatch(r"[a-z-]+ \d+\.\d+.*", device.engine)
        assert device in backends.devices()


def test_signature_is_the_artifacts_own(session: Session) -> None:
    """Without a manifest the session tells the artifact's names, dtypes and shapes, dynamic dimensions by a name."""
    (spec,) = session.signature.inputs
    assert (spec.name, spec.dtype, spec.shape[1:]) == (AUDIO, "float32", (WINDOW, 1))
    assert isinstance(spec.shape[0], str)
    shapes = {spec.name: spec.shape[1:] for spec in session.signature.outputs}
    assert shapes == {name: (FRAMES, bins) for name, bins in OUTPUTS.items()}
    assert session.device.name == "CPU"


def test_engines_agree(session: Session, packages: Path) -> None:
    """Batches of one, three and one again give what ONNX Runtime gives, to 5e-5, on every engine."""
    raw = packages / "basic_pitch/saved_models/icassp_2022/nmp.onnx"
    reference = backends.backend("onnx").load(raw)
    for windows in (1, 3, 1):
        inputs = {AUDIO: audio(windows, windows)}
        outputs, expected = session.run(inputs), reference.run(inputs)
        assert set(outputs) == set(OUTPUTS)
        for name, bins in OUTPUTS.items():
            assert outputs[name].shape == (windows, FRAMES, bins)
            assert outputs[name].dtype == np.float32
            np.testing.assert_allclose(outputs[name], expected[name], rtol=0, atol=5e-5)


def test_outputs_are_the_callers(session: Session) -> None:
    """A later run does not touch earlier outputs, and writing into outputs does not change a later run."""
    first = session.run({AUDIO: audio(1)})
    kept = {name: array.copy() for name, array in first.items()}
    session.run({AUDIO: audio(2)})
    for name, array in kept.items():
        np.testing.assert_array_equal(first[name], array)
        first[name][:] = np.nan
    again = session.run({AUDIO: audio(1)})
    for name, array in kept.items():
        np.testing.assert_array_equal(again[name], array)


def test_inputs_are_only_read(session: Session) -> None:
    """A read-only input is accepted, and holds the same numbers afterwards."""
    given = audio(3)
    given.flags.writeable = False
    session.run({AUDIO: given})
    np.testing.assert_array_equal(given, audio(3))


@pytest.mark.parametrize("view", ["strided", "reversed", "Fortran order"])
def test_takes_any_strides(session: Session, view: str) -> None:
    """An input that is not contiguous gives what its contiguous copy gives."""
    whole = audio(4, 4)
    given = {
        "strided": whole[::2],
        "reversed": whole[::-1, ::-1][:2],
        "Fortran order": np.asfortranarray(whole[:2]),
    }[view]
    expected = session.run({AUDIO: np.ascontiguousarray(given)})
    assert not given.flags.c_contiguous
    for name, array in session.run({AUDIO: given}).items():
        np.testing.assert_array_equal(array, expected[name])


def test_runs_from_several_threads(session: Session) -> None:
    """Four threads with inputs of two different batch sizes get what one thread gets."""
    inputs = [{AUDIO: audio(i, 1 + i % 2)} for i in range(12)]
    expected = [session.run(each) for each in inputs]
    with ThreadPoolExecutor(4) as pool:
        for outputs, wanted in zip(pool.map(session.run, inputs), expected, strict=True):
            for name, array in wanted.items():
                np.testing.assert_array_equal(outputs[name], array)


def test_names_are_mapped(engine: Engine, session: Session) -> None:
    """A manifest's names stand for the artifact's own, and only the outputs that it names come back."""
    renamed = engine.backend.load(engine.artifact, signature=RENAMED, names=NAMES)
    assert renamed.signature == RENAMED
    outputs = renamed.run({"audio": audio(5)})
    assert set(outputs) == {"onsets"}
    np.testing.assert_array_equal(outputs["onsets"], session.run({AUDIO: audio(5)})[NAMES["onsets"]])


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (TensorSpec("sound", "float32", ("N", WINDOW, 1)), "has no input 'sound'"),
        (TensorSpec(AUDIO, "float64", ("N", WINDOW, 1)), "the manifest says float64"),
        (TensorSpec(AUDIO, "float32", ("N", WINDOW)), "the manifest says float32"),
        (TensorSpec(AUDIO, "float32", ("N", 16000, 1)), "the manifest says 16000"),
        (TensorSpec(AUDIO, "float32", ("N", "samples", 1)), "the manifest lets it vary"),
    ],
)
def test_manifest_is_held_against_the_artifact(engine: Engine, spec: TensorSpec, told: str) -> None:
    """A manifest whose names, dtype, rank or sizes are not the artifact's is refused."""
    outputs = (TensorSpec("StatefulPartitionedCall:0", "float32", ("N", FRAMES, 264)),)
    with pytest.raises(ArtifactError, match=told):
        engine.backend.load(engine.artifact, signature=Signature((spec,), outputs))


@pytest.mark.parametrize("kind", ["missing", "empty", "garbage", "another format", "cut", "a folder"])
def test_refuses_what_is_no_artifact(
    engine: Engine, packages: Path, tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A file that is not a whole artifact of this format is an ArtifactError that names it, and nothing is printed."""
    path = tmp_path / f"model{engine.artifact.suffix}"
    other = "nmp.tflite" if path.suffix == ".onnx" else "nmp.onnx"
    if kind == "a folder":
        path.mkdir()
    elif kind != "missing":
        whole = engine.artifact.read_bytes()
        foreign = (engine.artifact.parent / other).read_bytes()
        path.write_bytes({"empty": b"", "garbage": b"garbage " * 99, "another format": foreign, "cut": whole[:-1]}[kind])
    with pytest.raises(ArtifactError, match=path.name):
        engine.backend.load(path)
    assert capfd.readouterr() == ("", "")


DAMAGED = """
import random, sys
from pathlib import Path
import numpy as np
from edge_runtime import backends
from edge_runtime.errors import ArtifactError, RunError

backend, artifact, folder = backends.backend(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
whole, random, seen = artifact.read_bytes(), random.Random(0), dict.fromkeys(("cut", "refused", "ran", "failed"), 0)
path = folder / f"damaged{artifact.suffix}"
for _ in range(10):
    path.write_bytes(whole[: random.randrange(len(whole))])
    try:
        backend.load(path)
    except ArtifactError:
        seen["cut"] += 1
for _ in range(20):
    damaged = bytearray(whole)
    for _ in range(random.choice((1, 4, 16))):
        near_an_end = random.choice((0, len(whole) - 4000)) + random.randrange(4000)
        damaged[random.choice((near_an_end, random.randrange(len(whole))))] ^= 1 << random.randrange(8)
    path.write_bytes(damaged)
    try:
        backend.load(path).run({"serving_default_input_2:0": np.zeros((1, 43844, 1), np.float32)})
        seen["ran"] += 1
    except ArtifactError:
        seen["refused"] += 1
    except RunError:
        seen["failed"] += 1
print(seen["cut"], seen["refused"] + seen["ran"] + seen["failed"], seen["refused"] > 0)
"""


def test_damaged_artifacts_do_not_end_the_process(engine: Engine, tmp_path: Path) -> None:
    """Cut-off artifacts are refused; artifacts with flipped bits are refused, or load, and run or fail in the tree."""
    done = python(DAMAGED, engine.backend.name, engine.artifact, tmp_path)
    assert (done.returncode, done.stdout.split()) == (0, ["10", "20", "True"]), done.stderr


def test_refuses_a_device_that_is_not_here(engine: Engine) -> None:
    """A device that is not listed is an error that names it; nothing else runs the model instead."""
    here = {device.name for device in engine.backend.devices()}
    for name in {"GPU", "CUDA", "NPU", "Azure", "AUTO", "AUTO:CPU", "HETERO:CPU", "cpu", "nonsense", ""} - here:
        with pytest.raises(DeviceMissingError, match=repr(name)):
            engine.backend.load(engine.artifact, device=name)


@pytest.mark.parametrize("threads", [0, -1])
def test_refuses_a_number_of_threads_that_is_none(engine: Engine, threads: int) -> None:
    """Zero or fewer threads is an error, not the engine's default."""
    with pytest.raises(BackendError, match=f"threads={threads}"):
        engine.backend.load(engine.artifact, settings=Settings(threads=threads))


THREADS = """
import os, sys
from pathlib import Path
import numpy as np
from edge_runtime import backends
from edge_runtime.values import Settings

settings = Settings(threads=int(sys.argv[3]))
session = backends.backend(sys.argv[1]).load(Path(sys.argv[2]), settings=settings)
session.run({"serving_default_input_2:0": np.zeros((1, 43844, 1), np.float32)})
print(len(os.listdir("/proc/self/task")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the threads of a process are listed on Linux only")
@pytest.mark.skipif(sys.platform == "linux" and len(os.sched_getaffinity(0)) < 2, reason="one core: no second thread")
def test_threads_are_obeyed(engine: Engine) -> None:
    """A session that is given two threads starts more of them than a session that is given one."""
    one, two = (python(THREADS, engine.backend.name, engine.artifact, threads) for threads in (1, 2))
    assert int(two.stdout) > int(one.stdout), one.stderr + two.stderr


def test_closed_session_does_not_run(engine: Engine) -> None:
    """After close, which may be repeated, a run is an error that says so."""
    session = engine.backend.load(engine.artifact)
    session.run({AUDIO: audio(6)})
    session.close()
    session.close()
    with pytest.raises(RunError, match="closed"):
        session.run({AUDIO: audio(6)})


def test_close_during_a_run(engine: Engine) -> None:
    """A run under way when the session is closed ends in its answer or in a RunError; a later one does not start."""
    session = engine.backend.load(engine.artifact)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(session.run, {AUDIO: audio(7, 8)})
        session.close()
        error = running.exception(timeout=60)
    assert error is None or isinstance(error, RunError)
    with pytest.raises(RunError, match="closed"):
        session.run({AUDIO: audio(7)})


def test_engine_error_is_a_run_error(session: Session, capfd: pytest.CaptureFixture[str]) -> None:
    """What the engine raises comes out as a RunError with the original as its cause, silently, and the session stays
    usable. (An empty batch gets past the engine's checks of shapes: some fail at it later, some answer with nothing.)"""
    expected = session.run({AUDIO: audio(8)})
    for wrong in (np.zeros((1, 7, 1), np.float32), np.zeros((1, WINDOW), np.float32), np.zeros((1, WINDOW, 1), np.int8)):
        with pytest.raises(RunError, match=str(session.device)) as caught:
            session.run({AUDIO: wrong})
        assert caught.value.__cause__ is not None
    with suppress(RunError):
        assert session.run({AUDIO: np.zeros((0, WINDOW, 1), np.float32)})["StatefulPartitionedCall:0"].size == 0
    assert capfd.readouterr() == ("", "")
    for name, array in session.run({AUDIO: audio(8)}).items():
        np.testing.assert_array_equal(array, expected[name])


def test_model_without_state_has_no_stream(session: Session) -> None:
    """A stream of a model without recurrent state is an InputError."""
    with pytest.raises(InputError, match="no recurrent state"):
        session.stream()


MISSING = """
import json, sys
from pathlib import Path
from edge_runtime import backends
from edge_runtime.errors import EngineMissingError

VENDORS = "onnxruntime", "openvino", "ai_edge_litert", "tflite_runtime"
backend = backends.backend(sys.argv[1])
imported = [vendor for vendor in VENDORS if vendor in sys.modules]
for vendor in VENDORS:
    sys.modules[vendor] = None
try:
    backend.load(Path(sys.argv[2]))
except EngineMissingError as error:
    print(json.dumps([imported, [d.name for d in backend.devices()], str(error), backends.NAMES]))
"""


def test_missing_engine(engine: Engine) -> None:
    """A backend imports without its engine, has no devices then, and its error names the extra to install."""
    done = python(MISSING, engine.backend.name, engine.artifact)
    imported, devices, message, names = json.loads(done.stdout)
    assert (imported, devices, tuple(names)) == ([], [], backends.NAMES)
    assert f"pip install 'edge-runtime[{engine.backend.name}]'" in message


def test_unknown_backend() -> None:
    """A backend that is none is an error that names those that are."""
    with pytest.raises(BackendError, match="onnx, openvino, tflite"):
        backends.backend("os")

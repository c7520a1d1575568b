"""What engines keep of the models that they compiled: the same answers, sooner, and never in the way of a model."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from edge_runtime import backends
from edge_runtime.bundles.store import Store
from edge_runtime.engines import Candidate, open_candidate
from edge_runtime.values import Array, Device, Settings

MODELS = (
    ("digits_vit", "int8-onnx", Settings()),
    ("basic_pitch", "fp32-onnx", Settings(threads=1)),
    ("activity_cnn_lstm", "int8-onnx", Settings(resident=True)),
)


def answers(store: Store, model: str, variant: str, backend: str, settings: Settings, cache: Path | None) -> list[Array]:
    """What a candidate makes of noise, run and as a stream."""
    bundle = store.bundle(model)
    manifest, random = bundle.manifest, np.random.default_rng(0)
    candidate = Candidate(manifest.variant(variant), Device(backend, "CPU"), settings)
    signature = manifest.signature
    given = {spec.name: random.standard_normal(spec.sized(manifest.sizes)).astype(spec.dtype) for spec in signature.inputs}
    with closing(open_candidate(bundle, candidate, cache)) as session:
        assert session.signature == signature
        found = [*session.run(given).values()]
        if signature.state:
            carried = {spec.name for spec in signature.stateless_inputs}
            found += session.stream().run({name: array for name, array in given.items() if name in carried}).values()
    return found


def equal(one: list[Array], other: list[Array]) -> bool:
    """Whether they are the same, bit by bit."""
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    """The files in a folder, with when they were written and how long they are."""
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.iterdir()}


@pytest.fixture(params=["onnx", "openvino"])
def engine(request: pytest.FixtureRequest) -> str:
    """Each backend that keeps what it compiles."""
    return str(request.param)


@pytest.mark.parametrize(("model", "variant", "settings"), MODELS)
def test_kept_models_answer_as_before(
    store: Store, engine: str, tmp_path: Path, model: str, variant: str, settings: Settings
) -> None:
    """The first load leaves whole files, the next ones use them, and all answer bit by bit as without a cache."""
    cache = tmp_path / "new" / "cache"
    wanted = answers(store, model, variant, engine, settings, None)
    assert equal(answers(store, model, variant, engine, settings, cache), wanted)
    kept = contents(cache)
    assert kept
    assert not any(name.startswith(".") for name in kept)
    for _ in range(2):
        assert equal(answers(store, model, variant, engine, settings, cache), wanted)
        assert contents(cache) == kept


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda whole: b"",
    "a few bytes": lambda whole: whole[:40],
    "half": lambda whole: whole[: len(whole) // 2],
    "all but the end": lambda whole: whole[:-100],
    "garbage": lambda whole: b"garbage " * (len(whole) // 8),
    "longer": lambda whole: whole + b"garbage" * 99,
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_caches_keep_no_model_from_loading(
    store: Store, engine: str, tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """It loads, silently, with the right answers, and so it does the next time."""
    candidate = "digits_vit", "int8-onnx", engine, Settings()
    wanted = answers(store, *candidate, tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(DAMAGE[kind](path.read_bytes()))
    for _ in range(3):
        assert equal(answers(store, *candidate, tmp_path), wanted)
    assert capfd.readouterr() == ("", "")


def test_kept_form_of_another_model(store: Store, engine: str, tmp_path: Path) -> None:
    """A compiled form that was put in the place of another's is not taken for it."""
    answers(store, "digits_mlp", "fp32-onnx", engine, Settings(), tmp_path)
    wanted = answers(store, "digits_vit", "fp32-onnx", engine, Settings(), None)
    assert equal(answers(store, "digits_vit", "fp32-onnx", engine, Settings(), tmp_path), wanted)


@pytest.mark.parametrize("place", ["under a file", "a file", "nowhere to write"])
def test_cache_that_cannot_be_written(
    store: Store, engine: str, tmp_path: Path, place: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The model loads without it, and nothing is said."""
    (tmp_path / "file").write_text("taken")
    cache = {"under a file": tmp_path / "file/cache", "a file": tmp_path / "file", "nowhere to write": Path("/proc/cache")}
    candidate = "digits_mlp", "fp32-onnx", engine, Settings()
    assert equal(answers(store, *candidate, cache[place]), answers(store, *candidate, None))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert capfd.readouterr() == ("", "")


FULL = """
import sys
from pathlib import Path
from edge_runtime.bundles.store import Store
from edge_runtime.values import Settings
from tests.contract.test_backends_cache import answers, equal, limited

store, engine, cache = Store(Path(sys.argv[1])), sys.argv[2], Path(sys.argv[3])
candidate = "digits_vit", "int8-onnx", engine, Settings()
wanted = answers(store, *candidate, None)
limited(20_000)
print(all(equal(answers(store, *candidate, cache), wanted) for _ in range(2)))
"""


def limited(size: int) -> None:
    """From now on no file of this process can grow past this size, as on a disk that is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def test_cache_on_a_full_disk(store: Store, engine: str, tmp_path: Path, root: Path) -> None:
    """The model loads, and nothing half-written stays."""
    command = [sys.executable, "-c", FULL, str(store.path), engine, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert (done.stdout, done.stderr) == ("True\n", "")
    assert list(tmp_path.iterdir()) == []


def test_tflite_leaves_a_cache_alone(store: Store, tmp_path: Path) -> None:
    """It keeps nothing, and a folder for it changes nothing."""
    candidate = "digits_mlp", "fp32-tflite", "tflite", Settings()
    assert equal(answers(store, *candidate, tmp_path), answers(store, *candidate, None))
    assert list(tmp_path.iterdir()) == []


def test_only_the_fullest_form_is_kept(store: Store, tmp_path: Path) -> None:
    """onnx keeps none of a graph that it was told to optimise less."""
    settings = Settings(graph="basic")
    wanted = answers(store, "digits_vit", "fp32-onnx", "onnx", settings, None)
    assert equal(answers(store, "digits_vit", "fp32-onnx", "onnx", settings, tmp_path), wanted)
    assert list(tmp_path.iterdir()) == []


def test_fixed_sizes_are_kept_too(store: Store, tmp_path: Path) -> None:
    """What openvino compiled for a size and what it compiled for the others lie beside each other."""
    bundle, backend = store.bundle("basic_pitch"), backends.backend("openvino")
    variant = bundle.manifest.variant("fp32-onnx")
    (spec,) = bundle.manifest.signature.inputs
    given = [{spec.name: np.full(spec.sized({"N": count}), 0.1, np.float32)} for count in (1, 2)]
    found = []
    for _ in range(2):
        session = backend.load(
            bundle.artifact(variant), settings=Settings(fixed=(("N", 1),)), signature=bundle.manifest.signature,
            names=variant.names, cache=tmp_path,
        )  # fmt: skip
        found.append([array for each in given for array in session.run(each).values()])
        kept = contents(tmp_path)
        assert len(kept) == 2
    assert equal(*found)
    assert contents(tmp_path) == kept

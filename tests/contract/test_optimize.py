"""int8 ONNX: the conversion runs on every engine that takes ONNX, bad calibration data is refused, and the gate decides."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_runtime import backends
from edge_runtime.backends.base import Session
from edge_runtime.bundles.bundle import Bundle, read_bundle
from edge_runtime.bundles.manifest import MANIFEST, File, Manifest, Variant, encode
from edge_runtime.bundles.store import Store
from edge_runtime.errors import ArtifactError, BundleError, EngineMissingError, InputError
from edge_runtime.optimize import (
    INT8,
    Measure,
    Nodes,
    Quantization,
    agreement,
    check_samples,
    hold_out,
    load_samples,
    optimize,
    retention,
)
from edge_runtime.optimize import onnx as onnx_tool
from edge_runtime.optimize.gate import relative_difference
from edge_runtime.signature import Signature, TensorSpec
from edge_runtime.values import Array

ENGINES = [name for name in backends.NAMES if "onnx" in backends.backend(name).formats]
SIGNATURE = Signature(
    inputs=(TensorSpec("image", "float32", ("N", 3, 8, 8)),), outputs=(TensorSpec("score", "float32", ("N", 4)),)
)
NAMES = {"image": "x", "score": "y"}
quantize = onnx_tool.quantize
Samples = list[dict[str, Array]]


def net(path: Path, opset: int = 17) -> Path:
    """A small CNN with random weights, x [N, 3, 8, 8] -> y [N, 4]: convolution, relu, global average, convolution."""
    dice = np.random.default_rng(3)
    weights = {"w1": dice.normal(size=(16, 3, 3, 3)), "b1": dice.normal(size=16), "w2": dice.normal(size=(4, 16, 1, 1))}
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["a"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("GlobalAveragePool", ["b"], ["c"], name="pool"),
        helper.make_node("Conv", ["c", "w2"], ["d"], name="second"),
        helper.make_node("Flatten", ["d"], ["y"], name="flat"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, str(path))
    return path


def samples(count: int, seed: int = 0) -> Samples:
    """Random inputs as the signature names them."""
    dice = np.random.default_rng(seed)
    return [{"image": dice.normal(size=(1, 3, 8, 8)).astype(np.float32)} for _ in range(count)]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A bundle of that net."""
    folder = tmp_path / "net"
    folder.mkdir()
    data = net(folder / "net.onnx").read_bytes()
    variant = Variant(
        "fp32-onnx", "onnx", "fp32", (File("net.onnx", hashlib.sha256(data).hexdigest(), len(data)),), names=NAMES
    )
    manifest = Manifest(
        name="net", version="1.0", task="test", signature=SIGNATURE, variants=(variant,), sizes={"N": 1}
    )  # fmt: skip
    (folder / MANIFEST).write_bytes(encode(manifest))
    return read_bundle(folder)


def only_bundle(folder: Path) -> list[str]:
    """What is in the folder beside the bundle: nothing, if all was cleaned up."""
    return sorted(path.name for path in folder.iterdir() if path.name != "net")


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("engine", ENGINES)
def test_the_file_runs_on_every_engine(tmp_path: Path, engine: str, opset: int) -> None:
    """One int8 file, made of an old or a new operator set, gives fp32's answers within 6 % on each engine."""
    source, target = net(tmp_path / "net.onnx", opset), tmp_path / "int8.onnx"
    quantize(source, target, [{"x": sample["image"]} for sample in samples(16)])
    backend = backends.backend(engine)
    one, other = backend.load(source), backend.load(target)
    inputs = [{"x": sample["image"]} for sample in samples(8, seed=1)]
    far = relative_difference([one.run(i)["y"] for i in inputs], [other.run(i)["y"] for i in inputs])
    assert 0 < far < 0.06


def test_what_the_file_holds(tmp_path: Path) -> None:
    """Weights are int8 with a scale for each output channel, activations uint8; an excluded node keeps its floats."""
    source, target = net(tmp_path / "net.onnx"), tmp_path / "int8.onnx"
    nodes = quantize(source, target, [{"x": s["image"]} for s in samples(4)], Quantization(exclude=("sec*",)))
    assert nodes == Nodes(("first",), ("second",))
    model = onnx.load(str(target))
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert arrays["w1_quantized"].dtype == np.int8
    assert arrays["w1_scale"].shape == (16,)
    assert arrays["x_zero_point"].dtype == np.uint8
    assert arrays["w2"].dtype == np.float32


def test_the_same_data_gives_the_same_file(tmp_path: Path) -> None:
    """Quantizing is deterministic."""
    source = net(tmp_path / "net.onnx")
    for name in ("a", "b"):
        quantize(source, tmp_path / name, [{"x": s["image"]} for s in samples(4)])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_progress_and_silence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Every step is told once, up to the last, and nothing is printed."""
    told: list[tuple[int, int]] = []
    quantize(
        net(tmp_path / "net.onnx"),
        tmp_path / "int8.onnx",
        [{"x": s["image"]} for s in samples(4)],
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(done, 6) for done in range(7)]
    assert capfd.readouterr() == ("", "")


def test_models_that_cannot_be_quantized(tmp_path: Path) -> None:
    """A file that is no model, one without such operators, or with none of them left: each says so, and no file appears."""
    (tmp_path / "noise.onnx").write_bytes(b"\x07noise")
    inputs = [{"x": s["image"]} for s in samples(2)]
    with pytest.raises(ArtifactError, match=r"noise\.onnx"):
        quantize(tmp_path / "noise.onnx", tmp_path / "out.onnx", inputs)
    source = net(tmp_path / "net.onnx")
    with pytest.raises(InputError, match="none of the operators"):
        quantize(source, tmp_path / "out.onnx", inputs, Quantization(operators=("Gemm",)))
    with pytest.raises(InputError, match="all nodes with weights are excluded"):
        quantize(source, tmp_path / "out.onnx", inputs, Quantization(exclude=("first", "sec*")))
    with pytest.raises(InputError, match="no samples"):
        quantize(source, tmp_path / "out.onnx", [])
    with pytest.raises(BundleError, match="cannot write"):
        quantize(source, tmp_path / "nowhere" / "out.onnx", inputs)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.onnx", "noise.onnx"]


def test_without_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where onnx is not installed, the error names the extra that brings it."""
    source = net(tmp_path / "net.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(EngineMissingError, match=r"edge-runtime\[optimize\]"):
        quantize(source, tmp_path / "out.onnx", [{"x": s["image"]} for s in samples(2)])


def test_an_admitted_variant(tmp_path: Path, bundle: Bundle) -> None:
    """A variant that passes on every engine is in the new bundle, with its figure; the bundle installs and runs."""
    told: list[tuple[int, int]] = []
    gate = agreement(samples(4, seed=1), 0.05, "random numbers")
    outcome = optimize(
        bundle,
        samples(12),
        gate,
        out=tmp_path / "new",
        version="1.1",
        only=["int8-onnx"],
        progress=lambda done, total: told.append((done, total)),
    )
    assert outcome.admitted
    (trial,) = outcome.trials
    assert len(trial.verdicts) == len(ENGINES)
    assert told[-1] == (told[-1][1], told[-1][1])
    assert outcome.bundle is not None
    installed = Store(tmp_path / "store", create=True).install(outcome.bundle.folder)
    assert installed.manifest.version == "1.1"
    variant = installed.manifest.variant(INT8["onnx"])
    assert variant.accuracy is not None
    assert 0 < variant.accuracy.value < 0.05
    assert variant.accuracy.data == "random numbers"
    for engine in ENGINES:
        session = backends.backend(engine).load(installed.artifact(variant), signature=SIGNATURE, names=variant.names)
        assert session.run(samples(1)[0])["score"].shape == (1, 4)
    assert only_bundle(tmp_path) == ["new", "store"]


def test_a_refused_variant(tmp_path: Path, bundle: Bundle) -> None:
    """A variant that does not pass is told with its figure, and nothing is written."""
    gate = agreement(samples(2, seed=1), 1e-9, "random numbers")
    outcome = optimize(bundle, samples(4), gate, out=tmp_path / "new", only=["int8-onnx"])
    assert not outcome.admitted
    (trial,) = outcome.trials
    assert not trial.admitted
    assert all(not verdict.admitted and verdict.accuracy.value > 1e-9 for verdict in trial.verdicts)
    assert "int8-onnx refused on" in str(trial)
    assert only_bundle(tmp_path) == []


def test_a_gate_by_the_task_measure(tmp_path: Path, bundle: Bundle) -> None:
    """With a measure of its own a model is judged by how far that drops."""

    def measure(worse: float) -> Measure:
        seen: list[Session] = []

        def score(session: Session) -> float:
            seen.append(session)
            return 0.9 if len(seen) <= len(ENGINES) else 0.9 - worse  # the first are fp32

        return Measure("F1", "d", score, "5e" * 32)

    only = ["int8-onnx"]
    kept = optimize(bundle, samples(4), retention(measure(0.01), 0.02), out=tmp_path / "kept", only=only)
    assert kept.admitted
    assert kept.bundle is not None
    accuracy = kept.bundle.manifest.variant(INT8["onnx"]).accuracy
    assert accuracy is not None
    assert (accuracy.metric, accuracy.value, accuracy.data, accuracy.digest) == ("F1", 0.89, "d", "5e" * 32)
    assert kept.bundle.manifest.variant("fp32-onnx").accuracy == msgspec.structs.replace(accuracy, value=0.9)
    lost = optimize(bundle, samples(4), retention(measure(0.03), 0.02), out=tmp_path / "lost", only=only)
    assert not lost.admitted
    assert [verdict.accuracy.value for verdict in lost.originals[0].verdicts] == [0.9] * len(ENGINES)
    assert only_bundle(tmp_path) == ["kept"]


def test_what_optimize_refuses(tmp_path: Path, bundle: Bundle) -> None:
    """A target that is there, a second int8 variant, a wrong sample or exclusion, and a damaged file are errors."""
    gate = agreement(samples(2), 1.0, "d")
    with pytest.raises(BundleError, match="is there already"):
        optimize(bundle, samples(4), gate, out=bundle.folder)
    done = optimize(bundle, samples(4), gate, out=tmp_path / "new").bundle
    assert done is not None
    with pytest.raises(InputError, match="already"):
        optimize(done, samples(4), gate, out=tmp_path / "newer")
    with pytest.raises(InputError, match="sample 2 of 2: input 'image'"):
        optimize(bundle, [*samples(1), {"image": np.zeros((1, 3, 8, 9), np.float32)}], gate, out=tmp_path / "newer")
    with pytest.raises(InputError, match=r"'third'.*first, second"):
        optimize(bundle, samples(4), gate, out=tmp_path / "newer", quantization=Quantization(exclude=("third",)))
    (bundle.folder / "net.onnx").write_bytes(b"\0" * bundle.manifest.files[0].size)
    with pytest.raises(ArtifactError):
        optimize(bundle, samples(4), gate, out=tmp_path / "newer")
    assert only_bundle(tmp_path) == ["new"]


@pytest.mark.parametrize(
    ("sample", "told"),
    [
        ({}, "missing: image"),
        ({"picture": np.zeros((1, 3, 8, 8), np.float32)}, "missing: image; unknown: picture"),
        ({"image": np.zeros((1, 3, 8, 8))}, "float64"),
        ({"image": np.zeros((3, 8, 8), np.float32)}, "shape"),
        ({"image": np.full((1, 3, 8, 8), np.nan, np.float32)}, "NaN"),
    ],
)
def test_bad_samples(sample: dict[str, Array], told: str) -> None:
    """A sample of the wrong name, dtype, shape, or with NaN is refused by its number."""
    with pytest.raises(InputError, match=f"sample 3 of 3: .*{told}"):
        check_samples(SIGNATURE.inputs, [*samples(2), sample])


def test_samples_from_files(tmp_path: Path) -> None:
    """A stacked file, a file of one sample, and a folder of both are read in the order of names."""
    one, *more = samples(4)
    stacked = np.stack([sample["image"] for sample in more])
    np.savez(tmp_path / "b.npz", image=stacked)
    np.savez(tmp_path / "a.npz", image=one["image"])
    assert len(load_samples(tmp_path / "b.npz", SIGNATURE.inputs)) == 3
    found = load_samples(tmp_path, SIGNATURE.inputs)
    assert [sample["image"].tobytes() for sample in found] == [s["image"].tobytes() for s in (one, *more)]


def test_bad_sample_files(tmp_path: Path) -> None:
    """A file that is missing, no .npz, cut short, pickled or uneven is refused by its name; so is an empty folder."""
    specs = SIGNATURE.inputs
    for name, data in (("noise.npz", b"noise"), ("empty.npz", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=name):
            load_samples(tmp_path / name, specs)
    with pytest.raises(InputError, match=r"none\.npz"):
        load_samples(tmp_path / "none.npz", specs)
    np.save(tmp_path / "plain.npy", samples(1)[0]["image"])
    with pytest.raises(InputError, match=r"not an \.npz"):
        load_samples(tmp_path / "plain.npy", specs)
    np.savez(tmp_path / "objects.npz", image=np.array([{}], dtype=object))
    with pytest.raises(InputError, match=r"objects\.npz"):
        load_samples(tmp_path / "objects.npz", specs)
    np.savez(tmp_path / "whole.npz", image=np.zeros((5, 1, 3, 8, 8), np.float32))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:-100])
    with pytest.raises(InputError, match=r"cut\.npz"):
        load_samples(tmp_path / "cut.npz", specs)
    np.savez(tmp_path / "uneven.npz", image=np.zeros((5, 1, 3, 8, 8), np.float32), other=np.zeros((4, 1), np.float32))
    with pytest.raises(InputError, match="stack samples"):
        load_samples(tmp_path / "uneven.npz", specs)
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="has no samples"):
        load_samples(tmp_path / "folder", specs)


def test_holding_out() -> None:
    """The last quarter judges, one sample at least; no sample is on both sides, and one alone is refused."""
    for count in (2, 3, 4, 8, 9, 100):
        whole = samples(count)
        kept, held = hold_out(whole)
        assert [*kept, *held] == whole
        assert len(held) == max(1, count // 4)
    with pytest.raises(InputError, match="at least two"):
        hold_out(samples(1))


@pytest.mark.parametrize("tolerance", [-0.1, float("nan"), float("inf")])
def test_limits_that_limit_nothing(tolerance: float) -> None:
    """A tolerance that is negative, infinite or not a number is refused."""
    with pytest.raises(InputError, match="tolerance"):
        agreement(samples(1), tolerance, "d")
    with pytest.raises(InputError, match="tolerance"):
        retention(Measure("F1", "d", lambda session: 1.0), tolerance)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_broken_output_is_infinitely_far(wrong: float) -> None:
    """NaN or infinity in one output of many is never admitted, wherever it stands."""
    good = [np.ones(3, np.float32)] * 3
    for position in range(3):
        bad = [array.copy() for array in good]
        bad[position][1] = wrong
        assert relative_difference(good, bad) == float("inf")
    assert relative_difference(good, [np.ones(2, np.float32)] * 3) == float("inf")
    assert relative_difference([np.zeros(3)], [np.ones(3)]) == float("inf")
    assert relative_difference(good, good) == 0.0

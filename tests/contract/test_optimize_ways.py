"""Every way to make a variant: what comes out runs on every engine, is right, and is refused by itself where it is not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from ai_edge_litert.interpreter import Interpreter
from onnx import TensorProto, helper, numpy_helper

from edge_runtime import backends
from edge_runtime.backends.base import Session
from edge_runtime.backends.integer import dequantize, quantize
from edge_runtime.bench import harness
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.bundles.manifest import Scale, Variant
from edge_runtime.bundles.store import Store
from edge_runtime.engines import open_variant
from edge_runtime.errors import ArtifactError, EngineMissingError, InputError
from edge_runtime.optimize import WAYS, Measure, Outcome, Quantization, agreement, optimize, retention
from edge_runtime.optimize.gate import relative_difference
from edge_runtime.values import Array
from tests import recurrent
from tests.contract import test_optimize_tflite as convolutional

INT8 = ("int8-onnx", "int8-onnx-dynamic", "int8-openvino", "int8-tflite", "int8-tflite-static")
MADE = ("fp32-openvino", *INT8)
MAKE = {way.variant: way.make for way in WAYS}


@pytest.fixture
def net(tmp_path: Path) -> Bundle:
    """A convolutional net in two formats."""
    return convolutional.bundle(tmp_path / "net", "onnx", "tflite")


@pytest.fixture(scope="module")
def streaming(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A recurrent net, its state outside, with all its variants."""
    folder = tmp_path_factory.mktemp("streaming")
    gate = agreement(recurrent.samples(16, seed=1), 0.1, "random numbers")
    return optimize(recurrent.bundle(folder / "net"), recurrent.samples(64), gate, out=folder / "new")


def whole(outcome: Outcome) -> Bundle:
    """The bundle that came out."""
    assert outcome.bundle is not None
    return outcome.bundle


def names(outcome: Outcome, admitted: bool = True) -> list[str]:
    """The variants that were admitted, or those that were refused."""
    return [trial.variant for trial in outcome.trials if trial.admitted == admitted]


def engines(variant: Variant) -> list[str]:
    """Those that take its format."""
    return [name for name in backends.NAMES if variant.format in backends.backend(name).formats]


def outputs(bundle: Bundle, variant: str, engine: str, inputs: list[dict[str, Array]], output: str = "y") -> list[Array]:
    """What a variant gives on an engine."""
    session = open_variant(bundle, bundle.manifest.variant(variant), engine)
    assert session.signature == bundle.manifest.signature
    found = [session.run(sample)[output] for sample in inputs]
    session.close()
    return found


def only_beside(folder: Path, *known: str) -> bool:
    """Whether these are in the folder, and nothing more: nothing half-written was left."""
    return sorted(path.name for path in folder.iterdir()) == sorted(known)


def test_every_way(tmp_path: Path, net: Bundle) -> None:
    """All are made, judged on each engine that takes them, and admitted; the bundle installs, and each runs, in float32."""
    told: list[tuple[int, int]] = []
    outcome = optimize(
        net,
        convolutional.samples(16),
        agreement(convolutional.samples(8, seed=1), 0.2, "random numbers", "ab" * 32),
        out=tmp_path / "new",
        progress=lambda done, total: told.append((done, total)),
    )
    assert names(outcome) == list(MADE)
    assert told == sorted(told)
    assert told[-1] == (1200, 1200)
    installed = Store(tmp_path / "store", create=True).install(whole(outcome).folder)
    inputs = convolutional.samples(4, seed=2)
    wanted = outputs(net, "fp32-onnx", "onnx", inputs)
    for name in MADE:
        variant = installed.manifest.variant(name)
        assert variant.accuracy is not None
        assert variant.accuracy.digest == "ab" * 32
        for engine in engines(variant):
            far = relative_difference(wanted, outputs(installed, name, engine, inputs))
            assert far < (1e-5 if variant.precision == "fp32" else 0.2)
    assert only_beside(tmp_path, "net", "new", "store")


@pytest.mark.parametrize("name", MADE)
def test_a_stream_goes_through_every_variant(streaming: Outcome, name: str) -> None:
    """Twenty steps of a stream are those of the same run by hand, bit by bit; and near those of fp32."""
    bundle = whole(streaming)
    steps = [{"x": sample["x"]} for sample in recurrent.samples(20, seed=3)]
    for engine in engines(bundle.manifest.variant(name)):
        session = open_variant(bundle, bundle.manifest.variant(name), engine)
        stream, state = session.stream(), np.zeros((1, 8), np.float32)
        for step in steps:
            by_hand = session.run({**step, "h": state})
            state = by_hand["new_h"]
            assert np.array_equal(stream.run(step)["y"], by_hand["y"])
        assert np.array_equal(stream.state["h"], state)
        session.close()


def test_int8_inputs_and_outputs(streaming: Outcome) -> None:
    """Static TFLite holds its inputs, outputs and state as int8: the session gives what the engine does by hand, and the
    manifest has the scales that are in the file."""
    bundle = whole(streaming)
    variant = bundle.manifest.variant("int8-tflite-static")
    assert set(variant.quantized) == {"x", "h", "y", "new_h"}
    interpreter = Interpreter(model_path=str(bundle.artifact(variant)))
    interpreter.allocate_tensors()
    inputs, ends = interpreter.get_input_details(), interpreter.get_output_details()
    own = {detail["name"]: detail for detail in (*inputs, *ends)}
    for name, scale in variant.quantized.items():
        detail = own[variant.names.get(name, name)]
        assert (scale.scale, scale.zero_point) == detail["quantization"]
        assert detail["dtype"] == np.int8
    session = open_variant(bundle, variant, "tflite")
    for sample in recurrent.samples(8, seed=4):
        for name, array in sample.items():
            interpreter.set_tensor(own[variant.names.get(name, name)]["index"], quantize(array, variant.quantized[name]))
        interpreter.invoke()
        for name, array in session.run(sample).items():
            stored = interpreter.get_tensor(own[variant.names.get(name, name)]["index"])
            assert np.array_equal(array, dequantize(stored, variant.quantized[name]))


@pytest.mark.parametrize(
    ("quantized", "says"),
    [
        ({}, r"input 'x' is int8 .* manifest says float32 .*`quantized\.x` of the variant"),
        ({"x": Scale("int8", 1.0, 0)}, r"holds 'x' with scale 0\.\d+ and zero point -?\d+; the manifest's .* says 1 and 0"),
        ({"x": Scale("uint8", 1.0, 0)}, r"input 'x' is int8 .* manifest says uint8"),
    ],
    ids=["none", "another", "unsigned"],
)
def test_scales_that_the_file_does_not_have(streaming: Outcome, quantized: dict[str, Scale], says: str) -> None:
    """An int8 input without a scale, with another scale than the file's, or of another type is not loaded."""
    bundle = whole(streaming)
    variant = bundle.manifest.variant("int8-tflite-static")
    others = {name: scale for name, scale in variant.quantized.items() if name != "x"}
    with pytest.raises(ArtifactError, match=says):
        open_variant(bundle, msgspec.structs.replace(variant, quantized={**others, **quantized}), "tflite")


@pytest.mark.parametrize("name", MADE)
def test_the_same_data_gives_the_same_file(tmp_path: Path, net: Bundle, name: str) -> None:
    """Every way is deterministic."""
    source = net.folder / ("net.tflite" if "tflite" in name else "net.onnx")
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        MAKE[name](source, tmp_path / folder / "made.xml", convolutional.samples(4))
    files = [path.name for path in (tmp_path / "a").iterdir()]
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)
    assert len(files) == (2 if "openvino" in name else 1)


@pytest.mark.parametrize("name", MADE)
def test_progress_and_silence(
    tmp_path: Path, net: Bundle, name: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Steps are told in order up to the last, and what is told may print; nothing else does."""
    told: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        told.append((done, total))
        print("a step")

    source = net.folder / ("net.tflite" if "tflite" in name else "net.onnx")
    MAKE[name](source, tmp_path / "made.xml", convolutional.samples(4), progress=progress)
    assert told == sorted(told)
    assert told[0][0] == 0
    assert told[-1][0] == told[-1][1]
    printed = capsys.readouterr()
    assert printed.out == "a step\n" * len(told)
    assert printed.err == ""
    assert not caplog.records


@pytest.mark.parametrize("name", MADE)
def test_what_cannot_be_made(tmp_path: Path, net: Bundle, name: str) -> None:
    """A file that is no model, exclusions that leave nothing, no samples where there must be some: no file appears."""
    suffix = "tflite" if "tflite" in name else "onnx"
    (tmp_path / f"noise.{suffix}").write_bytes(b"\x07noise")
    source, target = net.folder / f"net.{suffix}", tmp_path / "made.xml"
    with pytest.raises(ArtifactError, match="noise"):
        MAKE[name](tmp_path / f"noise.{suffix}", target, convolutional.samples(2))
    if name != "fp32-openvino":
        with pytest.raises(InputError, match="all nodes with weights are excluded"):
            MAKE[name](source, target, convolutional.samples(2), Quantization(exclude=("*",)))
    if name in ("int8-onnx", "int8-openvino", "int8-tflite-static"):
        with pytest.raises(InputError, match="no samples"):
            MAKE[name](source, target, [])
    assert only_beside(tmp_path, "net", f"noise.{suffix}")


def test_a_model_that_openvino_does_not_convert(tmp_path: Path, packages: Path) -> None:
    """It is told in the tool's own words, and no half of an IR is left."""
    for name in ("fp32-openvino", "int8-openvino"):
        with pytest.raises(ArtifactError, match="OpConversionFailure"):
            MAKE[name](packages / "silero_vad/data/silero_vad.onnx", tmp_path / "made.xml", recurrent.samples(2))
    assert only_beside(tmp_path)


def test_excluded_nodes(tmp_path: Path, net: Bundle) -> None:
    """A node that is excluded by its ONNX name keeps its floats in OpenVINO too; and in static TFLite by its own."""
    quantization = Quantization(exclude=("conv", convolutional.FIRST))
    for suffix, name in (("onnx", "int8-openvino"), ("tflite", "int8-tflite-static")):
        nodes = MAKE[name](net.folder / f"net.{suffix}", tmp_path / f"{suffix}.xml", convolutional.samples(4), quantization)
        assert len(nodes.int8) == len(nodes.fp32) == 1
    weights = convolutional.weights()
    kept = (tmp_path / "onnx.bin").read_bytes()
    assert np.ascontiguousarray(weights["w1"].transpose(0, 3, 1, 2)).tobytes() in kept
    assert weights["w2"].tobytes() not in kept
    kept = (tmp_path / "tflite.xml").read_bytes()
    assert weights["w1"].tobytes() in kept
    assert weights["w2"].tobytes() not in kept


def test_a_dynamic_shape_that_an_exporter_wrote_down(tmp_path: Path, net: Bundle) -> None:
    """Shapes of inner tensors in the file, which contradict int8's, do not stop the dynamic way."""
    model = onnx.load(str(net.folder / "net.onnx"))
    model.graph.value_info.append(helper.make_tensor_value_info("w2_quantized", TensorProto.INT8, [1, 1]))
    onnx.save(model, str(tmp_path / "told.onnx"))
    assert MAKE["int8-onnx-dynamic"](tmp_path / "told.onnx", tmp_path / "made.onnx", []).int8 == ("conv", "gemm")


def agreeing(net: Bundle) -> Callable[[Session], float]:
    """The share of 200 samples on which a session's class is that of fp32."""
    inputs = convolutional.samples(200, seed=5)
    right = [row.argmax() for row in outputs(net, "fp32-onnx", "onnx", inputs)]
    return lambda session: float(
        np.mean([session.run(one)["y"].argmax() == other for one, other in zip(inputs, right, strict=True)])
    )


def test_accuracy_is_retained(tmp_path: Path, net: Bundle) -> None:
    """With a measure each variant is judged by its drop; fp32 has its own figure in the manifest; so has what NNCF made."""
    measure = Measure("accuracy", "200 samples", agreeing(net), "cd" * 32)
    outcome = optimize(net, convolutional.samples(32), retention(measure, 0.03), out=tmp_path / "new")
    assert "int8-openvino" in names(outcome)
    for trial in outcome.trials:
        drops = [1 - verdict.accuracy.value for verdict in trial.verdicts]
        assert trial.admitted == (max(drops) <= 0.03 + 1e-9)
    for variant in whole(outcome).manifest.variants:
        assert variant.accuracy is not None
        assert (variant.accuracy.metric, variant.accuracy.digest) == ("accuracy", "cd" * 32)
        assert variant.accuracy.value >= 0.97
    assert [trial.variant for trial in outcome.originals] == ["fp32-onnx", "fp32-tflite"]
    assert [len(trial.verdicts) for trial in outcome.originals] == [2, 1]


def test_nncf_keeps_an_eye_on_the_accuracy(tmp_path: Path, net: Bundle) -> None:
    """Where int8 of a node costs too much, NNCF leaves that node in fp32: what comes out is admitted, and plain is not."""
    inputs = convolutional.samples(8, seed=6)
    wanted = outputs(net, "fp32-onnx", "onnx", inputs)

    def nearness(session: Session) -> float:
        return 1 - relative_difference(wanted, [session.run(sample)["y"] for sample in inputs])

    gate = retention(Measure("nearness", "d", nearness), 0.01)
    outcome = optimize(net, convolutional.samples(16), gate, out=tmp_path / "new", only=["int8-openvino", "int8-onnx"])
    assert names(outcome) == ["int8-openvino"]
    assert names(outcome, admitted=False) == ["int8-onnx"]


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        (KeyError("page 7"), "KeyError: 'page 7'"),
        (SystemExit(3), "SystemExit: 3"),
        (ZeroDivisionError(), "ZeroDivisionError"),
    ],
)
def test_an_accuracy_function_that_fails(tmp_path: Path, net: Bundle, trouble: BaseException, says: str) -> None:
    """On fp32 that is an error in its own words, and nothing is written; a variant on which it fails is refused."""

    def never(session: Session) -> float:
        raise trouble

    gate = retention(Measure("F1", "pages", never), 0.01)
    with pytest.raises(InputError, match=rf"F1 cannot be measured on onnx:CPU: {says}"):
        optimize(net, convolutional.samples(4), gate, out=tmp_path / "new")
    sample = convolutional.samples(1)[0]
    right = outputs(net, "fp32-onnx", "onnx", [sample])

    def on_int8(session: Session) -> float:
        if relative_difference(right, [session.run(sample)["y"]]) > 1e-5:
            raise trouble
        return 0.9

    gate = retention(Measure("F1", "pages", on_int8), 0.01)
    only = ["fp32-openvino", "int8-onnx", "int8-tflite"]
    outcome = optimize(net, convolutional.samples(4), gate, out=tmp_path / "new", only=only)
    assert names(outcome) == ["fp32-openvino"]
    assert all(says in str(trial) for trial in outcome.trials if not trial.admitted)
    assert only_beside(tmp_path, "net", "new")


@pytest.mark.parametrize("figure", ["high", None, float("nan"), float("inf")])
def test_an_accuracy_that_is_no_figure(tmp_path: Path, net: Bundle, figure: object) -> None:
    """Text, nothing, NaN and infinity are refused."""
    gate = retention(Measure("F1", "pages", lambda session: figure), 0.01)  # type: ignore[arg-type, return-value]
    with pytest.raises(InputError, match="F1"):
        optimize(net, convolutional.samples(4), gate, out=tmp_path / "new")
    assert only_beside(tmp_path, "net")


def zeros(path: Path) -> dict[str, float]:
    """The share of zeros in each constant of an ONNX file."""
    constants = onnx.load(str(path)).graph.initializer
    return {tensor.name: float(np.mean(numpy_helper.to_array(tensor) == 0)) for tensor in constants}


def test_pruning(tmp_path: Path, net: Bundle) -> None:
    """The smallest weights of each node are zero in a variant of its own, which stays fp32; int8 is made of it if it is
    admitted, and of fp32 if it is not."""
    quantization, only = Quantization(prune=0.1), ["int8-onnx"]
    gate = agreement(convolutional.samples(4, seed=1), 0.3, "d")
    outcome = optimize(net, convolutional.samples(8), gate, out=tmp_path / "new", only=only, quantization=quantization)
    assert names(outcome) == ["pruned-onnx", "int8-onnx"]
    pruned = zeros(tmp_path / "new" / "net.pruned.onnx")
    assert pruned["w1"] == pytest.approx(0.1, abs=0.005)
    assert pruned["w2"] == pytest.approx(0.1, abs=0.005)
    assert pruned["b1"] == 0
    assert whole(outcome).manifest.variant("pruned-onnx").precision == "fp32"
    assert zeros(tmp_path / "new" / "net.int8.onnx")["w2_quantized"] > 0.099

    hard = Quantization(prune=0.9)
    outcome = optimize(net, convolutional.samples(8), gate, out=tmp_path / "hard", only=only, quantization=hard)
    assert names(outcome) == ["int8-onnx"]
    assert zeros(tmp_path / "hard" / "net.int8.onnx")["w2_quantized"] < 0.05
    for share in (-0.1, 1.0, float("nan")):
        with pytest.raises(InputError, match="cannot be pruned"):
            Quantization(prune=share)


def test_what_is_asked_for(tmp_path: Path, net: Bundle) -> None:
    """A variant that nobody can make is an error with those that there are; one whose format is not there is refused."""
    gate = agreement(convolutional.samples(4, seed=1), 0.3, "d")
    with pytest.raises(InputError, match=r"int4-onnx: .* there are pruned-onnx, fp32-openvino, int8-onnx, "):
        optimize(net, convolutional.samples(4), gate, out=tmp_path / "new", only=["int4-onnx"])
    with pytest.raises(InputError, match="share"):
        optimize(net, convolutional.samples(4), gate, out=tmp_path / "new", only=["pruned-onnx"])
    alone = convolutional.bundle(tmp_path / "alone", "onnx")
    outcome = optimize(
        alone, convolutional.samples(4), gate, out=tmp_path / "new", only=["int8-onnx", "int8-tflite"]
    )  # fmt: skip
    assert names(outcome) == ["int8-onnx"]
    assert "no fp32 variant in tflite to make it of" in str(outcome.trials[1])


def test_tools_that_are_missing(tmp_path: Path, net: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a missing tool would have made is refused with the extra that brings it; where none is there it is an error."""
    monkeypatch.setitem(sys.modules, "nncf", None)
    gate = agreement(convolutional.samples(4, seed=1), 0.3, "d")
    only = ["int8-onnx", "int8-openvino"]
    outcome = optimize(net, convolutional.samples(4), gate, out=tmp_path / "new", only=only)
    assert names(outcome) == ["int8-onnx"]
    assert "pip install 'edge-runtime[optimize]'" in outcome.trials[1].trouble
    with pytest.raises(EngineMissingError, match=r"edge-runtime\[optimize\]"):
        optimize(net, convolutional.samples(4), gate, out=tmp_path / "newer", only=["int8-openvino"])
    assert only_beside(tmp_path, "net", "new")


def test_bench_runs_them(streaming: Outcome) -> None:
    """The harness measures int8 inputs and outputs as it does all others, the cold start in a process of its own too."""
    devices = [device for device in backends.devices() if device.backend == "tflite"]
    report = harness.bench([whole(streaming)], devices=devices, runs=8, seconds=0.05)
    assert [(entry.variant, entry.error) for entry in report.entries] == [
        ("fp32-tflite", None), ("int8-tflite", None), ("int8-tflite-static", None),
    ]  # fmt: skip
    assert all(entry.cold is not None and entry.samples is not None for entry in report.entries)


def test_an_ir_alone(tmp_path: Path, streaming: Outcome) -> None:
    """A bundle with nothing but an fp32 IR gets int8 by NNCF, judged against it."""
    bundle = whole(streaming)
    only = msgspec.structs.replace(bundle.manifest, variants=(bundle.manifest.variant("fp32-openvino"),))
    gate = agreement(recurrent.samples(8, seed=1), 0.1, "d")
    outcome = optimize(Bundle(only, bundle.folder), recurrent.samples(32), gate, out=tmp_path / "new")
    assert names(outcome) == ["int8-openvino"]


TELL_NOBODY = """
import sys
from pathlib import Path
from tests import recurrent
from edge_runtime.optimize import agreement, optimize
here = Path(sys.argv[1])
gate = agreement(recurrent.samples(4, seed=1), 0.5, "d")
outcome = optimize(recurrent.bundle(here / "net"), recurrent.samples(8), gate, out=here / "new")
assert all(trial.admitted for trial in outcome.trials), outcome.trials
assert "openvino_telemetry" not in sys.modules
"""


def test_nobody_is_told(tmp_path: Path, root: Path) -> None:
    """No engine and no tool leaves an id in the home folder, which is what each does that reports to its maker."""
    (tmp_path / "home").mkdir()
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY", "NNCF_CI")}
    subprocess.run(
        [sys.executable, "-c", TELL_NOBODY, str(tmp_path)],
        env={**kept, "HOME": str(tmp_path / "home"), "PYTHONPATH": str(root)}, cwd=root, check=True, timeout=300,
    )  # fmt: skip
    assert only_beside(tmp_path / "home")

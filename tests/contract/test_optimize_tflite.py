"""int8 TFLite, alone and beside ONNX: what the conversion writes, and each variant admitted or refused by itself."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import flatbuffers
import msgspec
import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper, numpy_helper

from edge_runtime import backends
from edge_runtime.backends.base import Session
from edge_runtime.bundles.bundle import Bundle, read_bundle
from edge_runtime.bundles.manifest import MANIFEST, Manifest, Variant, encode
from edge_runtime.bundles.store import Store
from edge_runtime.cli import main
from edge_runtime.errors import ArtifactError, BundleError, EngineMissingError, InputError
from edge_runtime.optimize import INT8, Gate, Nodes, Quantization, Verdict, agreement, optimize
from edge_runtime.optimize import tflite as tflite_tool
from edge_runtime.optimize.gate import relative_difference
from edge_runtime.signature import Signature, TensorSpec
from edge_runtime.values import Array
from tests.bundles import file_of

SHAPE = (1, 8, 8, 3)
SIGNATURE = Signature(inputs=(TensorSpec("x", "float32", SHAPE),), outputs=(TensorSpec("y", "float32", (1, 4)),))
FIRST, SECOND = "net/first", "net/second"
ONLY = tuple(INT8.values())
quantize = tflite_tool.quantize


def weights() -> dict[str, Array]:
    """Of a small CNN, as TFLite lays them out: a convolution [out, height, width, in], and what maps its output to four."""
    dice = np.random.default_rng(3)
    shapes = {"w1": (16, 3, 3, 3), "b1": (16,), "w2": (4, 8 * 8 * 16), "b2": (4,)}
    return {name: dice.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def tflite_net() -> bytes:
    """x [1, 8, 8, 3] -> convolution, relu -> fully connected -> y [1, 4]."""
    buffers, tensors = [schema.BufferT()], {}

    def tensor(name: str, shape: tuple[int, ...], data: Array | None = None) -> None:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, list(shape), schema.TensorType.FLOAT32, 0
        if data is not None:
            made.buffer = len(buffers)
            buffers.append(schema.BufferT())
            buffers[-1].data = np.frombuffer(data.tobytes(), np.uint8)
        tensors[name] = made

    tensor("x", SHAPE)
    for name, array in weights().items():
        tensor(name, array.shape, array)
    tensor(FIRST, (1, 8, 8, 16))
    tensor(SECOND, (1, 4))

    conv, connected = schema.Conv2DOptionsT(), schema.FullyConnectedOptionsT()
    conv.padding, conv.fusedActivationFunction = schema.Padding.SAME, schema.ActivationFunctionType.RELU
    conv.strideH = conv.strideW = conv.dilationHFactor = conv.dilationWFactor = 1
    codes: list[schema.OperatorCodeT] = []
    operators: list[schema.OperatorT] = []
    for builtin, kind, options, names in (
        (schema.BuiltinOperator.CONV_2D, schema.BuiltinOptions.Conv2DOptions, conv, ("x", "w1", "b1", FIRST)),
        (
            schema.BuiltinOperator.FULLY_CONNECTED,
            schema.BuiltinOptions.FullyConnectedOptions,
            connected,
            (FIRST, "w2", "b2", SECOND),
        ),
    ):
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = code.deprecatedBuiltinCode = builtin
        code.version = 1
        operator.opcodeIndex, operator.builtinOptionsType, operator.builtinOptions = len(codes), kind, options
        *inputs, output = (list(tensors).index(name) for name in names)
        operator.inputs, operator.outputs = inputs, [output]
        codes.append(code)
        operators.append(operator)
    graph = schema.SubGraphT()
    graph.tensors, graph.operators = list(tensors.values()), operators
    graph.inputs, graph.outputs = [0], [len(tensors) - 1]
    entry = schema.SignatureDefT()
    entry.signatureKey, entry.subgraphIndex = "serving_default", 0
    entry.inputs, entry.outputs = [schema.TensorMapT()], [schema.TensorMapT()]
    (entry.inputs[0].name, entry.inputs[0].tensorIndex) = ("args_0", 0)
    (entry.outputs[0].name, entry.outputs[0].tensorIndex) = ("output_0", len(tensors) - 1)
    model = schema.ModelT()
    model.signatureDefs = [entry]
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, codes, [graph], buffers
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def onnx_net() -> bytes:
    """The same net from the same weights, its nodes named otherwise."""
    arrays = weights()
    arrays["w1"] = arrays["w1"].transpose(0, 3, 1, 2)
    nodes = [
        helper.make_node("Transpose", ["x"], ["a"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["a", "w1", "b1"], ["b"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Transpose", ["c"], ["d"], perm=[0, 2, 3, 1]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("Gemm", ["e", "w2", "b2"], ["y"], name="gemm", transB=1),
    ]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", SHAPE), ("y", (1, 4)))]
    constants = [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "net", values[:1], values[1:], constants)
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString())


CONTENTS = {"onnx": onnx_net, "tflite": tflite_net}


def samples(count: int, seed: int = 0) -> list[dict[str, Array]]:
    """Random inputs."""
    dice = np.random.default_rng(seed)
    return [{"x": dice.normal(size=SHAPE).astype(np.float32)} for _ in range(count)]


def bundle(folder: Path, *formats: str, precision: str = "fp32") -> Bundle:
    """A bundle of the net in these formats."""
    folder.mkdir()
    variants = []
    for form in formats:
        data = CONTENTS[form]()
        (folder / f"net.{form}").write_bytes(data)
        names = {"y": SECOND} if form == "tflite" else {}
        variants.append(Variant(f"{precision}-{form}", form, precision, (file_of(f"net.{form}", data),), names=names))
    manifest = Manifest(name="net", version="1.0", task="test", signature=SIGNATURE, variants=tuple(variants))
    (folder / MANIFEST).write_bytes(encode(manifest))
    return read_bundle(folder)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The net as a TFLite file."""
    path = tmp_path / "net.tflite"
    path.write_bytes(tflite_net())
    return path


@pytest.fixture
def both(tmp_path: Path) -> Bundle:
    """A bundle of the net in both formats."""
    return bundle(tmp_path / "both", "onnx", "tflite")


def run(path: Path, inputs: list[dict[str, Array]]) -> list[Array]:
    """The net's outputs on LiteRT."""
    session = backends.backend("tflite").load(path, signature=SIGNATURE, names={"y": SECOND})
    outputs = [session.run(sample)["y"] for sample in inputs]
    session.close()
    return outputs


def refusing(engine: str) -> Gate:
    """A gate that lets nothing in on one engine, and everything on the others."""
    admit = agreement(samples(2, seed=1), 1.0, "d")

    def gate(reference: Session, candidate: Session) -> Verdict:
        verdict = admit(reference, candidate)
        refused = candidate.device.backend == engine
        return msgspec.structs.replace(verdict, margin=-1.0) if refused else verdict

    return gate


def test_what_the_file_holds(source: Path, tmp_path: Path) -> None:
    """Weights are int8 with a scale for each output channel, inputs and outputs fp32; an excluded node keeps its floats."""
    nodes = quantize(source, tmp_path / "int8.tflite", [], Quantization(exclude=("*sec*",)))
    assert nodes == Nodes((FIRST,), (SECOND,))
    graph = schema.ModelT.InitFromPackedBuf((tmp_path / "int8.tflite").read_bytes(), 0).subgraphs[0]
    tensors = {tensor.name.decode(): tensor for tensor in graph.tensors}
    types = {name: tensors[name].type for name in ("x", "w1", "w2", FIRST, SECOND)}
    floats = dict.fromkeys(("x", "w2", FIRST, SECOND), schema.TensorType.FLOAT32)
    assert types == {"w1": schema.TensorType.INT8, **floats}
    assert len(tensors["w1"].quantization.scale) == 16


def test_the_answers_are_near(source: Path, tmp_path: Path) -> None:
    """int8 gives fp32's answers within 6 %, and not the very same; the same file gives the same int8 file."""
    for name in ("a.tflite", "b.tflite"):
        assert quantize(source, tmp_path / name, []) == Nodes((FIRST, SECOND))
    assert (tmp_path / "a.tflite").read_bytes() == (tmp_path / "b.tflite").read_bytes()
    inputs = samples(8)
    assert 0 < relative_difference(run(source, inputs), run(tmp_path / "a.tflite", inputs)) < 0.06


def test_progress_and_silence(source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Every step is told once, up to the last, and nothing is printed."""
    told: list[tuple[int, int]] = []
    quantize(source, tmp_path / "int8.tflite", [], progress=lambda done, total: told.append((done, total)))
    assert told == [(0, 2), (1, 2), (2, 2)]
    assert capfd.readouterr() == ("", "")


def test_models_that_cannot_be_quantized(source: Path, tmp_path: Path) -> None:
    """No model, no such operators, operators without int8, all excluded, no place: each says so, and no file appears."""
    target = tmp_path / "out.tflite"
    for noise in (b"", b"\x07noise", b"\xff" * 64):
        (tmp_path / "noise.tflite").write_bytes(noise)
        with pytest.raises(ArtifactError, match=r"noise\.tflite"):
            quantize(tmp_path / "noise.tflite", target, [])
    with pytest.raises(InputError, match="none of the operators to quantize: ConvTranspose"):
        quantize(source, target, [], Quantization(operators=("ConvTranspose",)))
    with pytest.raises(InputError, match=r"Add, Mul: .* only of Conv, "):
        quantize(source, target, [], Quantization(operators=("Conv", "Add", "Mul")))
    with pytest.raises(InputError, match=r"all nodes with weights are excluded: net/\*"):
        quantize(source, target, [], Quantization(exclude=("net/*",)))
    with pytest.raises(BundleError, match="cannot write"):
        quantize(source, tmp_path / "nowhere" / "out.tflite", [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.tflite", "noise.tflite"]


def test_without_the_package(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where ai-edge-quantizer is not installed, the error names the extra that brings it."""
    monkeypatch.setitem(sys.modules, "ai_edge_quantizer", None)
    with pytest.raises(EngineMissingError, match=r"ai-edge-quantizer is needed.*edge-runtime\[optimize\]"):
        quantize(source, tmp_path / "out.tflite", [])


def test_both_formats(tmp_path: Path, both: Bundle) -> None:
    """Of a bundle with both, both int8 variants are judged on all engines, admitted with their figures, and run."""
    told: list[tuple[int, int]] = []
    outcome = optimize(
        both,
        samples(8),
        agreement(samples(4, seed=1), 0.06, "random numbers"),
        out=tmp_path / "new",
        only=ONLY,
        progress=lambda done, total: told.append((done, total)),
    )
    assert [trial.variant for trial in outcome.trials] == ["int8-onnx", "int8-tflite"]
    assert all(trial.admitted for trial in outcome.trials)
    engines = [[verdict.engine.split()[0] for verdict in trial.verdicts] for trial in outcome.trials]
    assert engines == [["onnxruntime", "openvino"], ["ai-edge-litert"]]
    assert told == sorted(told)
    assert told[-1] == (400, 400)
    assert outcome.bundle is not None
    installed = Store(tmp_path / "store", create=True).install(outcome.bundle.folder)
    figures = {}
    for form, engine in (("onnx", "onnx"), ("onnx", "openvino"), ("tflite", "tflite")):
        variant = installed.manifest.variant(INT8[form])
        assert variant.accuracy is not None
        figures[form] = variant.accuracy.value
        session = backends.backend(engine).load(installed.artifact(variant), signature=SIGNATURE, names=variant.names)
        assert session.run(samples(1)[0])["y"].shape == (1, 4)
        session.close()
    assert all(0 < figure < 0.06 for figure in figures.values())
    assert figures["onnx"] != figures["tflite"]


@pytest.mark.parametrize(
    ("engine", "kept"), [("onnx", "int8-tflite"), ("openvino", "int8-tflite"), ("tflite", "int8-onnx")]
)
def test_each_is_refused_by_itself(tmp_path: Path, both: Bundle, engine: str, kept: str) -> None:
    """A variant refused on one of its engines is left out, its file too; the other is let in."""
    outcome = optimize(both, samples(4), refusing(engine), out=tmp_path / "new", only=ONLY)
    assert [trial.variant for trial in outcome.trials if trial.admitted] == [kept]
    assert outcome.admitted
    assert outcome.bundle is not None
    assert [variant.name for variant in outcome.bundle.manifest.variants] == ["fp32-onnx", "fp32-tflite", kept]
    files = {file.path for file in outcome.bundle.manifest.files} | {MANIFEST}
    assert {path.name for path in outcome.bundle.folder.iterdir()} == files
    refused = next(trial for trial in outcome.trials if not trial.admitted)
    assert f"{refused.variant} refused on" in str(refused)


def test_only_tflite(tmp_path: Path) -> None:
    """Without ONNX the reference is fp32 TFLite on LiteRT, and no calibration data is needed."""
    references = []

    def gate(reference: Session, candidate: Session) -> Verdict:
        references.append(reference.device.backend)
        return agreement(samples(4, seed=1), 0.06, "d")(reference, candidate)

    outcome = optimize(bundle(tmp_path / "old", "tflite"), [], gate, out=tmp_path / "new", only=["int8-tflite"])
    assert [(trial.variant, trial.admitted) for trial in outcome.trials] == [("int8-tflite", True)]
    assert references == ["tflite"]


def test_one_that_cannot_be_made(tmp_path: Path, both: Bundle) -> None:
    """What one format has no int8 of refuses that variant, with the reason; the other is tried all the same."""
    gate = agreement(samples(2, seed=1), 1.0, "d")
    outcome = optimize(
        both,
        samples(4),
        gate,
        out=tmp_path / "new",
        only=ONLY,
        quantization=Quantization(operators=("Conv", "Gemm", "Transpose")),
    )
    assert [trial.admitted for trial in outcome.trials] == [True, False]
    assert str(outcome.trials[1]).startswith("int8-tflite refused: Transpose: of these there is no int8 in TFLite")
    nowhere = Quantization(operators=("ConvTranspose",))
    none = optimize(both, samples(4), gate, out=tmp_path / "none", only=ONLY, quantization=nowhere)
    assert not none.admitted
    assert ["none of the operators" in trial.trouble for trial in none.trials] == [True, True]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["both", "new"]


def test_exclusions_in_both_formats(tmp_path: Path, both: Bundle) -> None:
    """A pattern need only match in one of the formats; one that matches in none is most likely misspelt, and an error."""
    gate = agreement(samples(2, seed=1), 1.0, "d")
    only_first = Quantization(exclude=("gemm", SECOND))
    assert optimize(both, samples(4), gate, out=tmp_path / "new", quantization=only_first).admitted
    model = onnx.load(str(tmp_path / "new" / "net.int8.onnx"))
    kept = {tensor.name: numpy_helper.to_array(tensor).dtype for tensor in model.graph.initializer}["w2"]
    assert kept == np.float32
    with pytest.raises(InputError, match=r"'second'.*named like conv, gemm, net/first, net/second"):
        optimize(both, samples(4), gate, out=tmp_path / "newer", quantization=Quantization(exclude=("second",)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["both", "new"]


def test_what_is_there_is_not_made_again(tmp_path: Path, both: Bundle) -> None:
    """The int8 variant that was refused before can be tried again, without the other; with both there, nothing is left."""
    first = optimize(both, samples(4), refusing("tflite"), out=tmp_path / "first", only=ONLY).bundle
    assert first is not None
    second = optimize(first, samples(4), refusing("onnx"), out=tmp_path / "second", only=ONLY)
    assert [(trial.variant, trial.admitted) for trial in second.trials] == [("int8-tflite", True)]
    assert second.bundle is not None
    with pytest.raises(InputError, match="has its int8 variants already"):
        optimize(second.bundle, samples(4), refusing("onnx"), out=tmp_path / "third", only=ONLY)


def test_nothing_to_make_it_of(tmp_path: Path) -> None:
    """A bundle without fp32 in either format is an error that says so."""
    half = bundle(tmp_path / "half", "onnx", precision="fp16")
    with pytest.raises(InputError, match="no fp32 ONNX or TFLite variant"):
        optimize(half, samples(4), refusing("onnx"), out=tmp_path / "new")


def test_the_command(tmp_path: Path, both: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    """Each variant is told by engine; 0 if one was admitted, 1 if none was; as JSON without a figure that is no JSON."""
    np.savez(tmp_path / "samples.npz", x=np.stack([sample["x"] for sample in samples(16)]))
    call = ["optimize", str(both.folder), "--calibrate", str(tmp_path / "samples.npz"), "--out", str(tmp_path / "new")]
    call += [part for name in ONLY for part in ("--only", name)]
    assert main([*call, "--tolerance", "1e-9"]) == 1
    assert [line.split(":")[0].rsplit(" ", 1)[0] for line in capsys.readouterr().out.splitlines()] == [
        "int8-onnx refused on onnxruntime",
        "int8-onnx refused on openvino",
        "int8-tflite refused on ai-edge-litert",
        "nothing was",
    ]
    assert main([*call, "--json", "--exclude", "net/*"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["admitted"]
    assert [(row["variant"], row["admitted"], len(row["verdicts"])) for row in told["variants"]] == [
        ("int8-onnx", True, 2),
        ("int8-tflite", False, 0),
    ]
    assert "all nodes with weights are excluded" in told["variants"][1]["trouble"]

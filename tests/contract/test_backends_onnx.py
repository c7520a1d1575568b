"""What the backends that load ONNX files make of small graphs, of a recurrent model, and of their own corner cases."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge_runtime import backends
from edge_runtime.backends import Backend
from edge_runtime.backends import onnx as onnx_file
from edge_runtime.errors import ArtifactError, InputError, RunError
from edge_runtime.signature import DTYPES, Signature, StatePair, TensorSpec
from edge_runtime.values import Array

Shape = Sequence[int | str | None] | None
Row = tuple[str, str, Shape]

STEPS = 100
VAD = Signature(
    inputs=(TensorSpec("frame", "float32", (1, 576)), TensorSpec("state", "float32", (2, 1, 128))),
    outputs=(TensorSpec("speech", "float32", (1, 1)), TensorSpec("stateN", "float32", (2, 1, 128))),
    state=(StatePair("state", "stateN"),),
)
VAD_NAMES = {"frame": "input", "speech": "output"}


def graph(path: Path, nodes: Sequence[tuple[str, str, str]], inputs: Sequence[Row], outputs: Sequence[Row]) -> Path:
    """Write an ONNX file: nodes as (operator, its inputs, its output), tensors as (name, numpy dtype, shape)."""

    def row(name: str, dtype: str, shape: Shape) -> onnx.ValueInfoProto:
        kind = TensorProto.STRING if dtype == "str" else helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return helper.make_tensor_value_info(name, kind, shape)

    made = [helper.make_node(operator, taken.split(), [given]) for operator, taken, given in nodes]
    whole = helper.make_graph(made, "test", [row(*each) for each in inputs], [row(*each) for each in outputs])
    onnx.save(helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def frames(seed: int) -> list[dict[str, Array]]:
    """Noise that swells and fades, so that the state has something to remember."""
    noise = np.random.default_rng(seed).standard_normal((STEPS, 1, 576))
    loudness = np.sin(np.arange(STEPS) / 9).reshape(-1, 1, 1) * 0.3
    return [{"frame": frame} for frame in (noise * loudness).astype(np.float32)]


@pytest.mark.parametrize("shape", [(), (2, 3), ("rows", 3)], ids=["scalar", "fixed", "dynamic"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(onnx_backend: Backend, tmp_path: Path, dtype: str, shape: tuple[int | str, ...]) -> None:
    """Every dtype of a signature goes in and comes out bit by bit, as a scalar, with a fixed and with a dynamic shape."""
    path = graph(tmp_path / "same.onnx", [("Identity", "x", "y")], [("x", dtype, shape)], [("y", dtype, shape)])
    session = onnx_backend.load(path)
    (spec,) = session.signature.inputs
    assert (spec.name, spec.dtype, len(spec.shape), spec.fixed is None) == ("x", dtype, len(shape), "rows" in shape)
    given = (np.arange(6).reshape(2, 3) * 0.5).astype(dtype) if shape else np.array(1, dtype)
    taken = session.run({"x": given})["y"]
    assert isinstance(taken, np.ndarray)
    assert (taken.dtype, taken.shape) == (given.dtype, given.shape)
    assert not np.shares_memory(taken, given)
    np.testing.assert_array_equal(taken, given)


def test_several_inputs_and_outputs(onnx_backend: Backend, tmp_path: Path) -> None:
    """Inputs and outputs are matched by name, in whatever order they are given and asked for."""
    rows: list[Row] = [("a", "float32", [2]), ("b", "float32", [2])]
    outputs: list[Row] = [("less", "float32", [2]), ("more", "float32", [2])]
    path = graph(tmp_path / "two.onnx", [("Add", "a b", "more"), ("Sub", "a b", "less")], rows, outputs)
    wanted = Signature(
        inputs=(TensorSpec("right", "float32", (2,)), TensorSpec("left", "float32", (2,))),
        outputs=(TensorSpec("sum", "float32", (2,)), TensorSpec("less", "float32", (2,))),
    )
    session = onnx_backend.load(path, signature=wanted, names={"left": "a", "right": "b", "sum": "more"})
    outputs_by_name = session.run({"left": np.array([5, 6], np.float32), "right": np.array([1, 2], np.float32)})
    assert {name: array.tolist() for name, array in outputs_by_name.items()} == {"sum": [6, 8], "less": [4, 4]}


def test_unknown_dimensions_are_independent(onnx_backend: Backend, tmp_path: Path) -> None:
    """Exporters write "?" for an unknown size: two of them need not be equal, so they get different names."""
    shape = ["?", None, "?"]
    path = graph(tmp_path / "unknown.onnx", [("Relu", "x", "y")], [("x", "float32", shape)], [("y", "float32", shape)])
    session = onnx_backend.load(path)
    names = [size for spec in session.signature.inputs + session.signature.outputs for size in spec.shape]
    assert len(set(names)) == 6
    for sizes in ((1, 2, 3), (3, 2, 1), (1, 2, 3)):
        assert session.run({"x": np.ones(sizes, np.float32)})["y"].shape == sizes


def test_output_of_unknown_rank(tmp_path: Path) -> None:
    """An output of which ONNX Runtime knows no rank takes the manifest's. (OpenVINO does not compile such a model.)"""
    rows: list[Row] = [("x", "float32", [2, 3]), ("shape", "int64", ["rank"])]
    path = graph(tmp_path / "rank.onnx", [("Reshape", "x shape", "y")], rows, [("y", "float32", None)])
    wanted = Signature(
        inputs=(TensorSpec("x", "float32", (2, 3)), TensorSpec("shape", "int64", ("rank",))),
        outputs=(TensorSpec("y", "float32", (6,)),),
    )
    session = backends.backend("onnx").load(path, signature=wanted)
    assert session.run({"x": np.ones((2, 3), np.float32), "shape": np.array([6])})["y"].shape == (6,)


def test_failed_run_leaves_no_trace(onnx_backend: Backend, packages: Path) -> None:
    """After a run that failed for its shape, runs with the earlier shape and with a new one give what they always give:
    not the failed run's error again, and not its batch size."""
    path = packages / "rapidocr/models/PP-OCRv6_det_small.onnx"
    session, fresh = onnx_backend.load(path), onnx_backend.load(path)
    images = [{"x": np.random.default_rng(i).random((1, 3, 64 + 32 * i, 64), np.float32)} for i in range(3)]
    expected = [fresh.run(image)["fetch_name_0"] for image in images]
    session.run(images[0])
    for then in ((0, 1), (1, 2), (2, 0)):
        with pytest.raises(RunError):
            session.run({"x": np.zeros((2, 3, 33, 47), np.float32)})
        for i in then:
            np.testing.assert_array_equal(session.run(images[i])["fetch_name_0"], expected[i])


def test_openvino_cannot_compile_again(packages: Path, tmp_path: Path) -> None:
    """Where OpenVINO's model has to be compiled again and is gone, runs fail and say so, until it is back."""
    path, image = tmp_path / "det.onnx", {"x": np.zeros((1, 3, 64, 64), np.float32)}
    whole = (packages / "rapidocr/models/PP-OCRv6_det_small.onnx").read_bytes()
    path.write_bytes(whole)
    session = backends.backend("openvino").load(path)
    path.unlink()
    for wrong in (np.zeros((2, 3, 33, 47), np.float32), image["x"]):
        with pytest.raises(RunError, match="openvino:CPU failed"):
            session.run({"x": wrong})
    path.write_bytes(whole)
    assert session.run(image)["fetch_name_0"].shape == (1, 1, 64, 64)
    path.unlink()
    session.close()
    with pytest.raises(RunError, match="closed"):
        session.run(image)


@pytest.mark.parametrize("dtype", ["str", "complex64"])
def test_refuses_dtypes_that_no_signature_has(onnx_backend: Backend, tmp_path: Path, dtype: str) -> None:
    """Strings and complex numbers are an ArtifactError when the model is loaded, not a surprise when it runs."""
    path = graph(tmp_path / "odd.onnx", [("Identity", "x", "y")], [("x", dtype, [2])], [("y", dtype, [2])])
    with pytest.raises(ArtifactError, match=r"odd\.onnx"):
        onnx_backend.load(path)


def test_stream_is_the_state_fed_by_hand(onnx_backend: Backend, packages: Path) -> None:
    """Over a hundred steps a stream's outputs and state are, bit by bit, those of feeding the state by hand."""
    path = packages / "silero_vad/data/silero_vad_openvino_16k.onnx"
    session = onnx_backend.load(path, signature=VAD, names=VAD_NAMES)
    stream, state, heard = session.stream(), np.zeros((2, 1, 128), np.float32), []
    for frame in frames(1):
        by_hand = session.run({**frame, "state": state})
        state = by_hand["stateN"]
        outputs = stream.run(frame)
        assert set(outputs) == {"speech"}
        np.testing.assert_array_equal(outputs["speech"], by_hand["speech"])
        np.testing.assert_array_equal(stream.state["state"], state)
        heard.append(float(outputs["speech"][0, 0]))
    assert len(set(heard)) > STEPS // 2


def test_streams_are_isolated_and_portable(onnx_backend: Backend, packages: Path) -> None:
    """Interleaved streams do not disturb each other; a state moves to a new stream; a reset stream begins anew."""
    path = packages / "silero_vad/data/silero_vad_openvino_16k.onnx"
    session = onnx_backend.load(path, signature=VAD, names=VAD_NAMES)

    def alone(seed: int) -> list[float]:
        stream = session.stream()
        return [float(stream.run(frame)["speech"][0, 0]) for frame in frames(seed)]

    one, two, heard_one, heard_two = session.stream(), session.stream(), [], []
    for i, (first, second) in enumerate(zip(frames(1), frames(2), strict=True)):
        if i == STEPS // 2:
            moved = session.stream()
            moved.state = one.state
            one = moved
        heard_one.append(float(one.run(first)["speech"][0, 0]))
        heard_two.append(float(two.run(second)["speech"][0, 0]))
    assert (heard_one, heard_two) == (alone(1), alone(2))
    one.reset()
    assert [float(one.run(frame)["speech"][0, 0]) for frame in frames(2)] == heard_two


def test_refuses_a_state_that_is_not_the_models(onnx_backend: Backend, packages: Path) -> None:
    """A state of another shape, dtype or name is an InputError, and the stream goes on with the state that it had."""
    path = packages / "silero_vad/data/silero_vad_openvino_16k.onnx"
    stream = onnx_backend.load(path, signature=VAD, names=VAD_NAMES).stream()
    stream.run(frames(1)[0])
    before = stream.state["state"]
    for wrong in ({"state": before[:1]}, {"state": before.astype(np.float64)}, {"memory": before}, {}):
        with pytest.raises(InputError):
            stream.state = wrong
    np.testing.assert_array_equal(stream.state["state"], before)


@pytest.mark.parametrize("name", ["silero_vad", "silero_vad_16k_op15", "silero_vad_half"])
def test_models_that_openvino_does_not_convert(packages: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Real models that ONNX Runtime loads and OpenVINO does not convert are an ArtifactError there, and silent."""
    path = packages / f"silero_vad/data/{name}.onnx"
    assert backends.backend("onnx").load(path).signature.outputs
    with pytest.raises(ArtifactError, match=rf"openvino does not load {name}\.onnx"):
        backends.backend("openvino").load(path)
    assert capfd.readouterr() == ("", "")


def test_loading_is_silent(onnx_backend: Backend, packages: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A model with initializers that nothing uses, of which ONNX Runtime would warn, loads without a word."""
    session = onnx_backend.load(packages / "silero_vad/data/silero_vad_op18_ifless.onnx")
    assert [spec.shape for spec in session.signature.inputs if spec.name == "sr"] == [()]
    assert capfd.readouterr() == ("", "")


def test_openvino_runs_its_own_format(packages: Path, tmp_path: Path) -> None:
    """A model saved as OpenVINO IR gives what its ONNX original gives; without its weights it is refused."""
    openvino = pytest.importorskip("openvino")
    path = packages / "silero_vad/data/silero_vad_openvino_16k.onnx"
    openvino.save_model(openvino.Core().read_model(path), tmp_path / "vad.xml", compress_to_fp16=False)
    backend = backends.backend("openvino")
    inputs = {"input": frames(3)[9]["frame"], "state": np.ones((2, 1, 128), np.float32)}
    expected = backend.load(path).run(inputs)
    for name, array in backend.load(tmp_path / "vad.xml").run(inputs).items():
        np.testing.assert_array_equal(array, expected[name])
    (tmp_path / "vad.bin").unlink()
    with pytest.raises(ArtifactError, match=r"vad\.xml"):
        backend.load(tmp_path / "vad.xml")


def test_openvino_refuses_hidden_state(packages: Path, tmp_path: Path) -> None:
    """A model that keeps its state inside would mix its callers' states: it is refused."""
    openvino = pytest.importorskip("openvino")
    from openvino.passes import MakeStateful, Manager

    model = openvino.Core().read_model(packages / "silero_vad/data/silero_vad_openvino_16k.onnx")
    manager = Manager()
    manager.register_pass(MakeStateful({"state": "stateN"}))
    manager.run_passes(model)
    openvino.save_model(model, tmp_path / "stateful.xml", compress_to_fp16=False)
    with pytest.raises(ArtifactError, match="hides its state"):
        backends.backend("openvino").load(tmp_path / "stateful.xml")


def test_openvino_refuses_integers_that_it_would_cut_off(tmp_path: Path) -> None:
    """OpenVINO computes 64-bit integers in 32 bits: values that do not fit are an error, values that fit are right."""
    path = graph(tmp_path / "sum.onnx", [("Add", "x x", "y")], [("x", "int64", [2])], [("y", "int64", [2])])
    session = backends.backend("openvino").load(path)
    assert session.run({"x": np.array([1 << 29, -(1 << 29)])})["y"].tolist() == [1 << 30, -(1 << 30)]
    for value in (1 << 31, -(1 << 31) - 1):
        with pytest.raises(RunError, match="'x' has values past 32 bits"):
            session.run({"x": np.array([0, value])})


def test_onnx_probe_is_a_model() -> None:
    """The bytes that a provider is tried with are a well-formed ONNX model."""
    model = onnx.load_from_string(onnx_file.PROBE)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Add"]


FALLBACK = """
import sys
import onnxruntime as ort
from edge_runtime.backends import onnx
from edge_runtime.values import Settings

try:
    onnx._session(ort, onnx.PROBE, "AzureExecutionProvider", Settings())
except Exception as error:
    print(error)
"""


def test_onnx_does_not_fall_back_to_the_cpu() -> None:
    """A session on a provider that takes none of the model's nodes is refused by the engine, not moved to the CPU."""
    done = subprocess.run([sys.executable, "-c", FALLBACK], capture_output=True, text=True, timeout=120, check=False)
    assert "fallback to CPU EP has been explicitly disabled" in done.stdout, done.stderr


OLDER = """
import sys
from importlib import metadata
from pathlib import Path
sys.modules["ai_edge_litert"] = None
sys.path.insert(0, sys.argv[1])
from edge_runtime import backends
from edge_runtime.errors import EngineMissingError

backend = backends.backend("tflite")
print([device.engine for device in backend.devices()])
try:
    backend.load(Path("model.tflite"))
except EngineMissingError as error:
    print(error)
"""


def test_tflite_runtime_is_tried_before_it_is_trusted(tmp_path: Path) -> None:
    """A tflite-runtime that fails at its first model, as its wheels do with numpy 2, counts as not installed."""
    (tmp_path / "tflite_runtime").mkdir()
    (tmp_path / "tflite_runtime/__init__.py").touch()
    (tmp_path / "tflite_runtime/interpreter.py").write_text(
        "class Interpreter:\n    def __init__(self, model_content):\n        raise SystemError('_ARRAY_API not found')\n"
    )
    command = [sys.executable, "-c", OLDER, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    devices, message = done.stdout.splitlines()
    assert devices == "[]"
    assert message.startswith("tflite-runtime is installed but fails with numpy")
    assert "edge-runtime[tflite]" in message

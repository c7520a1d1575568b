"""What all backends share: an artifact's signature against the manifest's, the errors of a run, and streams."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.backends import base, onnx, openvino_engine
from edge_runtime.errors import ArtifactError, BackendError, InputError, RunError
from edge_runtime.signature import Signature, StatePair, TensorSpec
from edge_runtime.values import Array, Device, Settings, Tensors
from tests.doubles import COUNTER, DOUBLE, PythonSession

FILE = Path("folder/model.onnx")


class Summing:
    """A session of a model with a dynamic batch and two states: a running sum, and a count of the steps."""

    signature = Signature(
        inputs=(
            TensorSpec("x", "int64", ("N",)), TensorSpec("sum", "int64", ("N",)), TensorSpec("count", "int64", ()),
        ),
        outputs=(
            TensorSpec("y", "int64", ("N",)), TensorSpec("sum'", "int64", ("N",)), TensorSpec("count'", "int64", ()),
        ),
        state=(StatePair("sum", "sum'"), StatePair("count", "count'")),
    )  # fmt: skip
    device = Device("python", "CPU")

    def run(self, inputs: Tensors) -> dict[str, Array]:
        if (inputs["x"] < 0).any():
            raise RunError("it takes no negative numbers")
        total, steps = inputs["sum"] + inputs["x"], inputs["count"] + 1
        return {"y": total * steps, "sum'": total, "count'": np.asarray(steps)}

    def stream(self) -> base.Stream:
        return base.StateStream(self)

    def close(self) -> None:
        pass


def step(stream: base.Stream, *numbers: int) -> list[int]:
    """Run one step, and see that only the stateless output comes back."""
    outputs = stream.run({"x": np.array(numbers)})
    assert set(outputs) == {"y"}
    result: list[int] = outputs["y"].tolist()
    return result


def test_dimensions_without_a_symbol_get_names_of_their_own() -> None:
    """Unknown sizes get names that neither another unknown size nor a symbol of the artifact has."""
    found = base.told(FILE, [("x", "float32", [None, 3, "?"])], [("y", "int8", ["N0", "", "height"])])
    assert found.inputs == (TensorSpec("x", "float32", ("N1", 3, "N2")),)
    assert found.outputs == (TensorSpec("y", "int8", ("N0", "N3", "height")),)


@pytest.mark.parametrize(
    "rows",
    [[], [("x", "string", [1])], [("x", "float32", [0])], [("", "float32", [1])], [("x", "int8", [1])] * 2],
    ids=["no tensors", "a string", "an empty dimension", "no name", "the same name twice"],
)
def test_artifacts_that_no_signature_fits(rows: list[base.Told]) -> None:
    """What an engine tells and a signature cannot say is an ArtifactError that names the file."""
    with pytest.raises(ArtifactError, match=r"model\.onnx cannot be used"):
        base.told(FILE, rows, [("y", "float32", [1])])


def spec(name: str, *shape: int | str, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name, dtype, shape)


FOUND = Signature((spec("in", "N0", 3), spec("mask", 1)), (spec("out", 2), spec("more"), spec("scale")))


def test_without_a_manifest_the_artifact_speaks() -> None:
    """The artifact's own signature is the session's when there is no other."""
    assert base.reconcile(FILE, FOUND, None, None) == FOUND


def test_manifest_that_fits() -> None:
    """A manifest may rename tensors, leave outputs out, fix or name dynamic sizes, and know a rank that is not told."""
    wanted = Signature((spec("mask", 1), spec("image", "batch", 3)), (spec("boxes", 2), spec("more", 4, 5)))
    assert base.reconcile(FILE, FOUND, wanted, {"image": "in", "boxes": "out"}) == wanted
    assert base.reconcile(FILE, FOUND, Signature((spec("in", 7, 3), spec("mask", 1)), (spec("out", "k"),)), {})


@pytest.mark.parametrize(
    ("inputs", "outputs", "told"),
    [
        ((spec("in", "N", 3),), (spec("out", 2),), "inputs that the manifest does not name: mask"),
        ((spec("in", "N", 3), spec("mask", 1), spec("x", 1)), (spec("out", 2),), "no input 'x'; it has in, mask"),
        ((spec("in", "N", 3), spec("mask", 1)), (spec("y", 2),), "no output 'y'; it has more, out, scale"),
        ((spec("in", "N", 3, dtype="int8"), spec("mask", 1)), (spec("out", 2),), "the manifest says int8"),
        ((spec("in", "N"), spec("mask", 1)), (spec("out", 2),), r"'in' is float32 \['N0', 3\]; the manifest says"),
        ((spec("in", "N", 4), spec("mask", 1)), (spec("out", 2),), "'in' has a dimension 3; the manifest says 4"),
        ((spec("in", "N", 3), spec("mask", "M")), (spec("out", 2),), r"fixed dimension 1; .* lets it vary \(M\)"),
        ((spec("in", "N", 3), spec("mask", 1)), (spec("out", 3),), "output 'out' has a dimension 2"),
    ],
)
def test_manifest_that_does_not_fit(inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], told: str) -> None:
    """Each way in which an artifact is not what its manifest says is an ArtifactError that says which."""
    with pytest.raises(ArtifactError, match=told):
        base.reconcile(FILE, FOUND, Signature(inputs, outputs), None)


def test_names_of_the_artifact() -> None:
    """A name that is not mapped is the artifact's own; the order is the signature's."""
    assert base.own_names(FOUND.inputs, {"mask": "m", "other": "o"}) == [("in", "in"), ("mask", "m")]
    assert base.own_names(FOUND.inputs, None) == [("in", "in"), ("mask", "mask")]


def test_settings_that_would_not_be_obeyed() -> None:
    """What a backend has is taken on the device that has it; the rest is refused, and says what there is."""
    obeyed = {"threads": "CPU", "fixed": ""}
    for device, settings in (
        ("NPU", Settings()), ("CPU", Settings(threads=1)), ("NPU", Settings(fixed=(("N", 2),))),
    ):  # fmt: skip
        base.check_settings("made-up", device, settings, obeyed)
    for device, settings, told in (
        ("CPU", Settings(threads=0), "threads=0: give 1 or more"),
        ("CPU", Settings(threads=-2), "threads=-2: give 1 or more"),
        ("CUDA", Settings(threads=2), "CUDA has no such setting"),
        ("CPU", Settings(spinning=False), "spinning=False is no setting of made-up; it has threads, fixed"),
        ("CPU", Settings(resident=True), "resident=True is no setting of made-up"),
    ):
        with pytest.raises(BackendError, match=told):
            base.check_settings("made-up", device, settings, obeyed)


def test_no_state_to_keep_resident() -> None:
    """A model without a state that can be seen has none to be kept in the engine's memory."""
    base.refuse_stateless(Summing.signature, Settings(resident=True))
    base.refuse_stateless(FOUND, Settings())
    with pytest.raises(BackendError, match="no recurrent state"):
        base.refuse_stateless(FOUND, Settings(resident=True))


@pytest.mark.parametrize(
    ("cores", "counts"), [(1, (1,)), (2, (1, 2)), (3, (1, 2, 3)), (4, (1, 2, 4)), (6, (1, 2, 4, 6)), (8, (1, 2, 4, 8))]
)
def test_thread_counts(cores: int, counts: tuple[int, ...]) -> None:
    """They double up to the number of cores, which is one of them; the few are the first and the last."""
    assert base.thread_counts(cores) == counts
    assert base.few_or_all(cores) == tuple(dict.fromkeys((counts[0], counts[-1])))


def test_driver_below_onnx(tmp_path: Path) -> None:
    """Devices of Nvidia's tell the version of the kernel's module; others, and systems without it, tell nothing."""
    version = tmp_path / "version"
    assert onnx.driver("CUDA", version) == ""
    version.write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC 12.2.0\n"
    )
    assert [onnx.driver(name, version) for name in ("CUDA", "Tensorrt", "CPU")] == ["nvidia 550.54.15"] * 2 + [""]


class Properties:
    """An engine's devices with a driver that tells its version, with none, and with one that fails to."""

    def get_property(self, device: str, name: str) -> object:
        told: dict[str, dict[str, object]] = {
            "NPU": {"SUPPORTED_PROPERTIES": {"NPU_DRIVER_VERSION": "RO"}, "NPU_DRIVER_VERSION": 1688},
            "CPU": {"SUPPORTED_PROPERTIES": {"NUM_STREAMS": "RW"}},
            "GPU.0": {"SUPPORTED_PROPERTIES": {"GPU_DRIVER_VERSION": "RO"}},
        }
        return told[device][name]


def test_driver_below_openvino() -> None:
    """It is asked of the engine where the device has such a property, and is nothing where that does not work."""
    assert [openvino_engine.driver(Properties(), name) for name in ("NPU", "CPU", "GPU.0")] == ["npu 1688", "", ""]


@given(st.text())
def test_error_of_a_run(words: str) -> None:
    """The engine's message comes on one line behind the device; that of a closed session says what to do instead."""
    device = Device("onnx", "CPU")
    message = str(base.run_error(device, ValueError(words)))
    assert message.startswith("onnx:CPU failed: ")
    assert len(message.splitlines()) == 1
    assert "load the model again" in str(base.closed_error(device))


def test_stream_carries_every_state() -> None:
    """Each state goes from the output of one step to the input of the next, from zeros of the batch's size on."""
    stream = Summing().stream()
    assert [step(stream, 1, 2), step(stream, 1, 2), step(stream, 0, 1)] == [[1, 2], [4, 8], [6, 15]]
    assert {name: array.tolist() for name, array in stream.state.items()} == {"sum": [2, 5], "count": 3}


@given(st.lists(st.integers(0, 9), max_size=8), st.lists(st.integers(0, 9), max_size=8))
def test_state_moves_to_another_stream(before: list[int], after: list[int]) -> None:
    """A stream that was given another's state goes on as the other does, and neither disturbs the other."""
    session = Summing()
    whole, first, second = session.stream(), session.stream(), session.stream()
    step(second, 9)
    expected = [step(whole, number) for number in (1, *before, *after)]
    heard = [step(first, number) for number in (1, *before)]
    second.state = first.state
    step(first, 5)
    assert heard + [step(second, number) for number in after] == expected


def test_state_is_a_copy() -> None:
    """Writing into a state that was read, or that was given, does not change the stream."""
    stream = Summing().stream()
    step(stream, 3)
    stream.state["sum"][:] = 100
    mine = stream.state
    stream.state = mine
    mine["sum"][:] = 100
    assert step(stream, 0) == [6]


def test_state_before_the_first_step() -> None:
    """A new stream's state is zeros; with a dynamic size it is not known before the first step, which is an InputError."""
    assert PythonSession(COUNTER).stream().state["s"].tolist() == [0]
    with pytest.raises(InputError, match="no size is known for its dimension 'N'"):
        _ = Summing().stream().state


def test_state_that_is_not_the_models() -> None:
    """A state with wrong names, dtypes or shapes is an InputError and leaves the stream as it was."""
    stream = Summing().stream()
    step(stream, 3)
    right = stream.state
    wrong: tuple[dict[str, Array], ...] = (
        {}, {**right, "x": right["sum"]}, {"sum": right["sum"]}, {**right, "count": np.zeros(2, np.int64)},
        {**right, "sum": right["sum"].astype(np.int32)},
    )  # fmt: skip
    for state in wrong:
        with pytest.raises(InputError):
            stream.state = state
    assert step(stream, 1) == [8]


def test_failed_step_keeps_the_state() -> None:
    """A step in which the engine failed can be repeated: the state is that of before."""
    stream = Summing().stream()
    step(stream, 3)
    with pytest.raises(RunError):
        step(stream, -1)
    assert step(stream, 1) == [8]


def test_reset_stream() -> None:
    """A reset stream begins as a new one does, at any batch size."""
    stream = Summing().stream()
    step(stream, 3, 4)
    stream.reset()
    assert step(stream, 3) == [3]


def test_model_without_state() -> None:
    """A model without state has no stream."""
    with pytest.raises(InputError, match="no recurrent state"):
        PythonSession(DOUBLE).stream()

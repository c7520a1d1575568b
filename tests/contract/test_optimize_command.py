"""`edge-runtime optimize`: data with labels, a user's accuracy function, a model's file alone, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_runtime.bundles.bundle import Bundle, read_bundle
from edge_runtime.bundles.manifest import MANIFEST, encode
from edge_runtime.cli import main
from edge_runtime.engines import open_variant
from edge_runtime.errors import InputError
from edge_runtime.optimize import by_labels, digest, load_data
from edge_runtime.values import Array
from tests.bundles import file_of
from tests.contract import test_optimize as dynamic
from tests.contract import test_optimize_tflite as convolutional

COUNT = 160
FUNCTIONS = """
import numpy as np

def accuracy(session, samples):
    return np.mean([session.run({"x": one["x"]})["y"].argmax() == one["label"] for one in samples])

def fails(session, samples):
    raise LookupError("no such line")

text = "accuracy"
"""


@pytest.fixture
def net(tmp_path: Path) -> Bundle:
    """A convolutional net in two formats."""
    return convolutional.bundle(tmp_path / "net", "onnx", "tflite")


def labelled(net: Bundle) -> tuple[Array, Array]:
    """Inputs, and the class that fp32 says of each: its accuracy is 1."""
    inputs = convolutional.samples(COUNT)
    session = open_variant(net, net.manifest.variants[0], "onnx")
    classes = [session.run(sample)["y"].argmax() for sample in inputs]
    return np.stack([sample["x"] for sample in inputs]), np.asarray(classes, np.int64)


def call(model: Path, data: Path, out: Path, *more: str) -> int:
    """The command's exit status."""
    return main(["optimize", str(model), "--calibrate", str(data), "--out", str(out), *more])


def error(capsys: pytest.CaptureFixture[str]) -> str:
    """What was told on stderr, in one line."""
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    return told


def test_labels(tmp_path: Path, net: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    """With labels the accuracy decides; the manifest has it, for fp32 too, with the digest of the held-out data."""
    inputs, labels = labelled(net)
    np.savez(tmp_path / "data.npz", x=inputs, label=labels)
    assert call(net.folder, tmp_path / "data.npz", tmp_path / "new", "--max-drop", "0.03", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["variant"] for row in told["originals"]] == ["fp32-onnx", "fp32-tflite"]
    assert all(verdict["accuracy"]["value"] == 1 for row in told["originals"] for verdict in row["verdicts"])
    assert len(told["variants"]) == 6
    for row in told["variants"]:
        assert row["admitted"] == (min(verdict["accuracy"]["value"] for verdict in row["verdicts"]) >= 0.97)
    made = read_bundle(tmp_path / "new").manifest
    held = [*inputs[-COUNT // 4 :], labels[-COUNT // 4 :]]
    for variant in made.variants:
        assert variant.accuracy is not None
        assert variant.accuracy.metric == "accuracy"
        assert variant.accuracy.data == f"{COUNT // 4} held-out samples of {COUNT}"
        assert variant.accuracy.digest == digest(held)
    assert made.version == "1.0+int8"


def test_labels_are_read_and_told(tmp_path: Path, net: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    """From a folder of files, and in plain text a line for each figure; an accuracy of 0 is kept as well."""
    inputs, labels = labelled(net)
    (tmp_path / "data").mkdir()
    for number in range(0, COUNT, 40):
        np.savez(tmp_path / "data" / f"{number:03}.npz", x=inputs[number : number + 40], label=labels[number : number + 40])
    np.savez(tmp_path / "data" / "900.npz", x=inputs[0], label=labels[0])
    data = load_data(tmp_path / "data", net.manifest.signature.inputs)
    assert data.labels == (*labels.tolist(), labels[0])
    wrong = (labels + 1) % 4
    np.savez(tmp_path / "wrong.npz", x=inputs, label=wrong)
    assert call(net.folder, tmp_path / "wrong.npz", tmp_path / "new", "--only", "fp32-openvino") == 0
    lines = capsys.readouterr().out.splitlines()
    engines = ("fp32-onnx on onnxruntime", "fp32-onnx on openvino", "fp32-tflite on ai-edge-litert")
    for line, engine in zip(lines, engines, strict=False):
        assert line.startswith(engine)
        assert line.endswith(": accuracy 0")
    assert lines[3].startswith("fp32-openvino admitted on openvino")
    assert lines[4:] == [f"written to {tmp_path / 'new'}"]


@pytest.mark.parametrize(
    ("label", "says"),
    [
        (np.zeros(5, np.int64), "16 samples and 5 labels"),
        (np.zeros(16, np.float32), "'label' is float32 [16]"),
        (np.zeros((16, 2), np.int64), "'label' is int64 [16, 2]"),
        (np.full(16, 4), "label 1 of 4 is 4; the classes of 'y' are from 0 to 3"),
        (np.full(16, -1), "label 1 of 4 is -1"),
    ],
)
def test_labels_that_do_not_fit(
    tmp_path: Path, net: Bundle, capsys: pytest.CaptureFixture[str], label: Array, says: str
) -> None:
    """Too few, no integers, more than one for a sample, and classes that are none: exit status 2, nothing written."""
    np.savez(tmp_path / "data.npz", x=np.zeros((16, *convolutional.SHAPE), np.float32), label=label)
    assert call(net.folder, tmp_path / "data.npz", tmp_path / "new") == 2
    assert says in error(capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.npz", "net"]


def test_labels_of_some_files_only(tmp_path: Path, net: Bundle) -> None:
    """The file without them is named."""
    sample = np.zeros(convolutional.SHAPE, np.float32)
    np.savez(tmp_path / "a.npz", x=sample, label=1)
    np.savez(tmp_path / "b.npz", x=sample)
    with pytest.raises(InputError, match=r"b\.npz has no array 'label'"):
        load_data(tmp_path, net.manifest.signature.inputs)


@pytest.mark.parametrize(("words", "fits"), [(b"a\nb\nc\nd\n", True), (b"a\nb\nc\n", False)])
def test_a_file_of_labels_that_does_not_match(tmp_path: Path, net: Bundle, words: bytes, fits: bool) -> None:
    """The bundle's labels must be as many as the output has classes."""
    (net.folder / "labels.txt").write_bytes(words)
    manifest = msgspec.structs.replace(net.manifest, labels=file_of("labels.txt", words))
    (net.folder / MANIFEST).write_bytes(encode(manifest))
    np.savez(tmp_path / "data.npz", x=np.zeros((8, *convolutional.SHAPE), np.float32), label=np.zeros(8, np.int64))
    data = load_data(tmp_path / "data.npz", net.manifest.signature.inputs)
    if fits:
        assert by_labels(read_bundle(net.folder), data, "d").metric == "accuracy"
        return
    with pytest.raises(InputError, match="3 labels in its file of labels, and 4 classes in its output 'y'"):
        by_labels(read_bundle(net.folder), data, "d")


def test_a_function_of_the_user(
    tmp_path: Path, net: Bundle, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is found in the folder that the command runs in, given the held-out samples with their labels, and its figure
    decides."""
    (tmp_path / "my_accuracy.py").write_text(FUNCTIONS)
    monkeypatch.chdir(tmp_path)
    inputs, labels = labelled(net)
    np.savez(tmp_path / "data.npz", x=inputs, label=labels)
    chosen = ("--only", "fp32-openvino", "--accuracy")
    assert call(net.folder, tmp_path / "data.npz", tmp_path / "new", *chosen, "my_accuracy:accuracy") == 0
    accuracy = read_bundle(tmp_path / "new").manifest.variant("fp32-openvino").accuracy
    assert accuracy is not None
    assert (accuracy.metric, accuracy.value) == ("my_accuracy:accuracy", 1)
    capsys.readouterr()
    for function, says in (
        ("my_accuracy:fails", "LookupError: no such line"),
        ("my_accuracy:text", "is a str: name a function"),
        ("my_accuracy:nothing", "AttributeError"),
        ("no_such_module:accuracy", "ModuleNotFoundError"),
        ("my_accuracy", "write MODULE:FUNCTION"),
    ):
        assert call(net.folder, tmp_path / "data.npz", tmp_path / "newer", *chosen, function) == 2
        assert says in error(capsys)
    assert not (tmp_path / "newer").exists()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--max-drop", "0.01"), "no accuracy to hold --max-drop against"),
        (("--tolerance", "-1"), "tolerance of -1"),
        (("--prune", "1.5"), "share of 1.5"),
        (("--only", "int4"), "int4: there is no such variant"),
    ],
)
def test_wrong_use(
    tmp_path: Path, net: Bundle, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], says: str
) -> None:
    """Options that contradict the data or themselves are exit status 2."""
    np.savez(tmp_path / "data.npz", x=np.zeros((8, *convolutional.SHAPE), np.float32))
    assert call(net.folder, tmp_path / "data.npz", tmp_path / "new", *more) == 2
    assert says in error(capsys)


def test_a_file_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of an .onnx or .tflite file a bundle is made: named like it, with its engine's signature and the data's sizes."""
    path = dynamic.net(tmp_path / "My Net.v2.onnx")
    np.savez(tmp_path / "data.npz", x=np.stack([np.repeat(sample["image"], 2, 0) for sample in dynamic.samples(16)]))
    assert call(path, tmp_path / "data.npz", tmp_path / "new", "--only", "int8-onnx", "--version", "2.0") == 0
    made = read_bundle(tmp_path / "new").manifest
    assert (made.name, made.version, made.sizes) == ("my-net-v2", "2.0", {"N": 2})
    assert [variant.name for variant in made.variants] == ["fp32-onnx", "int8-onnx"]
    (tmp_path / "net.tflite").write_bytes(convolutional.tflite_net())
    np.savez(tmp_path / "others.npz", x=np.stack([sample["x"] for sample in convolutional.samples(32)]))
    assert call(tmp_path / "net.tflite", tmp_path / "others.npz", tmp_path / "newer", "--tolerance", "0.2") == 0
    assert [variant.name for variant in read_bundle(tmp_path / "newer").manifest.variants] == [
        "fp32-tflite",
        "int8-tflite",
        "int8-tflite-static",
    ]
    capsys.readouterr()
    (tmp_path / "noise.onnx").write_bytes(b"\x07noise")
    assert call(tmp_path / "noise.onnx", tmp_path / "data.npz", tmp_path / "newest") == 4
    assert "noise" in error(capsys)
    assert call(tmp_path / "nothing.onnx", tmp_path / "data.npz", tmp_path / "newest") == 3
    assert "nothing.onnx" in error(capsys)
    assert not (tmp_path / "newest").exists()

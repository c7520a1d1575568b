"""Golden samples: what is written comes back, the same bytes each time, and only what is the model's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_runtime.bundles import golden
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.errors import BundleError
from edge_runtime.values import Array, Tensors
from tests.bundles import SIGNATURE, file_of, manifest_of

INPUTS: list[Tensors] = [{"x": np.full((1, 2), number, np.float32)} for number in range(3)]
OUTPUTS: list[Tensors] = [{"y": sample["x"] * 2} for sample in INPUTS]


def bundle(folder: Path) -> Bundle:
    """A bundle of that file."""
    file = file_of("golden.npz", (folder / "golden.npz").read_bytes())
    return Bundle(msgspec.structs.replace(manifest_of(), golden=file), folder)


def test_samples_come_back(tmp_path: Path) -> None:
    """One by one, in their order."""
    golden.write(tmp_path / "golden.npz", SIGNATURE, INPUTS, OUTPUTS)
    inputs, outputs = golden.load(bundle(tmp_path))
    assert [sample["x"].tolist() for sample in inputs] == [sample["x"].tolist() for sample in INPUTS]
    assert [sample["y"].tolist() for sample in outputs] == [sample["y"].tolist() for sample in OUTPUTS]


def test_the_same_samples_are_the_same_bytes(tmp_path: Path) -> None:
    """Whenever, wherever and in whichever order of names they are written: a bundle built twice has one digest."""
    golden.write(tmp_path / "a.npz", SIGNATURE, INPUTS, OUTPUTS)
    turned: list[Tensors] = [{"x": np.asfortranarray(sample["x"])} for sample in INPUTS]
    golden.write(tmp_path / "b.npz", SIGNATURE, turned, OUTPUTS)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert b"\x00\x00\x21\x00" in (tmp_path / "a.npz").read_bytes()  # midnight, 1 January 1980


def test_a_bundle_without_any_says_so(tmp_path: Path) -> None:
    """By its name and version."""
    with pytest.raises(BundleError, match=r"double 1\.0 has no golden inputs"):
        golden.load(Bundle(manifest_of(), tmp_path))


@pytest.mark.parametrize(
    ("inputs", "outputs", "says"),
    [
        ([], [], "0 golden inputs"),
        (INPUTS, OUTPUTS[:2], "3 golden inputs and 2 outputs"),
        ([{"z": np.zeros((1, 2))}], OUTPUTS[:1], "sample 1 has z, not x"),
        ([*INPUTS[:2], {"x": np.zeros((2, 2), np.float32)}], OUTPUTS, "different shapes"),
        ([{"x": np.zeros((1, 3), np.float32)}], OUTPUTS[:1], r"'x' are float32 \[1, 3\]; the model has x float32 \[N, 2\]"),
        ([{"x": np.zeros((1, 2))}], OUTPUTS[:1], "'x' are float64"),
        ([{"x": np.zeros((2, 2), np.float32)}], OUTPUTS[:1], "'y' are float32"),
        ([{"x": np.full((1, 2), np.nan, np.float32)}], OUTPUTS[:1], "NaN"),
    ],
)
def test_what_is_not_the_models_is_not_written(
    tmp_path: Path, inputs: list[Tensors], outputs: list[Tensors], says: str
) -> None:
    """None, too few, other names, shapes and dtypes, a size that differs between input and output, NaN."""
    with pytest.raises(BundleError, match=says):
        golden.write(tmp_path / "golden.npz", SIGNATURE, inputs, outputs)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": np.zeros((2, 1, 2), np.float32)}, "samples of x; the model has x, y"),
        ({"x": np.zeros((2, 1, 2), np.float32), "y": np.zeros((3, 1, 2), np.float32)}, "different numbers of samples"),
        ({"x": np.zeros((0, 1, 2), np.float32), "y": np.zeros((0, 1, 2), np.float32)}, "or none"),
        ({"x": np.float32(1), "y": np.float32(1)}, "or none"),
        ({"x": np.zeros((2, 1, 2), np.int8), "y": np.zeros((2, 1, 2), np.float32)}, "'x' are int8"),
    ],
)
def test_a_file_of_other_samples_is_refused(tmp_path: Path, arrays: dict[str, Array], says: str) -> None:
    """With its path, and what does not fit."""
    np.savez(tmp_path / "golden.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(BundleError, match=rf"golden\.npz: .*{says}"):
        golden.load(bundle(tmp_path))


@pytest.mark.parametrize("data", [b"", b"PK\3\4 and no more", b"text"])
def test_a_damaged_file_is_refused(tmp_path: Path, data: bytes) -> None:
    """One error that names it."""
    (tmp_path / "golden.npz").write_bytes(data)
    with pytest.raises(BundleError, match=r"golden\.npz"):
        golden.load(bundle(tmp_path))


def test_the_distance_is_relative_and_of_the_worst_tensor() -> None:
    """The root mean square of the difference over that of what is right; nothing where all is right."""
    right = [{"a": np.array([3.0, 4.0]), "b": np.ones(2)}, {"a": np.zeros(2), "b": np.ones(2)}]
    inputs = [{"x": np.array([0])}, {"x": np.array([1])}]

    def off(by: float) -> Callable[[Tensors], Tensors]:
        return lambda sample: {"a": right[int(sample["x"][0])]["a"], "b": right[int(sample["x"][0])]["b"] + by}

    assert golden.distance(off(0.0), inputs, right) == 0.0
    assert golden.distance(off(0.1), inputs, right) == pytest.approx(0.1)


@pytest.mark.parametrize("wrong", [np.array([np.nan, 1.0]), np.array([np.inf, 1.0]), np.ones(3)])
def test_what_is_broken_is_infinitely_far(wrong: Array) -> None:
    """NaN, infinity, and another shape: no tolerance is wide enough. So is anything, where nothing but zeros is right."""
    assert golden.relative_error([np.ones(2)], [wrong]) == float("inf")
    assert golden.relative_error([np.zeros(2)], [np.ones(2)]) == float("inf")
    assert golden.relative_error([np.zeros(2)], [np.zeros(2)]) == 0.0

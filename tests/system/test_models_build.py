"""The zoo: bundles made from packages, the same every time, and only from the files that the recipes know."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

from edge_runtime import backends
from edge_runtime.bundles.store import Store
from edge_runtime.engines import open_variant
from edge_runtime.errors import ArtifactError, BundleError, DigestError
from models import __main__ as command
from models import recipe as recipes
from models.build import BUILT as BUILT_WITH
from models.build import build
from models.make import one_by_one
from models.pipelines.sources import PAGE
from models.recipe import Recipe
from models.trained import train

BUILT = tuple(name for name in recipes.names() if recipes.load(name).trained is None)
"""Those that are made of packages."""


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "store", create=True)


@pytest.fixture
def few(tmp_path: Path, packages: Path) -> Path:
    """A packages' folder of one's own, to damage, with silero-vad alone."""
    folder = tmp_path / "packages"
    for part in ("silero_vad/data", "silero_vad-6.2.3.dist-info"):
        shutil.copytree(packages / part, folder / part)
    return folder


@pytest.fixture
def plain() -> Recipe:
    """A model that is built in no time: without int8."""
    return msgspec.structs.replace(recipes.load("silero_vad"), int8=None)


def test_the_zoo(store: Store) -> None:
    """Every model is there, active and whole, with a licence and a source."""
    assert store.names() == recipes.names()
    for name in store.names():
        bundle = store.bundle(name)
        store.verify(bundle)
        assert bundle.manifest.licence
        assert bundle.manifest.source is not None
        assert bundle.manifest.source.version


@pytest.mark.parametrize("name", BUILT)
def test_every_variant_runs(store: Store, name: str) -> None:
    """Each variant loads under the signature's names on each engine that takes its format, and gives finite outputs."""
    bundle = store.bundle(name)
    signature, sizes = bundle.manifest.signature, bundle.manifest.sizes
    inputs = {spec.name: np.zeros(spec.sized(sizes), spec.dtype) for spec in signature.inputs}
    for variant in bundle.manifest.variants:
        for engine in backends.NAMES:
            if variant.format not in backends.backend(engine).formats:
                continue
            session = open_variant(bundle, variant, engine)
            outputs = one_by_one(session)(inputs)
            session.close()
            for spec in signature.outputs:
                assert outputs[spec.name].shape == spec.sized(sizes)
                assert np.isfinite(outputs[spec.name]).all()


@pytest.mark.parametrize("name", ["basic_pitch", "ppocr_det", "ppocr_rec"])
def test_int8_is_there_with_its_accuracy(store: Store, name: str) -> None:
    """The models that stay right have int8 in each format that the package carries, which says on what data it was judged,
    and how."""
    int8 = [variant for variant in store.bundle(name).manifest.variants if variant.precision == "int8"]
    assert {variant.format for variant in int8} >= {part.format for part in recipes.load(name).variants}
    for variant in int8:
        assert variant.accuracy is not None
        assert variant.accuracy.metric
        assert "none of which it was calibrated" in variant.accuracy.data


def test_the_test_page_calibrates_nothing(packages: Path) -> None:
    """No recipe makes its int8 variant from the page that the demonstration reads."""
    for name in recipes.names():
        assert all(PAGE not in carried.files for carried in recipes.load(name).carried)


def test_labels(store: Store, packages: Path) -> None:
    """The reader's labels are the characters of its own metadata, after the blank and before the space."""
    labels = store.bundle("ppocr_rec").labels()
    model = onnx.load(str(packages / "rapidocr/models/PP-OCRv6_rec_small.onnx"))
    characters = {row.key: row.value for row in model.metadata_props}["character"].split("\n")
    assert labels == ("", *characters, " ")
    assert len(labels) == store.bundle("ppocr_rec").manifest.signature.outputs[0].shape[-1]


def test_classes_are_the_labels(packages: Path, empty: Store, plain: Recipe) -> None:
    """Those of a recipe that writes them down, one a line; a line end in one, or labels beside them, is refused."""
    named = msgspec.structs.replace(plain, version="2.0", classes=("speech",))
    bundle = build(named, packages, empty).bundle
    assert bundle.labels() == ("speech",)
    assert bundle.manifest.processing == plain.processing
    empty.verify(bundle)
    with pytest.raises(ValueError, match="line end"):
        msgspec.structs.replace(plain, classes=("a\nb",)).__post_init__()
    with pytest.raises(ValueError, match="not both"):
        msgspec.structs.replace(recipes.load("ppocr_rec"), classes=("a",)).__post_init__()


def test_what_is_there_is_left_alone(packages: Path, empty: Store, plain: Recipe) -> None:
    """A second build changes nothing, unless the bundle in the store is damaged."""
    bundle = build(plain, packages, empty).bundle
    assert not build(plain, packages, empty).fresh
    (bundle.folder / bundle.manifest.files[0].path).write_bytes(b"")
    assert build(plain, packages, empty).fresh
    empty.verify(bundle)


def test_a_changed_calibration_is_noticed(packages: Path, store: Store) -> None:
    """A bundle with int8 that was built with other code is built again, and stays if nothing came out different: it has the
    same digest each time."""
    digest = store.bundle("basic_pitch").digest
    (store.path / "basic_pitch" / BUILT_WITH).unlink()
    built = build(recipes.load("basic_pitch"), packages, store)
    assert (built.fresh, built.bundle.digest) == (True, digest)
    assert [trial.variant for trial in built.trials if trial.admitted] == ["fp32-openvino", "int8-onnx", "int8-tflite"]
    assert not build(recipes.load("basic_pitch"), packages, store).fresh


def test_a_changed_recipe_needs_a_new_version(packages: Path, empty: Store, plain: Recipe) -> None:
    """What is in the store is not taken for what another recipe makes under the same version."""
    build(plain, packages, empty)
    changed = msgspec.structs.replace(plain, task="something else")
    with pytest.raises(BundleError, match="give a changed bundle a new version"):
        build(changed, packages, empty)
    assert build(msgspec.structs.replace(changed, version="2.0"), packages, empty).fresh
    assert empty.active("silero_vad") == "2.0"


def test_a_refused_int8(packages: Path, empty: Store) -> None:
    """An int8 variant that does not pass is left out, with the figures, and the rest of the bundle is installed."""
    recipe = recipes.load("basic_pitch")
    assert recipe.int8 is not None
    ways = ("int8-onnx", "int8-tflite")
    strict = msgspec.structs.replace(recipe, int8=msgspec.structs.replace(recipe.int8, tolerance=1e-6, ways=ways))
    built = build(strict, packages, empty)
    assert [variant.name for variant in built.bundle.manifest.variants] == ["fp32-onnx", "fp32-tflite"]
    assert [trial.variant for trial in built.trials] == ["int8-onnx", "int8-tflite"]
    verdicts = [verdict for trial in built.trials for verdict in trial.verdicts]
    assert len(verdicts) == 3
    assert all(verdict.accuracy.value > 1e-6 and not verdict.admitted for verdict in verdicts)


def test_a_changed_file(few: Path, empty: Store) -> None:
    """A file that is not the one that the recipe was written for is refused, by its package."""
    path = few / "silero_vad/data/silero_vad_openvino_16k.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(DigestError, match=r"is not silero-vad 6\.2\.3's .*pip install"):
        build(recipes.load("silero_vad"), few, empty)
    path.unlink()
    with pytest.raises(BundleError, match=r"cannot be read \(No such file or directory\): pip install"):
        build(recipes.load("silero_vad"), few, empty)
    assert empty.names() == ()


def test_a_missing_package(few: Path, empty: Store, tmp_path: Path) -> None:
    """A package that is missing, or is another version, is named with the command that installs it."""
    with pytest.raises(BundleError, match=r"rapidocr 3\.10\.0 is needed in .*, which is not there: pip install"):
        build(recipes.load("ppocr_rec"), few, empty)
    metadata = few / "silero_vad-6.2.3.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("Version: 6.2.3", "Version: 5.0"))
    with pytest.raises(BundleError, match=r"silero-vad 6\.2\.3 is needed in .*, where 5\.0 is"):
        build(recipes.load("silero_vad"), few, empty)
    with pytest.raises(BundleError, match="which is not there"):
        build(recipes.load("silero_vad"), tmp_path / "nowhere", empty)


def test_bad_recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe with an unknown field, without a version, not TOML, or for another model is refused by its path."""
    text = (recipes.HERE / "silero_vad" / "recipe.toml").read_text()
    monkeypatch.setattr(recipes, "HERE", tmp_path)
    (tmp_path / "odd").mkdir()
    for bad in (f"colour = 1\n{text}", text.replace('version = "1.1"', ""), "= 3", text):
        (tmp_path / "odd" / "recipe.toml").write_text(bad)
        with pytest.raises(BundleError, match=r"odd/recipe\.toml"):
            recipes.load("odd")
    with pytest.raises(BundleError, match="there is no recipe for 'even'; there are odd"):
        recipes.load("even")


def test_the_command(packages: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It tells one line a model and exits with 0; what is wrong goes to stderr, with 1."""
    arguments = [str(tmp_path / "store"), "--only", "wake_word", "--packages"]
    assert command.main([*arguments, str(packages)]) == 0
    assert command.main([*arguments, str(packages)]) == 0
    built, there = capsys.readouterr().out.splitlines()
    assert built.startswith("wake_word 1.0: int8-tflite (built in ")
    assert there == "wake_word 1.0: int8-tflite (there already)"
    assert command.main([*arguments, str(tmp_path / "nowhere")]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: pymicro-wakeword 2.5.0 is needed")


def test_help(root: Path) -> None:
    """`python -m models --help` shows an example."""
    run = subprocess.run([sys.executable, "-m", "models", "--help"], cwd=root, capture_output=True, text=True, check=True)
    assert "example:" in run.stdout


def test_without_the_toolchain_a_training_says_what_is_missing(packages: Path, tmp_path: Path) -> None:
    """torch is in an environment of its own: elsewhere the error names the command that makes it."""
    if find_spec("torch") is not None:
        pytest.skip("torch is installed here")
    with pytest.raises(ArtifactError, match="run make zoo"):
        train(recipes.load("digits_mlp"), packages, tmp_path, lambda done, total: None)
    assert list(tmp_path.iterdir()) == []

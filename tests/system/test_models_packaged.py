"""Models of packages, built without int8: what they say of real things, and what their recipes can ask for."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edge_runtime.bundles.bundle import Bundle
from edge_runtime.bundles.manifest import Scale
from edge_runtime.bundles.store import Store
from edge_runtime.engines import open_variant
from edge_runtime.errors import BundleError
from edge_runtime.processing.answers import Embedding, Labels
from edge_runtime.processing.kinds import Raw
from edge_runtime.processing.process import Processor
from edge_runtime.values import Array
from models import recipe as recipes
from models.build import Built, build
from models.gather import labels_of
from models.lettering import line
from models.minilm import compose
from models.minilm.calibration import golden
from models.silero_vad import calibration as silero_vad


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "store", create=True)


def built(name: str, packages: Path, store: Store) -> Built:
    """The model as its package has it."""
    return build(msgspec.structs.replace(recipes.load(name), int8=None), packages, store)


def answer(bundle: Bundle, raw: Raw) -> object:
    """What the first variant says of something."""
    manifest = bundle.manifest
    assert manifest.processing is not None
    vocabulary = None if manifest.vocabulary is None else bundle.folder / manifest.vocabulary.path
    processor = Processor(manifest.processing, manifest.signature, bundle.labels(), vocabulary)
    session = open_variant(bundle, manifest.variants[0], manifest.variants[0].format)
    calls = processor.before(raw)
    found = processor.after(raw, calls, [session.run(call) for call in calls])
    session.close()
    return found


def pooled(pieces: Array, mask: Array) -> Array:
    """A sentence's vector, of length 1."""
    total = mask[0].astype(np.float32) @ pieces[0]
    return np.asarray(total / np.linalg.norm(total))


def best(bundle: Bundle, raw: Raw) -> str:
    """The likeliest label."""
    found = answer(bundle, raw)
    assert isinstance(found, Labels)
    return found.labels[0].name


def test_magika_knows_files(packages: Path, empty: Store) -> None:
    """Real files are told by their bytes; the labels are those of the package's JSON file."""
    bundle = built("magika", packages, empty).bundle
    assert len(bundle.labels()) == 214
    files = {
        "python": "rapidocr/main.py", "png": "skimage/data/text.png", "wav": "pyannote/audio/sample/sample.wav",
        "onnx": "magika/models/standard_v3_3/model.onnx", "json": "pymicro_wakeword/models/okay_nabu.json",
    }  # fmt: skip
    assert {best(bundle, (packages / path).read_bytes()) for path in files.values()} == set(files)
    for label, path in files.items():
        assert best(bundle, (packages / path).read_bytes()) == label


def test_silero_vad_is_judged_with_speech_that_it_was_not_calibrated_with(packages: Path, empty: Store) -> None:
    """Its fp32 finds nearly all of the speech; the golden frames come with states, and none of them is a sample."""
    bundle = built("silero_vad", packages, empty).bundle
    accuracy = bundle.manifest.variants[0].accuracy
    assert accuracy is not None
    assert accuracy.metric == "F1"
    assert 0.95 < accuracy.value < 1
    judged, calibrated = silero_vad.golden(packages), silero_vad.samples(packages)
    assert len(judged) == silero_vad.GOLDEN
    assert all(np.any(inputs["state"]) for inputs in judged)
    assert not {inputs["audio"].tobytes() for inputs in judged} & {inputs["audio"].tobytes() for inputs in calibrated}


def test_ppocr_cls_knows_what_is_upside_down(packages: Path, empty: Store) -> None:
    """Of made lines and the same turned, nearly all are told right."""
    bundle = built("ppocr_cls", packages, empty).bundle
    pictures = [line(3000 + seed)[1] for seed in range(10)]
    turned = [np.ascontiguousarray(np.rot90(picture, 2)) for picture in pictures]
    right = [best(bundle, picture) == "0" for picture in pictures] + [best(bundle, picture) == "180" for picture in turned]
    assert sum(right) >= 17


def test_minilm_knows_what_sentences_mean(packages: Path, empty: Store) -> None:
    """Two sentences that mean the same are nearer to each other than to a third that shares their words."""
    made = built("minilm", packages, empty)
    assert made.bundle.manifest.vocabulary is not None

    def vector(text: str) -> Array:
        found = answer(made.bundle, text)
        assert isinstance(found, Embedding)
        return found.vector

    late, delayed, cake = map(vector, ("The train is late.", "Our railway connection is delayed.", "The cake is late."))
    assert late @ delayed > late @ cake


def test_minilm_is_composed_of_its_weights(packages: Path, empty: Store, tmp_path: Path) -> None:
    """Its fp32 ONNX has the same bytes each time, and the package's int8 weights say the same; both are judged."""
    bundle = built("minilm", packages, empty).bundle
    fp32, weights = bundle.manifest.variants
    assert (fp32.name, weights.name) == ("fp32-onnx", "int8-onnx-weights")
    compose.make(packages, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == bundle.artifact(fp32).read_bytes()
    one, other = (open_variant(bundle, variant, "onnx") for variant in (fp32, weights))
    for inputs in golden(packages):
        found, like = (pooled(session.run(inputs)["pieces"], inputs["mask"]) for session in (one, other))
        assert found @ like > 0.98
    assert all(variant.accuracy is not None and variant.accuracy.value > 0.8 for variant in bundle.manifest.variants)


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (b"{", "is no whole safetensors file"),
        (b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}', r"\[2\] at bytes 0 to 8 of 4"),
        (b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}', r"\[2\] at bytes 0 to 4 of 4"),
        (b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}', r"\[1\] at bytes -4 to 0 of 4"),
    ],
)
def test_damaged_weights(tmp_path: Path, header: bytes, told: str) -> None:
    """A safetensors file whose header cannot be right is refused."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(BundleError, match=told):
        compose.read(path)


def test_a_variant_that_cannot_be_made_here_is_left_out(
    packages: Path, empty: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a tool is missing, the bundle is there without what that makes, and says why."""
    monkeypatch.setitem(sys.modules, "onnx", None)
    made = built("minilm", packages, empty)
    assert [variant.name for variant in made.bundle.manifest.variants] == ["int8-onnx-weights"]
    assert [refusal.name for refusal in made.refused] == ["fp32-onnx"]
    assert "onnx is needed to compose models" in made.refused[0].reason


def test_scales_come_from_the_recipe(packages: Path, empty: Store) -> None:
    """wake_word's manifest tells how its integers are meant, and that its state is hidden."""
    manifest = built("wake_word", packages, empty).bundle.manifest
    assert manifest.variants[0].quantized["heard"] == Scale("uint8", 1 / 256, 0)
    assert manifest.signature.hidden_state
    assert manifest.signature.recurrent


def test_what_recipes_may_not_say(packages: Path) -> None:
    """A variant that is both a file and made, or neither; labels under a key that the file has not."""
    part = recipes.load("dtln").variants[0]
    for wrong in ({"file": "a.onnx"}, {"made": ""}):
        with pytest.raises(ValueError, match="give the file that it is, or the module that makes it"):
            msgspec.structs.replace(part, **wrong).__post_init__()
    magika = recipes.load("magika")
    assert magika.labels is not None
    odd = msgspec.structs.replace(magika, labels=msgspec.structs.replace(magika.labels, key="names"))
    with pytest.raises(BundleError, match=r"has no 'names'; it has .*target_labels_space"):
        labels_of(odd, packages)

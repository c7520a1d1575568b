"""The harness on real engines: each way to run a bundle here becomes one entry, measured or failed."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import pytest

from benchmarks.tiny import tiny_bundle
from edge_runtime import backends
from edge_runtime.bench.compare import compare
from edge_runtime.bench.energy import Declared
from edge_runtime.bench.harness import bench, measurements
from edge_runtime.bench.html import render
from edge_runtime.bench.inputs import seeded_inputs
from edge_runtime.bench.measure import WarmUp
from edge_runtime.bench.report import Report, decode, encode
from edge_runtime.bench.yardstick import NAME
from edge_runtime.bundles import golden
from edge_runtime.bundles.manifest import MANIFEST, File, Manifest, Variant
from edge_runtime.bundles.manifest import encode as encode_manifest
from edge_runtime.bundles.store import Bundle, read_bundle
from edge_runtime.engines import candidates, open_best, tunings
from edge_runtime.errors import BundleError, EngineMissingError
from edge_runtime.profile import Profile
from edge_runtime.signature import Signature, StatePair, TensorSpec
from edge_runtime.values import Settings

SHORT = WarmUp(runs=1, seconds=0.0, settle_seconds=0.0)
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def _write(folder: Path, manifest: Manifest) -> Bundle:
    (folder / MANIFEST).write_bytes(encode_manifest(manifest))
    return Bundle(manifest, folder)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """y = x + 1 for every engine, and a variant whose file is no model."""
    bundle = tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle")
    data = b"this is no model"
    (bundle.folder / "broken.onnx").write_bytes(data)
    broken = Variant("broken", "onnx", "fp32", (File("broken.onnx", hashlib.sha256(data).hexdigest(), len(data)),))
    return _write(bundle.folder, msgspec.structs.replace(bundle.manifest, variants=(*bundle.manifest.variants, broken)))


@pytest.fixture(scope="module")
def vad(tmp_path_factory: pytest.TempPathFactory, packages: Path) -> Bundle:
    """A recurrent model: Silero VAD."""
    folder = tmp_path_factory.mktemp("vad")
    data = (packages / "silero_vad/data/silero_vad_openvino_16k.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(data)
    state = TensorSpec("state", "float32", (2, 1, 128)), TensorSpec("stateN", "float32", (2, 1, 128))
    signature = Signature(
        (TensorSpec("input", "float32", (1, 576)), state[0]), (TensorSpec("output", "float32", (1, 1)), state[1]),
        (StatePair("state", "stateN"),),
    )  # fmt: skip
    variant = Variant("fp32-onnx", "onnx", "fp32", (File("model.onnx", hashlib.sha256(data).hexdigest(), len(data)),))
    return _write(folder, Manifest(name="vad", version="6.2", task="hear", signature=signature, variants=(variant,)))


@pytest.fixture(scope="module")
def report(tiny: Bundle, vad: Bundle) -> Report:
    """Both, measured on everything that is here."""
    return bench([tiny, vad], runs=30, seconds=0.5, warmup=SHORT, now=NOW, command="the command")


def test_each_candidate_is_an_entry(report: Report, tiny: Bundle, vad: Bundle) -> None:
    """Every variant on every device that takes its format, and nothing else."""
    tried = [c for bundle in (tiny, vad) for c in candidates(bundle.manifest, backends.devices())]
    assert {(e.variant, e.backend) for e in report.entries} == {(c.variant.name, c.device.backend) for c in tried}
    assert len(report.entries) == len(tried)


@pytest.mark.parametrize("name", backends.NAMES)
def test_every_engine_is_measured(report: Report, name: str) -> None:
    """Percentiles, cold start and where it ran, for the tiny model on each engine."""
    [entry] = [e for e in report.entries if e.backend == name and e.model == "tiny" and e.variant != "broken"]
    assert entry.error is None
    assert entry.samples is not None
    assert len(entry.samples.values) == 30
    assert entry.samples.warmup
    assert [p.value for p in entry.percentiles] == sorted(p.value for p in entry.percentiles)
    assert 0 < entry.percentiles[0].value < 0.5
    assert entry.cold is not None
    assert min(entry.cold.engine_seconds, entry.cold.load_seconds, entry.cold.first_seconds) > 0
    assert entry.device == "CPU"
    assert entry.engine == next(d.engine for d in backends.devices() if d.backend == name)
    assert entry.inputs == "x float32 [1, 10]"


def test_what_does_not_load_is_told_and_stops_nobody(report: Report) -> None:
    """The broken variant has an error that names it, and no figures."""
    broken = [e for e in report.entries if e.variant == "broken"]
    assert {e.backend for e in broken} == {"onnx", "openvino"}
    for entry in broken:
        assert entry.error is not None
        assert "ArtifactError" in entry.error
        assert (entry.samples, entry.cold, entry.percentiles) == (None, None, ())


def test_a_recurrent_model_is_fed_its_state(report: Report) -> None:
    """It was given the input without the state, on both engines that load it."""
    heard = [e for e in report.entries if e.model == "vad"]
    assert [(e.backend, e.error, len(e.percentiles)) for e in heard] == [("onnx", None, 4), ("openvino", None, 4)]
    assert heard[0].inputs == "input float32 [1, 576], state carried from run to run"


def test_a_real_report_survives_json_and_makes_a_page(report: Report) -> None:
    """What was measured comes back as it was, and is on the page."""
    assert decode(encode(report)) == report
    page = render(report)
    assert "the command" in page
    assert report.date == "2026-01-02T03:04:05+00:00" in page


def test_the_runtime_can_use_what_was_measured(report: Report, tiny: Bundle, vad: Bundle) -> None:
    """The profile that follows from a report puts the fastest candidate first, by the digest of its file."""
    profile = Profile().updated(measurements(report, [tiny, vad]))
    loaded = open_best(vad, profile)
    loaded.session.close()
    assert loaded.candidate.device.backend == report.of(("vad", "6.2"))[0].backend
    assert "measured here: p50" in loaded.reason
    assert not any(m.variant == "broken" for m in profile.measurements)


def test_progress_is_told_to_the_end(tiny: Bundle) -> None:
    """The share never goes back, and ends at one."""
    told: list[tuple[str, float]] = []
    devices = [d for d in backends.devices() if d.backend == "tflite"]
    bench(
        [tiny], devices=devices, runs=1, seconds=0.01, warmup=SHORT, progress=lambda what, share: told.append((what, share))
    )
    assert [share for _, share in told] == sorted(share for _, share in told)
    assert told[0] == ("tiny: starting fp32-tflite on tflite:CPU", 0.0)
    assert told[-1] == ("done", 1.0)


def test_every_setting_is_a_candidate_of_its_own(tiny: Bundle) -> None:
    """Each can be told from the others, and the backend's own come first."""
    devices = [d for d in backends.devices() if d.backend == "tflite"]
    found = bench([tiny], devices=devices, every_setting=True, runs=5, seconds=0.1, warmup=SHORT)
    labels = [candidate.settings for candidate in tunings(tiny.manifest, devices)]
    assert {e.settings for e in found.entries} == set(labels)
    assert len({e.label for e in found.entries}) == len(labels) > 1
    assert labels[0] == Settings()


def test_energy_is_counted_where_there_is_a_meter(tiny: Bundle) -> None:
    """By a declared power: joules of each run, and none without a meter."""
    devices = [d for d in backends.devices() if d.backend == "tflite"]
    counted, without = (
        bench([tiny], devices=devices, runs=5, seconds=0.1, warmup=SHORT, meter=meter)
        for meter in (Declared(1.0, 2.0), None)
    )
    assert all(entry.energy is not None and entry.energy > 0 for entry in counted.entries if entry.error is None)
    assert all(entry.energy is None for entry in without.entries)


def test_nothing_to_run_on_is_an_error(tiny: Bundle) -> None:
    """Without a device there is no report, but a message that says where to look."""
    with pytest.raises(EngineMissingError, match="tiny"):
        bench([tiny], devices=[])


def test_golden_inputs_are_what_is_measured(tiny: Bundle, tmp_path: Path) -> None:
    """Here and in the process of the cold start; a file that is not the model's is an error, not other inputs."""
    signature = tiny.manifest.signature
    x = np.full((1, 10), 3.0, np.float32)
    golden.write(tmp_path / "golden.npz", signature, [{"x": x}], [{"y": x + 1}])
    data = (tmp_path / "golden.npz").read_bytes()
    for path in tiny.folder.glob("*.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    file = File("golden.npz", hashlib.sha256(data).hexdigest(), len(data))
    bundle = _write(tmp_path, msgspec.structs.replace(tiny.manifest, golden=file, variants=tiny.manifest.variants[:1]))
    report = bench([bundle], runs=5, warmup=SHORT, now=NOW)
    assert report.entries
    assert all(entry.error is None and entry.cold is not None for entry in report.entries)
    assert {entry.inputs for entry in report.entries} == {"x float32 [1, 10], the first golden sample"}
    (tmp_path / "golden.npz").write_bytes(b"nothing")
    with pytest.raises(BundleError, match=r"golden\.npz"):
        bench([bundle], runs=5, warmup=SHORT, now=NOW)


def test_inputs_come_from_the_seed() -> None:
    """The same seed gives the same arrays, of the shapes and dtypes asked for; wide integers are small enough to index."""
    dtypes = ("float32", "float16", "int8", "uint8", "int64", "bool")
    specs = tuple(TensorSpec(dtype, dtype, (2, "N")) for dtype in dtypes)
    first, again, other = (seeded_inputs(specs, {"N": 50}, seed) for seed in (1, 1, 2))
    for dtype in dtypes:
        assert (first[dtype].dtype, first[dtype].shape) == (np.dtype(dtype), (2, 50))
        assert np.array_equal(first[dtype], again[dtype])
        assert not np.array_equal(first[dtype], other[dtype])
    assert set(first["int64"].ravel()) == {0, 1}
    assert (first["int8"].min() < 0, first["uint8"].max() > 128) == (True, True)


def test_a_yardstick_takes_turns_with_each_model(report: Report) -> None:
    """In the same rounds, under the name of its work; so a report compares with itself, and with one of another day."""
    assert [samples.name for samples in report.yardsticks] == [NAME] * len(report.models)
    found = compare(report, report)
    assert found.speed == 1.0
    assert {row.verdict for row in found.rows} == {"inconclusive"}
    assert len(found.rows) == sum(entry.error is None for entry in report.entries)


def test_cpu_time_at_a_fixed_rate_is_measured(report: Report) -> None:
    """Of every candidate that ran: what it burns between inferences is in it."""
    for entry in report.entries:
        assert (entry.paced_cpu is not None and entry.paced_cpu > 0) == (entry.error is None)


def test_what_is_chosen_is_measured_alone(tiny: Bundle) -> None:
    """A candidate that the caller turns down is not started; where none is left, it is said."""
    found = bench([tiny], chosen=lambda c: c.device.backend == "onnx", runs=5, seconds=0.1, warmup=SHORT)
    assert {entry.backend for entry in found.entries} == {"onnx"}
    with pytest.raises(EngineMissingError):
        bench([tiny], chosen=lambda c: False, runs=5, seconds=0.1, warmup=SHORT)


def test_a_bundle_with_processing_has_the_stages_of_a_call(root: Path) -> None:
    """What lies before and after the engine, around the median of each candidate's run."""
    bundle = read_bundle(root / "models/digits_mlp/bundle")
    found = bench([bundle], chosen=lambda c: c.device.backend == "onnx", runs=5, seconds=0.1, warmup=SHORT)
    for entry in found.entries:
        median = entry.at(0.5)
        assert median is not None
        assert [stage.name for stage in entry.stages] == ["prepare", "run", "answer"]
        assert entry.stages[1].seconds == median.value

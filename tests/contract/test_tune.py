"""Tournaments on real engines, and what a runtime makes of their outcome: the choice, its key, what serves meanwhile."""

from __future__ import annotations

import hashlib
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from benchmarks.tiny import SHAPE, onnx_add, tiny_bundle
from edge_runtime import Runtime
from edge_runtime.bench.process import COMMAND, Limits, Worker, request_of
from edge_runtime.bundles import golden
from edge_runtime.bundles.archive import file_of
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.bundles.manifest import MANIFEST, File, Variant, encode
from edge_runtime.bundles.store import Store
from edge_runtime.engines import Candidate, in_order, open_best
from edge_runtime.errors import InputError, RunError
from edge_runtime.host import host
from edge_runtime.profile import CACHE, PROFILE, Profile, Tuned, load, save
from edge_runtime.tuning import compiled
from edge_runtime.tuning.effort import Effort
from edge_runtime.tuning.tournament import tune
from edge_runtime.values import Array

SHORT = Effort(turn_runs=3, turn_seconds=0.002, settle_seconds=0.001, final=6, confirming=5, crowded=1)
INPUTS: dict[str, Array] = {"x": np.zeros(SHAPE, np.float32)}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """y = x + 1 for every engine, with golden samples; and two variants that must lose: one is no model, one adds two."""
    made = tiny_bundle(tmp_path_factory.mktemp("tune") / "tiny")
    folder, manifest = made.folder, made.manifest
    inputs = [{"x": np.random.default_rng(i).standard_normal(SHAPE).astype(np.float32)} for i in range(3)]
    golden.write(folder / "golden.npz", manifest.signature, inputs, [{"y": sample["x"] + 1} for sample in inputs])
    one, two = np.ones(SHAPE, np.float32).tobytes(), np.full(SHAPE, 2, np.float32).tobytes()
    bad = {"broken": b"this is no model", "wrong": onnx_add().replace(one, two)}
    variants = [msgspec.structs.replace(variant, tolerance=1e-4) for variant in manifest.variants]
    for name, data in bad.items():
        (folder / f"{name}.onnx").write_bytes(data)
        file = File(f"{name}.onnx", hashlib.sha256(data).hexdigest(), len(data))
        variants.append(Variant(name, "onnx", "int8", (file,), tolerance=0.05))
    manifest = msgspec.structs.replace(manifest, variants=tuple(variants), golden=file_of(folder, "golden.npz"))
    (folder / MANIFEST).write_bytes(encode(manifest))
    return Bundle(manifest, folder)


@pytest.fixture(scope="module")
def tuned(bundle: Bundle) -> Tuned:
    """Its tournament."""
    return tune(bundle, effort=SHORT)


@pytest.fixture
def store(tmp_path: Path, bundle: Bundle, tuned: Tuned) -> Store:
    """A store with that bundle, and the outcome of its tournament."""
    made = Store(tmp_path / "store", create=True)
    made.install(bundle.folder)
    save(Profile(tuned=(tuned,)), made.path / PROFILE)
    return made


def _until_ready(model: object) -> list[str]:
    """Every status that a model has until it is ready."""
    seen: list[str] = []
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        status = str(model.status)  # type: ignore[attr-defined]
        if not seen or seen[-1] != status:
            seen.append(status)
        if status == "ready":
            return seen
        time.sleep(0.01)
    raise AssertionError(f"not ready after two minutes: {seen}")


def test_the_right_one_wins_and_the_wrong_ones_say_why_they_lost(tuned: Tuned) -> None:
    """What is no model, and what is fast but wrong, are told apart from what was merely slower."""
    lost = {row.candidate: row.why for row in tuned.lost}
    assert tuned.winner.variant in ("fp32-onnx", "fp32-tflite")
    assert any("broken on" in name for name in lost)
    wrong = [why for name, why in lost.items() if "wrong on" in name]
    assert wrong
    assert all("golden" in why for why in wrong)
    assert not any(m.variant in ("broken", "wrong") for m in (tuned.winner, *tuned.runners_up))
    assert tuned.winner.name in tuned.verdict
    assert tuned.winner.runs > 50
    assert tuned.winner.busy
    assert tuned.winner.cpu is not None


def test_a_runtime_uses_the_choice_and_says_so(store: Store, tuned: Tuned) -> None:
    """The winner's engine, variant and settings, and the reason in words."""
    with Runtime(store.path) as runtime:
        model = runtime.model("tiny")
        assert model.loaded is not None
        assert str(model.loaded.candidate) == tuned.winner.name
        assert model.loaded.reason.startswith("tuned for p95: the best of")
        assert model.status == "ready"
        assert model.infer(INPUTS).variant == tuned.winner.variant


def test_after_an_upgrade_the_last_choice_serves_and_the_model_is_tuned_again(store: Store, tuned: Tuned) -> None:
    """It answers at once, on what was good before; then the profile on disk is of the engine that is here now."""
    old = msgspec.structs.replace(tuned.winner, key=msgspec.structs.replace(tuned.winner.key, engine="engine 0.1"))
    save(Profile(tuned=(msgspec.structs.replace(tuned, winner=old, runners_up=()),)), store.path / PROFILE)
    with Runtime(store.path) as runtime:
        model = runtime.model("tiny")
        assert model.loaded is not None
        assert str(model.loaded.candidate) == tuned.winner.name
        assert "the engine was engine 0.1, now" in model.loaded.reason
        assert model.infer(INPUTS).outputs["y"].tolist() == [[1.0] * 10]
        seen = _until_ready(model)
        assert any("tuned again" in status for status in seen)
        assert model.infer(INPUTS).outputs["y"].tolist() == [[1.0] * 10]
        assert not model.loaded.stale
    kept = load(store.path / PROFILE).choice("tiny", "1.0")
    assert kept is not None
    assert kept.winner.key.engine != "engine 0.1"


def test_a_moved_container_is_told_and_left_alone_where_that_was_asked(store: Store, tuned: Tuned) -> None:
    """Other cores, another processor: the reason names what changed; without `retune` nothing is measured."""
    key = msgspec.structs.replace(tuned.winner.key, cpu="another processor", cores=64)
    old = msgspec.structs.replace(tuned, winner=msgspec.structs.replace(tuned.winner, key=key), runners_up=())
    save(Profile(tuned=(old,)), store.path / PROFILE)
    with Runtime(store.path, retune=False) as runtime:
        model = runtime.model("tiny")
        assert model.loaded is not None
        assert f"cores allowed were 64, now {host().cores}" in model.loaded.reason
        assert "the processor was another processor" in model.loaded.reason
        assert model.status == "ready"
    assert load(store.path / PROFILE) == Profile(tuned=(old,))


def test_a_runtime_that_closes_ends_a_tournament_under_way(store: Store, tuned: Tuned) -> None:
    """Closing does not wait for minutes of measuring, and the profile is as it was."""
    old = msgspec.structs.replace(tuned.winner, key=msgspec.structs.replace(tuned.winner.key, engine="engine 0.1"))
    before = Profile(tuned=(msgspec.structs.replace(tuned, winner=old),))
    save(before, store.path / PROFILE)
    with Runtime(store.path) as runtime:
        model = runtime.model("tiny")
        assert "again" in model.status
    assert load(store.path / PROFILE) == before


def test_another_candidate_serves_while_the_winner_compiles(store: Store, tuned: Tuned) -> None:
    """A winner that took long to load is opened in the background; what loads sooner answers until then."""
    slow = msgspec.structs.replace(tuned.winner, load=30.0)
    other = next(
        turn.candidate
        for turn in in_order(store.bundle("tiny").manifest, Profile())
        if turn.candidate.variant.name != slow.variant
    )
    sooner = msgspec.structs.replace(
        slow, variant=other.variant.name, load=0.01,
        key=msgspec.structs.replace(
            slow.key, sha256=other.variant.digest, backend=other.device.backend, engine=other.device.engine,
            settings=other.settings,
        ),
    )  # fmt: skip
    save(Profile(tuned=(msgspec.structs.replace(tuned, winner=slow, runners_up=(sooner,)),)), store.path / PROFILE)
    with Runtime(store.path) as runtime:
        model = runtime.model("tiny")
        first = model.infer(INPUTS)
        seen = _until_ready(model)
        assert model.loaded is not None
        assert str(model.loaded.candidate) == slow.name
        assert model.infer(INPUTS).variant == slow.variant
    if len(seen) > 1:  # it may have been ready before the first look
        assert "serves while" in seen[0]
        assert first.outputs["y"].tolist() == [[1.0] * 10]


def test_compiled_forms_are_kept_by_key_and_those_of_nobody_removed(tmp_path: Path, bundle: Bundle, tuned: Tuned) -> None:
    """What an engine compiled is found again under the choice's key, and does not outlive it."""
    first = next(iter(in_order(bundle.manifest, Profile(tuned=(tuned,)), "onnx")))
    assert first.measured is None or first.candidate.device.backend == "onnx"
    key = msgspec.structs.replace(tuned.winner.key, backend="onnx")
    said = compiled.keep(bundle, first.candidate, key, tmp_path / CACHE)
    assert "takes" in said
    assert (tmp_path / CACHE / key.digest).is_dir()
    (tmp_path / CACHE / "0123456789abcdef").mkdir()
    chosen = msgspec.structs.replace(tuned, winner=msgspec.structs.replace(tuned.winner, key=key))
    compiled.prune(tmp_path / CACHE, Profile(tuned=(chosen,)).keys())
    assert [folder.name for folder in (tmp_path / CACHE).iterdir()] == [key.digest]
    compiled.prune(tmp_path / CACHE, ())
    assert not list((tmp_path / CACHE).iterdir())


def test_a_cache_that_cannot_be_written_is_told_and_costs_nothing_else(
    tmp_path: Path, bundle: Bundle, tuned: Tuned
) -> None:
    """A file where the folder should be: words, and no exception."""
    (tmp_path / "file").write_text("not a folder")
    candidate = next(iter(in_order(bundle.manifest, Profile()))).candidate
    assert "could not be kept" in compiled.keep(bundle, candidate, tuned.winner.key, tmp_path / "file" / CACHE)


def test_candidates_that_crash_hang_and_leak_lose_and_the_others_go_on(bundle: Bundle) -> None:
    """Real processes: one is killed by a segmentation fault, one spins for ever, one eats memory; the right one wins."""
    eats = "hoard = []\nwhile True: hoard.append(bytearray(b'x') * 10**7)"
    acts = iter(("ctypes.string_at(0)", "while True: pass", eats))
    limits = Limits(start=8.0, slack=8.0, memory=400_000_000)

    def open(candidate: Candidate) -> Worker:
        act = None if candidate.device.backend == "tflite" else next(acts, None)
        command = COMMAND if act is None else (sys.executable, "-c", f"import ctypes, sys\nsys.stdin.readline()\n{act}")
        return Worker(request_of(bundle, candidate), limits, command)

    outcome = tune(bundle, effort=SHORT, open=open)
    why = " ".join(lost.why for lost in outcome.lost)
    assert "SIGSEGV" in why
    assert "took more than 8 s" in why
    assert "over the limit of 400 MB" in why
    assert outcome.winner.variant in ("fp32-onnx", "fp32-tflite")


def test_when_every_candidate_is_wrong_there_is_no_choice(tmp_path: Path, bundle: Bundle) -> None:
    """The error names them; nothing is written."""
    bad = tuple(variant for variant in bundle.manifest.variants if variant.name in ("broken", "wrong"))
    with pytest.raises(RunError, match="no candidate runs here and gives the golden outputs"):
        tune(Bundle(msgspec.structs.replace(bundle.manifest, variants=bad), bundle.folder), effort=SHORT)


def test_a_hand_me_down_profile_names_engines_that_are_not_here(bundle: Bundle, tuned: Tuned) -> None:
    """A choice of a device that this machine has not: what is here serves."""
    key = msgspec.structs.replace(tuned.winner.key, backend="openvino", device="NPU")
    choice = msgspec.structs.replace(tuned, winner=msgspec.structs.replace(tuned.winner, key=key), runners_up=())
    loaded = open_best(bundle, Profile(tuned=(choice,)))
    assert loaded.session.run(INPUTS)["y"].tolist() == [[1.0] * 10]
    loaded.session.close()


def _edge_runtime(*arguments: str, limit: int | None = None) -> subprocess.CompletedProcess[str]:
    """The command, with files limited to so many bytes: a full disk."""

    def full_disk() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-m", "edge_runtime.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=full_disk)


def test_tune_and_explain_on_the_command_line(tmp_path: Path, bundle: Bundle) -> None:
    """Tune writes the profile beside the store; explain says why in words, and as JSON."""
    store = Store(tmp_path / "store", create=True)
    store.install(bundle.folder)
    place = ("--store", str(store.path))
    before = _edge_runtime("explain", "tiny", *place)
    assert "nothing was measured here" in before.stdout
    done = _edge_runtime("tune", "tiny", "--device", "onnx", *place)
    assert done.returncode == 0, done.stderr
    assert "tiny 1.0 runs as fp32-onnx on onnx:CPU" in done.stdout
    said = _edge_runtime("explain", "tiny", *place)
    assert "Of " in said.stdout
    assert "Lost: wrong on onnx:CPU" in said.stdout
    told = json.loads(_edge_runtime("explain", "tiny", "--json", *place).stdout)
    winner = told["tuned"]["winner"]
    assert winner["variant"] == "fp32-onnx"
    # Which settings win is a matter of noise here; only with the whole graph optimised is there something to keep.
    kept = "keeps no compiled form" if "graph" in winner["key"].get("settings", {}) else "compiled form takes"
    assert kept in done.stdout
    assert told["stale"] == []


def test_on_a_full_disk_the_old_profile_survives(store: Store) -> None:
    """The error comes before anything is measured, names the file, and leaves it whole."""
    path = store.path / PROFILE
    before = path.read_bytes()
    failed = _edge_runtime("tune", "tiny", "--store", str(store.path), limit=64)
    assert failed.returncode == 2
    assert "could not be written" in failed.stderr
    assert path.read_bytes() == before
    assert [p.name for p in store.path.iterdir() if "profile" in p.name] == [PROFILE]


@pytest.mark.parametrize("content", [b"", b"{", b'{"schema": 1, "measurements": []}', b'{"schema": 2, "tuned": [{}]}'])
def test_a_profile_that_is_none_is_an_error_before_measuring(store: Store, content: bytes) -> None:
    """Truncated, or of an older schema: one line that says what to do, and the file as it was."""
    (store.path / PROFILE).write_bytes(content)
    failed = _edge_runtime("tune", "tiny", "--store", str(store.path))
    assert failed.returncode == 2
    assert "remove it and measure again" in failed.stderr
    assert (store.path / PROFILE).read_bytes() == content
    with pytest.raises(InputError, match="measure again"):
        Runtime(store.path)


def test_energy_is_by_a_meter_or_by_a_declared_power(store: Store) -> None:
    """With the power declared there is a winner with its joules; one that is none, or for another objective, is refused."""
    place = ("--store", str(store.path), "--device", "tflite")
    done = _edge_runtime("tune", "tiny", "--objective", "energy", "--watts", "1.5,3", "--json", *place)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["winner"]["joules"] > 0
    for arguments in (
        ("--objective", "energy", "--watts", "1"),
        ("--watts", "1,2"),
        ("--objective", "energy", "--watts=-1,2"),
    ):
        assert _edge_runtime("tune", "tiny", *arguments, *place).returncode == 2

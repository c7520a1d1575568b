"""What was measured, kept and used."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edge_runtime.bundles.manifest import Manifest
from edge_runtime.errors import InputError
from edge_runtime.profile import Candidate, Measurement, Profile, load, save
from edge_runtime.values import Device, Settings
from tests.doubles import manifest

DESCRIBED = manifest(variants=2)
DEVICES = (Device("one", "CPU", engine="one 1.0"), Device("two", "CPU", engine="two 1.0"))
CANDIDATES = tuple(Candidate(variant, device) for variant in DESCRIBED.variants for device in DEVICES)


def measured(candidate: Candidate, p50: float, of: Manifest = DESCRIBED) -> Measurement:
    variant, device = candidate.variant, candidate.device
    return Measurement(
        of.name, variant.name, variant.files[0].sha256, device.backend, device.name, device.engine,
        candidate.settings, p50, p50, p50, p50, 200,
    )  # fmt: skip


def test_what_was_measured_comes_fastest_first() -> None:
    """And only what was measured of that model."""
    other = measured(CANDIDATES[0], 0.0001, msgspec.structs.replace(DESCRIBED, name="other"))
    profile = Profile(measurements=(measured(CANDIDATES[2], 0.002), measured(CANDIDATES[1], 0.001), other))
    assert [m.p50 for m in profile.fastest("double")] == [0.001, 0.002]


def test_a_measurement_of_another_engine_version_or_artifact_does_not_count() -> None:
    """What it depends on has changed, so it no longer holds."""
    stale = measured(CANDIDATES[0], 0.001)
    upgraded = Candidate(CANDIDATES[0].variant, Device("one", "CPU", engine="one 2.0"))
    assert stale.describes(DESCRIBED, CANDIDATES[0])
    assert not stale.describes(DESCRIBED, upgraded)
    assert not stale.describes(DESCRIBED, CANDIDATES[2])
    assert not stale.describes(DESCRIBED, Candidate(CANDIDATES[0].variant, DEVICES[0], Settings(threads=1)))


def test_new_measurements_replace_old_ones_of_the_same_candidate() -> None:
    """Measuring again does not pile up."""
    profile = Profile().updated([measured(CANDIDATES[0], 0.001)]).updated([measured(CANDIDATES[0], 0.003)])
    assert [m.p50 for m in profile.measurements] == [0.003]


def test_a_profile_survives_the_disk(tmp_path: Path) -> None:
    """What is saved is what is loaded, and nothing else is left in the folder."""
    profile = Profile(measurements=(measured(CANDIDATES[0], 0.001),))
    path = tmp_path / "profile.json"
    save(profile, path)
    assert load(path) == profile
    assert [p.name for p in tmp_path.iterdir()] == ["profile.json"]
    assert load(tmp_path / "none.json") == Profile()


@pytest.mark.parametrize("text", ["", "{", '{"schema": 99, "measurements": []}', '{"unknown": 1}', "\xff"])
def test_a_file_that_is_no_profile_is_refused(tmp_path: Path, text: str) -> None:
    """Truncated, of another schema, with unknown fields: one clear error."""
    path = tmp_path / "profile.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match="measure again"):
        load(path)


def test_a_profile_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    """A full or read-only disk is an error with the path, and no half-written file."""
    with pytest.raises(InputError, match="could not be written"):
        save(Profile(), tmp_path / "no-such-folder" / "profile.json")

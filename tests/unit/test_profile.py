"""What was measured, kept and used."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.bundles.manifest import Manifest
from edge_runtime.errors import InputError
from edge_runtime.host import Host
from edge_runtime.objective import Objective
from edge_runtime.profile import Candidate, Measurement, Profile, Tuned, distribution, key_of, load, save
from edge_runtime.values import Device, Settings
from tests.doubles import manifest

DESCRIBED = manifest(variants=2)
DEVICES = (Device("one", "CPU", engine="one 1.0"), Device("two", "CPU", engine="two 1.0"))
CANDIDATES = tuple(Candidate(variant, device) for variant in DESCRIBED.variants for device in DEVICES)
HOST = Host("a processor", 2)


def measured(candidate: Candidate, p50: float, of: Manifest = DESCRIBED) -> Measurement:
    """A candidate that always took so long."""
    return Measurement(
        model=of.name, version=of.version, variant=candidate.variant.name, key=key_of(candidate, HOST),
        latency=distribution([p50]), runs=1,
    )  # fmt: skip


def chosen(*candidates: Candidate, date: str = "2026-01-01", version: str = "1.0") -> Tuned:
    """A tournament that the first won."""
    rows = [measured(candidate, 0.002) for candidate in candidates]
    return Tuned(
        model="double", version=version, objective=Objective(), date=date, winner=rows[0], runners_up=tuple(rows[1:])
    )  # fmt: skip


def test_a_tournament_comes_before_what_was_benchmarked() -> None:
    """Its winner first, its runners-up, then the lowest median; and only what was measured of that model."""
    other = measured(CANDIDATES[0], 0.0001, msgspec.structs.replace(DESCRIBED, name="other"))
    rows = (measured(CANDIDATES[2], 0.002), measured(CANDIDATES[1], 0.001), other)
    profile = Profile(measurements=rows, tuned=(chosen(CANDIDATES[3], CANDIDATES[0]),))
    assert [m.name for m in profile.ranked(DESCRIBED)] == [str(CANDIDATES[i]) for i in (3, 0, 1, 2)]
    assert [m.at(0.5) for m in Profile(measurements=rows).ranked(DESCRIBED)] == [0.001, 0.002]


def test_the_choice_is_this_versions_or_the_last_one() -> None:
    """A new version begins with what was good for the one before it."""
    profile = Profile(
        tuned=(chosen(CANDIDATES[0], date="2026-02-01"), chosen(CANDIDATES[1], date="2026-03-01", version="0.9"))
    )
    one, new = profile.choice("double", "1.0"), profile.choice("double", "2.0")
    assert one is not None
    assert new is not None
    assert (one.version, new.version) == ("1.0", "0.9")
    assert profile.choice("other", "1.0") is None


def test_a_measurement_says_what_has_changed() -> None:
    """The artifact, the engine, the driver, the processor, the cores allowed: each in words."""
    then = key_of(CANDIDATES[0], HOST)
    upgraded = Candidate(CANDIDATES[0].variant, Device("one", "CPU", engine="one 2.0", driver="new 7"))
    assert then.changes(then) == ()
    assert then.changes(key_of(upgraded, HOST)) == (
        "the engine was one 1.0, now one 2.0", "the driver was default, now new 7"
    )  # fmt: skip
    assert then.changes(key_of(CANDIDATES[0], Host("other", 1, 0.5))) == (
        "the processor was a processor, now other", "cores allowed were 2, now 1", "the CPU quota was none, now 0.5"
    )  # fmt: skip
    assert then.digest != key_of(upgraded, HOST).digest


def test_what_was_measured_of_just_this_candidate_is_found() -> None:
    """As long as it still holds."""
    profile = Profile(measurements=(measured(CANDIDATES[0], 0.001),))
    assert profile.of(DESCRIBED, CANDIDATES[0], HOST) is not None
    assert profile.of(DESCRIBED, CANDIDATES[2], HOST) is None
    assert profile.of(DESCRIBED, CANDIDATES[0], Host("a processor", 1)) is None
    assert profile.of(DESCRIBED, Candidate(CANDIDATES[0].variant, DEVICES[0], Settings(threads=1)), HOST) is None


def test_new_measurements_replace_old_ones_of_the_same_candidate() -> None:
    """Measuring again does not pile up."""
    profile = Profile().updated([measured(CANDIDATES[0], 0.001)]).updated([measured(CANDIDATES[0], 0.003)])
    assert [m.at(0.5) for m in profile.measurements] == [0.003]
    again = profile.updated(tuned=[chosen(CANDIDATES[0])]).updated(tuned=[chosen(CANDIDATES[1])])
    assert [t.winner.name for t in again.tuned] == [str(CANDIDATES[1])]


@given(st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=300))
def test_a_distribution_is_ascending_and_of_what_was_seen(seconds: list[float]) -> None:
    """From the least to the largest, each a sample; its middle is the median."""
    found = distribution(seconds)
    assert (found[0], found[100], len(found)) == (min(seconds), max(seconds), 101)
    assert list(found) == sorted(found)
    assert set(found) <= set(seconds)
    assert found[50] == sorted(seconds)[(len(seconds) + 1) // 2 - 1]


def test_a_profile_survives_the_disk(tmp_path: Path) -> None:
    """What is saved is what is loaded, and nothing else is left in the folder."""
    profile = Profile(measurements=(measured(CANDIDATES[0], 0.001),))
    path = tmp_path / "profile.json"
    save(profile, path)
    assert load(path) == profile
    assert [p.name for p in tmp_path.iterdir()] == ["profile.json"]
    assert load(tmp_path / "none.json") == Profile()


@pytest.mark.parametrize(
    "text", ["", "{", '{"schema": 99, "measurements": []}', '{"schema": 2, "tuned": [{}]}', '{"unknown": 1}', "\xff"]
)
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

"""What was measured of a link: how it is told from probes, and its file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_bridge.bench import SIZES, fitted
from edge_runtime.errors import InputError
from edge_runtime.links import SCHEMA, Links, MeasuredLink, load, save


@given(st.floats(0.001, 0.5), st.floats(1e-8, 1e-4))
def test_speed_and_round_trip_are_told_apart(trip: float, per_byte: float) -> None:
    """From medians over several sizes; one slow probe changes nothing."""
    seconds = {size: (trip + size * per_byte,) * 4 + (9.0,) for size in SIZES}
    found = fitted("a", seconds)
    assert found.per_byte == pytest.approx(per_byte, rel=1e-3)
    assert found.round_trip == pytest.approx(trip, rel=1e-2, abs=1e-6)
    assert found.seconds == seconds


def test_a_link_that_no_size_slows_has_some_speed() -> None:
    """Loopback, for one: never zero or less."""
    found = fitted("a", dict.fromkeys(SIZES, (0.001,)))
    assert found.per_byte > 0
    assert found.round_trip == pytest.approx(0.001, rel=0.1)


def test_what_is_saved_comes_back_and_a_newer_measurement_takes_the_place_of_the_older(tmp_path: Path) -> None:
    """Others are kept."""
    path = tmp_path / "links.json"
    assert load(path) == Links()
    links = Links().updated(MeasuredLink("a", "d", 0.1, 1e-6)).updated(MeasuredLink("b", "d", 0.2, 1e-6))
    save(links.updated(MeasuredLink("a", "e", 0.3, 1e-6, {1500: (0.3, 0.4)})), path)
    found = load(path)
    assert {link.endpoint: link.round_trip for link in found.links} == {"a": 0.3, "b": 0.2}
    assert found.of("c") is None


def test_the_work_of_a_model_is_its_median_at_each_endpoint() -> None:
    """Where it was measured, and nothing where it was not."""
    there = MeasuredLink("a", "d", 0.1, 1e-6, worked={"m": (0.3, 0.1, 0.2), "n": ()})
    links = Links().updated(there).updated(MeasuredLink("b", "d", 0.2, 1e-6))
    assert links.work("m") == {"a": 0.2}
    assert links.work("n") == {}


@pytest.mark.parametrize(
    "data", [b"", b"{", b'{"schema": 1, "links": [{}]}', b'{"links": [], "more": 1}', b"\xff", b"[" * 100_000,
             b'{"links": [{"endpoint": "a", "date": "", "round_trip": -1, "per_byte": 1}]}']
)  # fmt: skip
def test_what_is_no_file_of_links_is_told(tmp_path: Path, data: bytes) -> None:
    """And what to do about it."""
    path = tmp_path / "links.json"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"remove it|cannot be"):
        load(path)


def test_another_schema_is_told(tmp_path: Path) -> None:
    """A file of a later version."""
    path = tmp_path / "links.json"
    path.write_bytes(b'{"schema": %d, "links": []}' % (SCHEMA + 1))
    with pytest.raises(InputError, match="schema"):
        load(path)


def test_where_nothing_can_be_written_the_old_file_survives(tmp_path: Path) -> None:
    """A folder that is not there."""
    with pytest.raises(InputError, match="untouched"):
        save(Links(), tmp_path / "nowhere" / "links.json")

"""Recorded links: every format that such recordings come in, and what is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.routing.generate import KINDS, generated
from benchmarks.routing.links import LEAST, read, read_file
from edge_runtime.routing.world import Uplink

FILES = {
    "sabre.json": '[{"duration_ms": 1000, "bandwidth_kbps": 8000, "latency_ms": 20},'
    ' {"duration_ms": 500, "bandwidth_kbps": 0, "latency_ms": 20}]',
    "columns.txt": "0.0 8.0\n1.0\t0.0\n",
    "more.txt": "5.0 8.0 1 2\n6.0 0.0 1 2\n",
    "plain.csv": "time_s,uplink_mbps,rtt_ms\n0,8,40\n1,0,60\n",
    "phone.csv": "Timestamp,DL_bitrate,UL_bitrate,PINGAVG\n2020.02.14_13.21.26,8000,20,-\n2020.02.14_13.21.27,0,2,45\n",
    "sent.csv": "t,ul_kbps,dl_kbps\n0,8000,900\n1,0,900\n",
}


@pytest.mark.parametrize("name", FILES)
def test_each_format_gives_the_same_link(tmp_path: Path, name: str) -> None:
    """A second at 8 Mbit/s and then none: by stretches, by samples, by columns, by names of columns."""
    (tmp_path / name).write_text(FILES[name])
    trace = read_file(tmp_path / name)
    assert trace is not None
    assert trace.rates == (1e6, LEAST)
    assert trace.times[:2] == (0.0, 1.0)


def test_a_mahimahi_file_counts_the_packets_that_could_go(tmp_path: Path) -> None:
    """One line a packet of 1500 bytes, by the millisecond."""
    (tmp_path / "trace.up").write_text("".join(f"{5000 + i}\n" for i in range(1001)))
    trace = read_file(tmp_path / "trace.up")
    assert trace is not None
    assert trace.rates[0] == pytest.approx(1.5e6, rel=0.02)
    assert trace.seconds == pytest.approx(1.0, abs=0.11)


def test_round_trips_are_kept_where_they_were_recorded(tmp_path: Path) -> None:
    """And repeated with the link."""
    (tmp_path / "a.csv").write_text(FILES["plain.csv"])
    trace = read_file(tmp_path / "a.csv")
    assert trace is not None
    assert [trace.trip(at) for at in (0.5, 1.5, 2.5)] == [0.04, 0.06, 0.04]
    (tmp_path / "b.txt").write_text(FILES["columns.txt"])
    bare = read_file(tmp_path / "b.txt")
    assert bare is not None
    assert bare.trip(0.5) is None


def test_what_is_no_recording_is_passed_over_and_a_folder_of_nothing_is_told(tmp_path: Path) -> None:
    """A licence beside the recordings, a picture, an empty file."""
    for name, data in {
        "LICENSE": b"MIT License\n\nCopyright 2020",
        "picture.png": b"\x89PNG\xff\xfe",
        "empty": b"",
    }.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match="no recorded link"):
        read(tmp_path)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.csv").write_text(FILES["plain.csv"])
    assert [trace.name for trace in read(tmp_path)] == ["a"]


@given(st.binary(max_size=300))
def test_garbage_is_a_recording_or_none(data: bytes) -> None:
    """Never an error."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        path.write_bytes(data)
        trace = read_file(path)
    assert trace is None or (trace.seconds > 0 and all(rate >= LEAST for rate in trace.rates))


def test_links_made_from_a_seed_are_the_same_again_and_like_no_other() -> None:
    """Each kind has its own."""
    one, again, other = generated(1), generated(1), generated(2)
    assert one == again
    assert one != other
    assert len({trace.name for trace in one}) == len(KINDS)


rates = st.lists(st.floats(300.0, 1e7), min_size=1, max_size=6)


@given(rates, st.floats(0, 50), st.floats(0, 50), st.floats(1, 1e6))
def test_an_uplink_s_finish_is_the_inverse_of_what_it_moves(
    found: list[float], offset: float, start: float, size: float
) -> None:
    """However often the recording is repeated."""
    uplink = Uplink([float(i) for i in range(len(found) + 1)], found, offset)
    end = uplink.finish(start, size)
    assert end >= start
    assert uplink.moved(end) - uplink.moved(start) == pytest.approx(size, rel=1e-6, abs=1e-2)

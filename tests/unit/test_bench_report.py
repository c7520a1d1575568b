"""Reports: to JSON and back, refused when damaged, and no firmer in words than the samples allow."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.bench.fingerprint import Fingerprint, fingerprint
from edge_runtime.bench.measure import Samples
from edge_runtime.bench.report import Report, Stage, as_text, decode, encode, load, verdict
from edge_runtime.bench.units import CROSS, axis, duration, figure, size, times
from edge_runtime.errors import InputError
from tests.reports import entry, failed, report, simulated


def test_a_report_comes_back_from_json_as_it_was() -> None:
    """Raw values, intervals, failures and all; and the same value gives the same bytes."""
    staged = (Stage("prepare", 1e-3), Stage("run", 2e-3), Stage("answer", 0.0))
    full = msgspec.structs.replace(entry("openvino", 2e-3, "int8"), energy=0.5, paced_cpu=1e-3, stages=staged)
    whole = report(entry("onnx"), full, failed("tflite", "no such op"))
    beside = simulated({"onnx": 1e-3}, np.random.default_rng(0), starts=2)
    assert decode(encode(beside)) == beside
    assert decode(encode(whole)) == whole
    assert encode(decode(encode(whole))) == encode(whole)


def test_every_truncation_is_an_input_error() -> None:
    """A file that was cut off anywhere is refused with one clear error."""
    data = encode(report(entry("onnx", runs=3))).rstrip()
    for end in range(len(data)):
        with pytest.raises(InputError, match="report"):
            decode(data[:end])


@given(st.binary(max_size=200) | st.just(b"[" * 100_000) | st.just(b'{"schema": 2}') | st.just(b'{"schema": true}'))
def test_garbage_is_an_input_error(data: bytes) -> None:
    """No bytes raise anything else."""
    with pytest.raises(InputError, match="report"):
        decode(data)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b'{"schema":2', b'{"schema":1', "schema 1; this version reads 2: measure again"),
        (b'{"schema":2', b'{"schema":3', "schema 3; this version reads 2: measure again, or use its version"),
        (b'"date"', b'"color"', "unknown field|missing required field"),
        (b'"rounds":[[', b'"rounds":[[-5,', ">= 1"),
        (b'"starts":[]', b'"starts":[99]', "no ascending places"),
        (b'"starts":[]', b'"starts":[3,3]', "no ascending places"),
        (b'"stages":[]', b'"stages":[{"name":"think","seconds":1}]', "Invalid enum value"),
        (b'"energy":null', b'"energy":-1', ">= 0"),
        (b'"repeat":1', b'"repeat":0', ">= 1"),
    ],
)
def test_a_report_of_another_kind_is_refused(old: bytes, new: bytes, said: str) -> None:
    """Another schema, unknown fields and impossible times are told by name."""
    with pytest.raises(InputError, match=said):
        decode(encode(report(entry("onnx"))).replace(old, new, 1))


def test_a_file_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    """And one that is there is read."""
    with pytest.raises(InputError, match="cannot be read"):
        load(tmp_path / "no.json")
    whole = report(entry("onnx"))
    (tmp_path / "report.json").write_bytes(encode(whole))
    assert load(tmp_path / "report.json") == whole


def _said(*entries: object) -> str:
    whole = report(*entries)  # type: ignore[arg-type]
    return verdict(whole, whole.models[0]).text


def test_verdict_names_the_fastest_and_what_it_beats() -> None:
    """Against fp32 on onnx where that was measured, else against the slowest."""
    onnx, int8, tflite = entry("onnx", 23e-3), entry("openvino", 10e-3, "int8"), entry("tflite", 40e-3)
    assert _said(onnx, int8, tflite) == f"fastest for net: openvino int8 at 10.0 ms, 2.3{CROSS} faster than onnx fp32"
    assert _said(int8, tflite) == f"fastest for net: openvino int8 at 10.0 ms, 4.0{CROSS} faster than tflite fp32"


def test_verdict_claims_no_more_than_was_seen() -> None:
    """Medians inside each other's noise are a tie, few rounds are no proof, and one candidate beats nobody."""
    noisy = entry("onnx", 10.1e-3, spread=0.3), entry("openvino", 10e-3, "int8", spread=0.3)
    assert _said(*noisy).endswith("too close to onnx fp32 to call")
    assert "from too few rounds to be sure" in _said(entry("onnx", 20e-3, rounds=4), entry("openvino", 10e-3, rounds=4))
    assert _said(entry("onnx")).endswith("the only way measured")
    tied = _said(entry("onnx", 30e-3), entry("openvino", 10e-3, spread=0.3), entry("tflite", 10.1e-3, spread=0.3))
    assert tied.endswith("faster than onnx fp32; a tie with tflite fp32")


def test_verdict_leaves_out_what_failed() -> None:
    """A candidate that stopped half-way is not the fastest, however fast it was; nothing measured is said to be nothing."""
    broken = msgspec.structs.replace(entry("tflite", 1e-3), error="RunError: gave up")
    assert _said(entry("onnx"), broken).endswith("onnx fp32 at 10.0 ms, the only way measured")
    assert _said(failed("onnx", "no")) == "net: nothing could be measured here"


def test_verdict_of_samples_without_a_common_round() -> None:
    """Two candidates that were never measured side by side are compared, but not with certainty."""
    early, late = entry("onnx", 20e-3, rounds=5), entry("openvino", 10e-3, rounds=5)
    assert late.samples is not None
    shifted = Samples("late", ((),) * 5 + late.samples.rounds)
    assert "to be sure" in _said(early, msgspec.structs.replace(late, samples=shifted))


def test_labels_tell_candidates_apart() -> None:
    """Device, threads, and a variant's own name are in the label where they are not the usual."""
    plain = entry("onnx")
    assert plain.label == "onnx fp32"
    assert msgspec.structs.replace(plain, device="CUDA").label == "onnx fp32 CUDA"
    assert msgspec.structs.replace(plain, variant="pruned").label == "onnx pruned"
    with_threads = msgspec.structs.replace(plain.settings, threads=2)
    assert msgspec.structs.replace(plain, settings=with_threads).label == "onnx fp32 2T"


def test_text_has_a_row_for_each_candidate_and_ends_with_the_verdict() -> None:
    """Figures are aligned to the right, failures are told, and the last line is what was found."""
    text = as_text(report(entry("onnx", 20e-3), entry("openvino", 10e-3), failed("tflite", "no such op")))
    lines = text.splitlines()
    assert lines[0].startswith("MODEL")
    assert [line.split()[2] for line in lines[1:4]] == ["openvino", "onnx", "tflite"]
    assert "  net tflite fp32 FAILED: no such op" in lines
    assert lines[-1].startswith("fastest for net: openvino fp32")
    ends = {line.index("ms") for line in lines[1:3]}
    assert len(ends) == 1


def test_units_read_well() -> None:
    """Three digits, and the unit that fits; rounding up moves on to the next unit."""
    assert [duration(s) for s in (0.0, 8e-7, 2.54e-4, 9.999e-4, 0.0131, 0.9999, 2.05, 754.2)] == [
        "0.00 µs", "0.80 µs", "254 µs", "1.00 ms", "13.1 ms", "1.00 s", "2.05 s", "754 s",
    ]  # fmt: skip
    assert [size(n) for n in (None, 0, 1536, 19_083_264)] == ["-", "0.00 B", "1.50 KiB", "18.2 MiB"]
    assert [times(1.04), times(2.34)] == [f"1.04{CROSS}", f"2.3{CROSS}"]
    assert figure(7, "count") == "7.00"


@given(st.floats(1e-9, 1e6), st.floats(1.0, 1e9), st.booleans())
def test_an_axis_has_room_and_round_marks_in_order(low: float, ratio: float, log: bool) -> None:
    """Its ends enclose the values, its marks lie on it in order, and places run from 0 to 100 percent."""
    high = low * ratio
    made = axis(high, "seconds", low=low, log=log)
    assert made.high >= high * 0.999999
    assert made.low <= low
    assert list(made.ticks) == sorted(set(made.ticks))
    assert 0 <= made.at(low) <= made.at(high) <= 100
    assert made.log or (made.ticks[0] == 0.0 and len(made.ticks) >= 3)
    assert len(made.ticks) <= 40


def test_fingerprint_tells_this_machine_and_nothing_of_its_owner() -> None:
    """What is read here is filled in, comes back from JSON, and names no host, user or folder."""
    found = fingerprint()
    assert found.cores_allowed >= 1
    assert found.python.startswith("CPython")
    assert msgspec.json.decode(msgspec.json.encode(found), type=Fingerprint) == found
    assert {name for name, _ in found.rows} >= {"CPU", "Kernel", "Python", "numpy"}
    assert str(Path.home()) not in str(found)


def test_fingerprint_reads_a_board(tmp_path: Path) -> None:
    """A device tree, a governor, a quota of version 2 and a container's mark, as a board has them."""
    for path, text in {
        "proc/cpuinfo": "processor : 0\nBogoMIPS : 108.00\n", "proc/device-tree/model": "Raspberry Pi 5 Model B\0",
        "proc/meminfo": "MemTotal:  8245248 kB\n", "proc/1/cgroup": "0::/kubepods/burstable\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n", "sys/fs/cgroup/cpu.max": "50000 100000\n",
    }.items():  # fmt: skip
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    found = fingerprint(tmp_path)
    assert (found.cpu, found.governor, found.cpu_quota) == ("Raspberry Pi 5 Model B", "ondemand", 0.5)
    assert (found.memory, found.container) == (8245248 * 1024, "Kubernetes")
    told = " ".join(found.doubts)
    assert "governor" in told
    assert "throttled" in told


def test_fingerprint_of_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    """Missing and damaged files leave a field empty and raise nothing."""
    assert fingerprint(tmp_path).memory is None
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text("nonsense")
    assert fingerprint(tmp_path).cpu_quota is None


def test_load_is_a_doubt() -> None:
    """A machine that was busy at the start says so."""
    busy = msgspec.structs.replace(fingerprint(), load=(9.0, 1.0, 1.0), cores_allowed=2)
    assert "load average was 9.0 on 2 cores" in busy.doubts[0]


def test_models_keep_their_order_and_entries_are_sorted() -> None:
    """Models as they were measured, candidates the fastest first, failures last."""
    other = msgspec.structs.replace(entry("onnx"), model="other")
    whole: Report = report(failed("tflite", "no"), other, entry("onnx", 2.0), entry("openvino", 1.0))
    assert whole.models == (("net", "1.0"), ("other", "1.0"))
    assert [e.backend for e in whole.of(("net", "1.0"))] == ["openvino", "onnx", "tflite"]


def test_numbers_of_a_report_are_plain() -> None:
    """No numpy type gets into a report: JSON would refuse it far from where it came from."""
    found = entry("onnx").percentiles[0]
    assert type(found.value) is float
    assert not isinstance(found.low, np.generic)

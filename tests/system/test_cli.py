"""The two commands, as a shell runs them: output, exit statuses, help."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from benchmarks.tiny import tiny_bundle
from edge_runtime.bench import report
from edge_runtime.bundles.store import Store
from edge_runtime.processing.answers import Region
from edge_runtime.processing.boxes import cut
from edge_runtime.processing.files import read_image, write_image
from models.pipelines.sources import PAGE, SPEECH
from tests.onnx_store import write_store

COMMANDS = {
    "edge_runtime.cli": (
        "devices",
        "list",
        "run",
        "install",
        "activate",
        "rollback",
        "bench",
        "compare",
        "gate",
        "optimize",
        "replay",
    ),
    "cloud_bridge.cli": ("serve", "versions", "tune", "broker", "health", "bench", "repository", "agent", "fleet"),
}


def shell(module: str, *arguments: str | Path, status: int = 0) -> str:
    """Run a command, hold it to its exit status, and return what it printed (standard error when it failed)."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr if status > 1 else done.stdout


def edge(*arguments: str | Path, status: int = 0) -> str:
    return shell("edge_runtime.cli", *arguments, status=status)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a bundle that adds one."""
    return tiny_bundle(tmp_path_factory.mktemp("tiny") / "bundle").folder


@pytest.fixture
def x(tmp_path: Path) -> Path:
    """An input for it."""
    np.save(tmp_path / "x.npy", np.arange(10, dtype=np.float32)[None])
    return tmp_path / "x.npy"


@pytest.mark.parametrize(("module", "command"), [(m, c) for m, commands in COMMANDS.items() for c in commands])
def test_every_command_helps_with_an_example(module: str, command: str) -> None:
    """And names its exit statuses."""
    text = shell(module, command, "--help")
    assert "example:" in text
    assert "exit status:" in text


@pytest.mark.parametrize("module", COMMANDS)
def test_no_command_is_wrong_use(module: str) -> None:
    """Exit status 2, with the commands named."""
    assert "COMMAND" in shell(module, status=2)


@pytest.mark.parametrize("module", COMMANDS)
def test_a_command_tells_its_version(module: str) -> None:
    """As installed."""
    assert re.fullmatch(r"[a-z-]+ \d+\.\d+\.\d+\n", shell(module, "--version"))


def test_devices_names_every_engine_here() -> None:
    """As a table, and as JSON for scripts."""
    rows = json.loads(edge("devices", "--json"))
    assert {row["backend"] for row in rows} == {"onnx", "openvino", "tflite"}
    assert all(row["device"] and row["engine"] for row in rows)
    assert "onnx:CPU" in edge("devices")


@pytest.mark.parametrize("device", ["onnx", "openvino", "tflite:CPU"])
def test_run_answers_from_a_bundles_folder(tiny: Path, x: Path, tmp_path: Path, device: str) -> None:
    """On the engine that was asked for, with the outputs written where asked."""
    out = tmp_path / "out.npz"
    printed = json.loads(
        edge("run", tiny, "--input", f"x={x}", "--budget", "5s", "--device", device, "--output", out, "--json")
    )
    assert printed["target"] == "local"
    assert printed["met"]
    assert printed["outputs"] == {"y": {"dtype": "float32", "shape": [1, 10]}}
    assert np.load(out)["y"].tolist() == [[float(i + 1) for i in range(10)]]


def test_run_says_where_and_why(tiny: Path, x: Path) -> None:
    """In words, for people."""
    text = edge("run", tiny, "--input", f"x={x}", "--budget", "5s")
    assert text.startswith("local: fp32-")
    assert "why:" in text
    assert "(met)" in text


def test_a_missed_budget_is_exit_status_1(tiny: Path, x: Path) -> None:
    """The answer is printed all the same."""
    assert "MISSED" in edge("run", tiny, "--input", f"x={x}", "--budget", "0.0000001ms", status=1)


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("run", "TINY"), 2, "no --input was given; tiny takes x float32 [1, 10]"),
        (("run", "TINY", "--input", "x=none.npy"), 2, "none.npy"),
        (("run", "TINY", "--input", "y=X"), 2, "missing: x; unknown: y"),
        (("run", "TINY", "--input", "x=X", "--budget", "soon"), 2, "write 50ms"),
        (("run", "TINY", "--input", "x=X", "--budget=-1s"), 2, "no time above zero"),
        (("run", "TINY", "--input", "x=X", "--device", "onnx:GPU"), 4, "onnx:GPU"),
        (("run", "TINY", "--input", "x=X", "--cloud", "ftp://x"), 2, "ftp"),
        (("run", "TINY", "--input", "cut.npz"), 2, "--input cut.npz: File is not a zip file"),
        (("run", "TINY", "--input", "x=huge.npy"), 2, "--input x=huge.npy: Unable to allocate"),
        (("run", "TINY", "--input", "X"), 2, "write NAME=FILE.npy"),
        (("run", "TINY", "--input", "page.png"), 2, "tiny takes tensors: write NAME=FILE.npy"),
        (("run", "TINY", "--text", "hello"), 2, "tiny has no processing: give tensors by name"),
        (("run", "TINY", "--text", "hello", "--class", "3"), 2, "--text and --class: hand over one thing at a time"),
        (("run", "n" * 5000, "--input", "x=X"), 3, "nnnn"),
        (("run", "no_such_model", "--input", "x=X"), 3, "no_such_model"),
        (("bench", "no_such_model"), 3, "no_such_model"),
        (("install", "no/such/folder"), 3, "no/such/folder"),
        (("rollback", "tiny"), 3, "tiny"),
        (("activate", "tiny"), 2, "NAME@VERSION"),
    ],
)
def test_what_goes_wrong_is_one_line_and_an_exit_status(
    tiny: Path, x: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], status: int, says: str
) -> None:
    """Input 2, bundle 3, engine 4: and never a traceback."""
    (tmp_path / "store").mkdir()
    (tmp_path / "cut.npz").write_bytes(b"PK\3\4 and no more")
    with (tmp_path / "huge.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (1 << 45,)})
    monkeypatch.chdir(tmp_path)
    given = [a.replace("TINY", str(tiny)).replace("X", str(x)) if a.endswith(("TINY", "X")) else a for a in arguments]
    said = edge(*given, "--store", tmp_path / "store", status=status)
    assert says in said


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(("where", "status"), [("closed", 0), ("full", 2)])
def test_output_that_goes_nowhere(where: str, status: int, unbuffered: str) -> None:
    """A reader that went away is no error, a full disk is one in a line; neither is a traceback, buffered or not."""
    reader, writer = os.pipe()
    os.close(reader)
    if where == "full":
        os.close(writer)
        writer = os.open("/dev/full", os.O_WRONLY)
    done = subprocess.run(
        [sys.executable, "-m", "edge_runtime.cli", "devices"],
        stdout=writer, stderr=subprocess.PIPE, text=True, check=False, env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )  # fmt: skip
    os.close(writer)
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    assert ("No space left" in done.stderr) == (where == "full")
    assert "Exception ignored" not in done.stderr


def test_a_bundle_is_installed_listed_activated_and_rolled_back(tiny: Path, tmp_path: Path, x: Path) -> None:
    """The life of a version in a store."""
    store = tmp_path / "store"
    newer = tmp_path / "newer"
    newer.mkdir()
    for file in tiny.iterdir():
        (newer / file.name).write_bytes(file.read_bytes().replace(b'"version": "1.0"', b'"version": "1.1"'))
    edge("install", tiny, "--store", store)
    edge("install", newer, "--no-activate", "--store", store)
    rows = json.loads(edge("list", "--json", "--store", store))
    assert [(row["version"], row["active"]) for row in rows] == [("1.0", True), ("1.1", False)]
    assert "1.1 is active" in edge("activate", "tiny@1.1", "--store", store)
    assert "1.0 is active" in edge("rollback", "tiny", "--store", store)
    told = json.loads(edge("activate", "tiny@1.1", "--json", "--store", store))
    assert told == {"name": "tiny", "version": "1.1", "active": True}
    assert json.loads(edge("rollback", "tiny", "--json", "--store", store))["version"] == "1.0"
    assert json.loads(edge("install", newer, "--no-activate", "--json", "--store", store))["active"] is False
    assert "tiny" in edge("list", "--store", store)
    edge("run", "tiny@1.1", "--input", f"x={x}", "--store", store)


@pytest.fixture(scope="module")
def zoo(store: Store) -> Path:
    """The folder of a store with every model."""
    return store.path


def test_run_reads_a_picture(zoo: Path, packages: Path, tmp_path: Path) -> None:
    """The detector's boxes as a table and as JSON, and the reader's text of one of them."""
    page = packages / PAGE
    table = edge("run", "ppocr_det", "--input", page, "--store", zoo).splitlines()
    assert table[2].split() == ["TOP", "LEFT", "TOP", "RIGHT", "BOTTOM", "RIGHT", "BOTTOM", "LEFT", "SCORE"]
    assert len(table) == 3 + 7
    told = json.loads(edge("run", "ppocr_det", "--input", page, "--json", "--store", zoo))
    assert told["answer"]["kind"] == "boxes"
    line = tmp_path / "line.png"
    write_image(line, cut(read_image(page), msgspec.convert(told["answer"]["boxes"][0], Region)))
    assert "text: Region-based segmentation" in edge("run", "ppocr_rec", "--input", line, "--store", zoo)


def test_run_hears_a_sound(zoo: Path, packages: Path, tmp_path: Path) -> None:
    """When there is speech; a sound at another rate is told both rates."""
    told = edge("run", "silero_vad", "--input", packages / SPEECH, "--store", zoo)
    assert re.search(r"^speech +6\.784 s +7\.168 s +0\.\d+$", told, re.MULTILINE)
    said = edge("run", "basic_pitch", "--input", packages / SPEECH, "--store", zoo, status=2)
    assert "at 16000 Hz; 1 channel of 16 bits at 22050 Hz is needed" in said
    said = edge("run", "silero_vad", "--input", packages / PAGE, "--store", zoo, status=2)
    assert "the model takes a sound" in said
    said = edge("run", "silero_vad", "--input", packages / SPEECH, "--output", tmp_path / "a.png", "--store", zoo, status=2)
    assert "this model's outputs are written as .npz" in said
    said = edge("run", "silero_vad", "--store", zoo, status=2)
    assert "takes a sound: float32 [samples] in -1..1 at 16000 Hz; or audio float32 [1, 576]" in said


def test_bench_writes_its_reports_and_the_profile_that_the_runtime_uses(tiny: Path, tmp_path: Path, x: Path) -> None:
    """JSON with raw values, one self-contained page, and a choice of engine by what was measured."""
    store = tmp_path / "store"
    edge("install", tiny, "--store", store)
    page, data = tmp_path / "out.html", tmp_path / "out.json"
    printed = edge(
        "bench", "tiny", "--runs", "30", "--seconds", "0.3", "--report", page, "--json", data, "--profile", "--store", store
    )
    assert "tiny" in printed
    entries = json.loads(data.read_bytes())["entries"]
    assert len(entries) == 3
    assert "<svg" in page.read_text()
    assert "http://" not in page.read_text().replace("http://www.w3.org", "")
    fastest = min(entries, key=lambda entry: entry["percentiles"][0]["value"])
    used = json.loads(edge("run", "tiny", "--input", f"x={x}", "--json", "--store", store))
    assert used["engine"] == fastest["engine"]


def test_reports_are_compared_and_gated(tiny: Path, tmp_path: Path) -> None:
    """A repeated report passes beside itself; ten times slower fails with 1; what is no report is wrong input."""
    store, first, later = tmp_path / "store", tmp_path / "a.json", tmp_path / "b.json"
    edge("install", tiny, "--store", store)
    tables = tmp_path / "t.md", tmp_path / "t.csv"
    edge(
        "bench", "tiny", "--runs", "60", "--seconds", "0.2", "--repeat", "2", "--json", first, "--store", store,
        "--markdown", tables[0], "--csv", tables[1],
    )  # fmt: skip
    assert "| onnx fp32 |" in tables[0].read_text()
    assert tables[1].read_text().startswith("model,version,")
    page = tmp_path / "out.html"
    assert "no change beyond the noise in 3 ways" in edge("compare", first, first, "--report", page)
    assert "<svg" in page.read_text()
    assert "passed" in edge("gate", "--baseline", first, first, "--max-regress", "5%")
    whole = report.load(first)
    slow = [
        msgspec.structs.replace(e, samples=msgspec.structs.replace(
            s, rounds=tuple(tuple(10 * value for value in part) for part in s.rounds)
        )) for e in whole.entries if (s := e.samples) is not None
    ]  # fmt: skip
    later.write_bytes(report.encode(msgspec.structs.replace(whole, entries=tuple(slow))))
    assert "FAILED tiny onnx fp32: 10." in edge("gate", "--baseline", first, later, "--max-regress", "5%", status=1)
    assert json.loads(edge("gate", "--baseline", first, later, "--json", status=1))["rows"][0]["failed"]
    assert "Traceback" not in edge("gate", "--baseline", tiny / "manifest.json", first, status=2)


def test_a_gate_without_a_report_measures_now(tiny: Path, tmp_path: Path) -> None:
    """The baseline's bundles again, in its way; what was measured can be kept as the next baseline."""
    store, first, later = tmp_path / "store", tmp_path / "a.json", tmp_path / "b.json"
    edge("install", tiny, "--store", store)
    edge("bench", "tiny", "--runs", "50", "--seconds", "0.2", "--device", "onnx", "--json", first, "--store", store)
    printed = edge("gate", "--baseline", first, "--max-regress", "1000%", "--save", later, "--store", store)
    assert "passed" in printed
    before, after = report.load(first), report.load(later)
    assert [e.label for e in before.entries] == [e.label for e in after.entries]
    assert before.protocol == after.protocol


def test_health_of_nobody_is_exit_status_5() -> None:
    """Nobody listens on port 9 of this machine."""
    told = subprocess.run(
        [sys.executable, "-m", "cloud_bridge.cli", "health", "http://127.0.0.1:9", "--timeout", "1", "--json"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert told.returncode == 5
    assert json.loads(told.stdout)["healthy"] is False


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("broker", "--port", "70000"), "70000 is no port"),
        (("health", "http://127.0.0.1:1", "--timeout", "nan"), "no time"),
    ],
)
def test_wrong_use_of_the_bridge_is_exit_status_2(arguments: tuple[str, ...], says: str) -> None:
    """A port or a time that cannot be is the caller's mistake, not the link's."""
    assert says in shell("cloud_bridge.cli", *arguments, status=2)


def test_versions_are_shown_and_set(tmp_path: Path) -> None:
    """Which versions an endpoint serves, and who gets how many calls; what is not installed is refused."""
    store = write_store(tmp_path / "store").path

    def versions(*arguments: str, status: int = 0) -> str:
        return shell("cloud_bridge.cli", "versions", store, *arguments, status=status)

    expected = {"model": "double", "active": "1.0", "served": ["1.0", "2.0"], "traffic": {"1.0": 1.0}}
    assert json.loads(versions("double", "--json")) == [expected]
    assert "1.0 75.0%, 2.0 25.0%" in versions("double", "--serve", "latest", "--traffic", "1.0=3", "2.0=1")
    assert "1.0 75.0%, 2.0 25.0%" in versions()
    versions("double", "--traffic", "9.9=1", status=3)
    versions("--traffic", "1.0=1", status=2)
    versions("double", "--traffic", "1.0", status=2)

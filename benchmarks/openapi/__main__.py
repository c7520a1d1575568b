"""The endpoint asked by who has read its OpenAPI document: schemathesis (extra `fuzz`) makes requests up from the document,
right ones and wrong ones, and holds each answer to it: no 500, no status that it does not name, no body of another form."""

from __future__ import annotations

import argparse
import copy
import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import msgspec

from benchmarks.convention import Bar, Options, Outcome, at_least, at_most, main
from benchmarks.endpoint.drill import served
from benchmarks.tiny import tiny_bundle
from cloud_bridge.endpoint.openapi import document
from edge_runtime.bench.worker import resident_of
from edge_runtime.bundles.store import Store
from edge_runtime.errors import EngineMissingError, RunError

CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
    "response_headers_conformance", "unsupported_method", "allow_header_conformance",
)  # fmt: skip
"""Those that hold an answer to the document. The others ask that all be taken that its schemas let through."""

ROW: dict[str, Any] = {"type": "array", "items": {"type": "number"}, "minItems": 10, "maxItems": 10}
TENSOR: dict[str, Any] = {
    "type": "object",
    "required": ["name", "shape", "datatype", "data"],
    "properties": {"name": {"const": "x"}, "shape": {"const": [1, 10]}, "datatype": {"const": "FP32"}, "data": ROW},
    "additionalProperties": False,
}
"""What the model takes."""


class Asked(msgspec.Struct, frozen=True):
    """Requests, and what was wrong with answers."""

    cases: int
    failures: tuple[str, ...]


class Found(Asked, frozen=True, kw_only=True):
    """The raw values."""

    ran: int
    """Calls that ran the model."""
    memory: tuple[int, int]
    """Bytes of the endpoint a tenth of the time in, and at the end."""


class _Cases(msgspec.Struct):
    generated: int


class _Report(msgspec.Struct):
    """What schemathesis tells."""

    test_cases: _Cases
    failures: list[Any]
    errors: list[Any]


def run(options: Options) -> Outcome:
    """A first tenth to fill what grows once, then the rest."""
    if importlib.util.find_spec("schemathesis") is None:
        raise EngineMissingError("schemathesis is needed: pip install 'edge-runtime[fuzz]'")
    seconds = 30.0 if options.quick else 60.0 * options.own["minutes"]
    with tempfile.TemporaryDirectory(prefix="openapi-") as folder:
        where = Path(folder)
        store = Store(where / "store", create=True)
        store.install(tiny_bundle(where / "tiny").folder)
        (where / "openapi.json").write_text(json.dumps(led(document())))
        with served(store.path, "--control") as (process, url):
            asked, memory = [], []
            for number, share in enumerate((0.1, 0.9)):
                options.progress(number, 2)
                asked.append(_asked(where, url, share * seconds))
                memory.append(resident_of(process.pid) or 0)
            ran = _ran(url)
    failures = tuple(failure for one in asked for failure in one.failures)
    cases = sum(one.cases for one in asked)
    found = Found(cases, failures, ran=ran, memory=(memory[0], memory[1]))
    rows = [f"{cases} requests to all operations, {ran} of them ran the model", *failures]
    return Outcome(_bars(found), rows, found)


def led(written: dict[str, Any]) -> dict[str, Any]:
    """The document, with what leads made-up requests to the model: its tensor, and its name where it is not unloaded."""
    told = copy.deepcopy(written)
    for path, operations in told["paths"].items():
        for parameter in (each for operation in operations.values() for each in operation["parameters"]):
            if not path.endswith("/unload"):
                known = {"model": "tiny", "version": "1.0"}[parameter["name"]]
                parameter["schema"] = {"anyOf": [{"const": known}, {"type": "string"}]}
    schemas = told["components"]["schemas"]
    schemas["InferRequest"] = {"anyOf": [_only("inputs", TENSOR), schemas["InferRequest"]]}
    schemas["PredictRequest"] = {"anyOf": [_only("instances", ROW), schemas["PredictRequest"]]}
    return told


def _only(name: str, each: dict[str, Any]) -> dict[str, Any]:
    """An object of one list of one such thing."""
    listed = {"type": "array", "items": each, "minItems": 1, "maxItems": 1}
    return {"type": "object", "required": [name], "properties": {name: listed}, "additionalProperties": False}


def _asked(folder: Path, url: str, seconds: float) -> Asked:
    """Ask for so long."""
    report = folder / "report.json"
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "run", str(folder / "openapi.json"), "--url", url,
        "--checks", ",".join(CHECKS), "--max-time", str(max(1, int(seconds))), "--report", "json",
        "--report-json-path", str(report), "--continue-on-failure", "--no-shrink",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)  # noqa: S603
    if not report.exists():
        raise RunError(f"schemathesis gave no report: {(done.stderr or done.stdout)[-500:]}")
    told = msgspec.json.decode(report.read_bytes(), type=_Report)
    return Asked(told.test_cases.generated, tuple(str(each) for each in (*told.failures, *told.errors)))


def _ran(url: str) -> int:
    """How often the model has run."""
    with urlopen(f"{url}/v2/models/stats", timeout=10) as answer:  # noqa: S310  (our own)
        told = json.load(answer)["model_stats"]
    return sum(int(model["inference_stats"]["success"]["count"]) for model in told)


def _bars(found: Found) -> list[Bar]:
    first, last = found.memory
    return [
        at_most("answers that are not what the document says", float(len(found.failures)), "", 0.0),
        at_least("calls that ran the model", float(found.ran), "", 1.0),
        at_most("memory grows", 100.0 * (last / first - 1.0), "%", 5.0),
    ]


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, default=30.0, help="how long (default: %(default)g)")


if __name__ == "__main__":
    main("openapi", __doc__, run, add=_add)

"""MLPerf LoadGen as a second judge: the same scenario, driven by it, with this runtime as its system under test."""

from __future__ import annotations

import array
import json
import queue
import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from edge_runtime.bench.scenarios import Judged, MultiStream, Offline, Scenario, Server, SingleStream
from edge_runtime.errors import EngineMissingError, InputError

LIBRARY = 16
"""Samples that it may ask for; all are the same here."""


def judged(call: Callable[[], object], scenario: Scenario, *, workers: int = 1) -> Judged:
    """Let LoadGen drive `call` (one inference) by the scenario, and give its verdict. Raises EngineMissingError where it is
    not installed, InputError for a scenario that it does not have."""
    loadgen = _engine()
    settings = _settings(loadgen, scenario)
    waiting: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    answer = array.array("B", b"\0")
    place, length = answer.buffer_info()[0], len(answer)
    failed: list[str] = []

    def work() -> None:
        while (sample := waiting.get()) is not None:
            try:
                call()
            except Exception as error:  # noqa: BLE001  (whatever a query raises is its result; LoadGen waits for an answer)
                failed.append(f"{type(error).__name__}: {error}")
            loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(sample, place, length)])

    def issue(samples: Iterable[Any]) -> None:
        for sample in samples:
            waiting.put(sample.id)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    system = loadgen.ConstructSUT(issue, lambda: None)
    library = loadgen.ConstructQSL(LIBRARY, LIBRARY, lambda samples: None, lambda samples: None)
    try:
        with tempfile.TemporaryDirectory() as folder:
            logs = loadgen.LogSettings()
            logs.log_output.outdir = folder
            logs.log_output.copy_summary_to_stdout = False
            logs.enable_trace = False
            loadgen.StartTestWithLogSettings(system, library, settings, logs, str(Path(folder) / "audit.config"))
            return _verdict(_details(Path(folder) / "mlperf_log_detail.txt"), scenario, failed)
    finally:
        for _ in threads:
            waiting.put(None)
        for thread in threads:
            thread.join()
        loadgen.DestroyQSL(library)
        loadgen.DestroySUT(system)


def check(scenario: Scenario) -> None:
    """Raise InputError for a scenario that LoadGen does not have, EngineMissingError where it is not installed."""
    if not hasattr(_engine().TestScenario, scenario.name):
        raise InputError(f"LoadGen has no scenario {scenario.name}; it has SingleStream, MultiStream, Server and Offline")


def _engine() -> Any:
    try:
        import mlperf_loadgen
    except ImportError as error:
        raise EngineMissingError(f"LoadGen is not installed ({error}): pip install 'edge-runtime[loadgen]'") from error
    return mlperf_loadgen


def _settings(loadgen: Any, scenario: Scenario) -> Any:
    check(scenario)
    settings = loadgen.TestSettings()
    settings.scenario = getattr(loadgen.TestScenario, scenario.name)
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_query_count = settings.max_query_count = scenario.queries
    settings.min_duration_ms = int(1000 * scenario.seconds)
    settings.schedule_rng_seed = settings.sample_index_rng_seed = settings.qsl_rng_seed = scenario.seed
    if scenario.seconds:
        settings.max_query_count = 0
    if isinstance(scenario, Server):
        settings.server_target_qps = scenario.rate
        settings.server_target_latency_ns = int(scenario.latency * 1e9)
        settings.server_target_latency_percentile = scenario.percentile
    elif isinstance(scenario, SingleStream):
        settings.single_stream_target_latency_percentile = scenario.percentile
    elif isinstance(scenario, MultiStream):
        settings.multi_stream_samples_per_query = scenario.samples
        settings.multi_stream_target_latency_percentile = scenario.percentile
    elif isinstance(scenario, Offline):
        # One query of all samples: LoadGen makes as many as this rate takes to last that long, and a tenth more.
        settings.min_query_count, settings.max_query_count = 1, 0
        settings.min_duration_ms = max(1, int(1000 * scenario.seconds))
        settings.offline_expected_qps = scenario.queries / (settings.min_duration_ms / 1000) / 1.1
    return settings


def _details(path: Path) -> dict[str, Any]:
    """Key -> value of its log; of a key that is there more than once, the last."""
    found: dict[str, Any] = {}
    for line in path.read_text().splitlines():
        mark, _, rest = line.partition(" ")
        if mark == ":::MLLOG":
            entry = json.loads(rest)
            found[entry["key"]] = entry["value"]
    return found


def _verdict(log: dict[str, Any], scenario: Scenario, failed: list[str]) -> Judged:
    reasons = [f"{len(failed)} queries failed: {failed[0]}."] if failed else []
    valid = log.get("result_validity") == "VALID"
    for key, said in (
        ("result_perf_constraints_met", "the latency is over its limit"),
        ("result_min_duration_met", "it was too short"),
        ("result_min_queries_met", "there were too few queries"),
        ("early_stopping_met", "there were too few queries for early stopping"),
    ):
        if log.get(key) is False:
            reasons.append(f"LoadGen says: {said}.")
    return Judged(valid and not failed, _figure(log, scenario), tuple(reasons))


def _figure(log: dict[str, Any], scenario: Scenario) -> float:
    if isinstance(scenario, Offline):
        return float(log["result_samples_per_second"])
    assert isinstance(scenario, SingleStream | MultiStream | Server)  # noqa: S101  (LoadGen has no others)
    share = f"{100 * scenario.percentile:.2f}"
    scale = {SingleStream: "", MultiStream: "_per_query"}.get(type(scenario), "")
    for key in (f"result_{share}_percentile{scale}_latency_ns", f"result_{share}_percentile_latency_ns"):
        if key in log:
            return float(log[key]) * 1e-9
    raise InputError(f"LoadGen tells no percentile {share}; it tells 50, 90, 95, 97, 99 and 99.9")

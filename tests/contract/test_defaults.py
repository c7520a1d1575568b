"""Engines left alone, as the benchmarks run them: the same answers as through the backends."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from benchmarks.tiny import tiny_bundle
from benchmarks.tournament.rivals import DEFAULTS, default
from edge_runtime import backends
from edge_runtime.bench.process import Worker, request_of
from edge_runtime.bundles.store import Store
from edge_runtime.engines import Candidate
from edge_runtime.errors import RunError
from edge_runtime.values import Device, Settings


@pytest.mark.parametrize("backend", backends.NAMES)
@pytest.mark.parametrize("model", ["digits_cnn", "silero_vad", "language_lstm_attention"])
def test_the_answers_are_the_golden_ones(store: Store, backend: str, model: str) -> None:
    """On every engine that has an fp32 artifact; within what bf16 does to them, which is one's default where the processor
    has it. It takes turns like any candidate."""
    found = default(store.bundle(model), backend)
    if found is None:
        assert (backend, model) == ("tflite", "silero_vad")
        return
    with found[1]() as worker:
        started = worker.started()
        assert started.distance is not None
        assert started.distance < (0.05 if backend == "openvino" else 1e-4)
        assert started.cold.seconds > 0
        assert len(worker.turn(3, 5.0).times) == 3
        assert worker.paced(3, 0.01).cpu > 0


def test_it_takes_no_settings(tmp_path: Path) -> None:
    """What is left alone has none."""
    bundle = tiny_bundle(tmp_path / "tiny")
    request = request_of(bundle, Candidate(bundle.manifest.variants[0], Device("onnx", "CPU"), Settings(threads=1)))
    with Worker(request, command=DEFAULTS) as worker, pytest.raises(RunError, match="left alone has no settings"):
        worker.started()
    with Worker(msgspec.structs.replace(request, settings=Settings()), command=DEFAULTS) as w:
        assert w.started().device.name == "CPU"

"""What the endpoint does, for Prometheus: how long each stage of a call takes, how many rows run together, how it ends.

Every call counts itself several times, so that is done in plain lists; prometheus_client writes them when somebody looks.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS = (1, 2, 4, 8, 16, 32, 64)


class _Histogram:
    """How often values fell below each of these edges."""

    def __init__(self, edges: Sequence[float]) -> None:
        self._edges = edges
        self._counts = [0] * (len(edges) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        self._counts[bisect_left(self._edges, value)] += 1
        self._sum += value

    def told(self) -> tuple[list[tuple[str, float]], float]:
        """Prometheus's buckets, each with all below it, and the sum of all values."""
        names = [*map(str, map(float, self._edges)), "+Inf"]
        return list(zip(names, accumulate(self._counts), strict=True)), self._sum


class Metrics(Collector):
    """One endpoint's. `waiting` and `backlog` are asked when somebody looks. For any thread.

    Labels are names and versions of models that are in the store, so that strangers cannot make them grow.
    """

    def __init__(self, waiting: Callable[[], float], backlog: Callable[[], float]) -> None:
        self._waiting, self._backlog = waiting, backlog
        self._stages: dict[tuple[str, str, str], _Histogram] = {}
        self._rows: dict[tuple[str, str], _Histogram] = {}
        self._answers = Counter[int]()
        self._lock = threading.Lock()
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def stage(self, model: str, version: str, stage: str, seconds: float) -> None:
        """A call's stage took so long."""
        key = model, version, stage
        with self._lock:
            if (histogram := self._stages.get(key)) is None:
                histogram = self._stages[key] = _Histogram(SECONDS)
            histogram.add(seconds)

    def ran(self, model: str, version: str, rows: int) -> None:
        """So many rows ran together."""
        key = model, version
        with self._lock:
            if (histogram := self._rows.get(key)) is None:
                histogram = self._rows[key] = _Histogram(ROWS)
            histogram.add(rows)

    def ended(self, status: int) -> None:
        """A call has ended like this; 499 is one that was cancelled."""
        with self._lock:
            self._answers[status] += 1

    def text(self) -> bytes:
        """All of it, in Prometheus's text format."""
        return bytes(generate_latest(self._registry))

    def collect(self) -> Iterator[Metric]:
        """For prometheus_client."""
        of = ("model", "version")
        stages = HistogramMetricFamily(
            "edge_stage_seconds", "Seconds that a stage of a call took: queue, compute, write.", labels=(*of, "stage")
        )
        rows = HistogramMetricFamily("edge_batch_rows", "Rows that ran together.", labels=of)
        answers = CounterMetricFamily("edge_answers", "Calls that have ended, by HTTP status.", labels=("status",))
        with self._lock:
            for stage, histogram in self._stages.items():
                stages.add_metric(stage, *histogram.told())
            for model, histogram in self._rows.items():
                rows.add_metric(model, *histogram.told())
            for status, count in self._answers.items():
                answers.add_metric((str(status),), count)
        yield from (stages, rows, answers)
        yield GaugeMetricFamily("edge_waiting_calls", "Calls that wait for their turn.", self._waiting())
        yield GaugeMetricFamily(
            "edge_backlog_seconds", "Seconds until a call that came now would begin.", self._backlog()
        )  # fmt: skip


def joined(texts: Mapping[str, bytes]) -> bytes:
    """One text of those of several endpoints, by name: each sample with the label `replica`."""
    families: dict[str, Metric] = {}
    for replica, text in texts.items():
        for family in text_string_to_metric_families(text.decode()):
            whole = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                whole.add_sample(sample.name, {**sample.labels, "replica": replica}, sample.value)
    registry = CollectorRegistry()
    registry.register(_Found(families.values()))
    return bytes(generate_latest(registry))


class _Found(Collector):
    """Metrics that are there already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = tuple(families)

    def collect(self) -> Iterable[Metric]:
        return self._families

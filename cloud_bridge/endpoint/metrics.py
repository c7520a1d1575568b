"""What the endpoint does, for Prometheus: how long each stage of a call takes, how many rows run together, how it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """One endpoint's. `waiting` and `backlog` are asked when somebody looks. For any thread.

    Labels are names and versions of models that are in the store, so that strangers cannot make them grow.
    """

    def __init__(self, waiting: Callable[[], float], backlog: Callable[[], float]) -> None:
        self._registry = CollectorRegistry()
        of = ("model", "version")
        self._stages = Histogram(
            "edge_stage_seconds",
            "Seconds that a stage of a call took: queue, compute, write.",
            (*of, "stage"),
            buckets=SECONDS,
            registry=self._registry,
        )
        self._rows = Histogram("edge_batch_rows", "Rows that ran together.", of, buckets=ROWS, registry=self._registry)
        self._answers = Counter(
            "edge_answers", "Calls that have ended, by HTTP status.", ("status",), registry=self._registry
        )
        Gauge("edge_waiting_calls", "Calls that wait for their turn.", registry=self._registry).set_function(waiting)
        Gauge(
            "edge_backlog_seconds", "Seconds until a call that came now would begin.", registry=self._registry
        ).set_function(backlog)

    def stage(self, model: str, version: str, stage: str, seconds: float) -> None:
        """A call's stage took so long."""
        self._stages.labels(model, version, stage).observe(seconds)

    def ran(self, model: str, version: str, rows: int) -> None:
        """So many rows ran together."""
        self._rows.labels(model, version).observe(rows)

    def ended(self, status: int) -> None:
        """A call has ended like this; 499 is one that was cancelled."""
        self._answers.labels(str(status)).inc()

    def text(self) -> bytes:
        """All of it, in Prometheus's text format."""
        return bytes(generate_latest(self._registry))


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

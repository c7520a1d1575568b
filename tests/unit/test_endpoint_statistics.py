"""What the endpoint counts."""

from __future__ import annotations

from cloud_bridge.endpoint.statistics import Statistics


def test_calls_that_ran_together() -> None:
    """Each counts, with what it waited; the run counts once, with its rows."""
    statistics = Statistics()
    statistics.ran("m", "1", rows=5, seconds=0.1, waited=[0.2, 0.0], failed=0)
    statistics.ran("m", "1", rows=1, seconds=0.3, waited=[0.0], failed=1)
    (told,) = statistics.document()["model_stats"]
    assert (told["inference_count"], told["execution_count"]) == (6, 2)
    inference = told["inference_stats"]
    assert inference["success"] == {"count": 2, "ns": 400_000_000}
    assert inference["fail"] == {"count": 1, "ns": 300_000_000}
    assert inference["queue"] == {"count": 3, "ns": 200_000_000}
    assert inference["compute_infer"] == {"count": 3, "ns": 500_000_000}
    assert [(batch["batch_size"], batch["compute_infer"]["count"]) for batch in told["batch_stats"]] == [(1, 1), (5, 1)]


def test_one_model_or_one_version_of_it() -> None:
    """And noughts for what has not run."""
    statistics = Statistics()
    for model, version in (("m", "1"), ("m", "2"), ("n", "1")):
        statistics.ran(model, version, rows=1, seconds=0.1, waited=[0.0], failed=0)

    def told(*which: str) -> list[tuple[str, str, int]]:
        document = statistics.document(*which)["model_stats"]
        return [(entry["name"], entry["version"], entry["execution_count"]) for entry in document]

    assert told() == [("m", "1", 1), ("m", "2", 1), ("n", "1", 1)]
    assert told("m") == [("m", "1", 1), ("m", "2", 1)]
    assert told("m", "2") == [("m", "2", 1)]
    assert told("o") == [("o", "", 0)]

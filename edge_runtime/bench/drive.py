"""Drives a model by a scenario's schedule, and keeps when each query was due, taken and answered."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

import msgspec

from edge_runtime.bench.scenarios import Judged, Scenario, arrivals, judge, samples_per_query

NEAR = 100e-6
"""Seconds before an instant from which on it is waited for awake."""

Call = Callable[[], object]


class Driven(msgspec.Struct, frozen=True):
    """What happened, query by query: nanoseconds from the run's start."""

    scheduled: tuple[int, ...]
    started: tuple[int, ...]
    ended: tuple[int, ...]
    errors: tuple[str, ...]

    def judged(self, scenario: Scenario) -> Judged:
        """The verdict."""
        return judge(scenario, self.scheduled, self.ended, self.errors)


def drive(call: Call, scenario: Scenario, *, workers: int = 1) -> Driven:
    """Run it. `call` is one inference. Where arrivals do not wait for answers, `workers` threads take the queries in their
    order; what they cannot take at once waits, and its wait counts."""
    instants = arrivals(scenario)
    count = samples_per_query(scenario)

    def query() -> None:
        for _ in range(count):
            call()

    return _closed(query, scenario) if instants is None else _open(query, instants, workers)


def _closed(query: Call, scenario: Scenario) -> Driven:
    """The next query when the last was answered."""
    begin = time.perf_counter_ns()
    started: list[int] = []
    ended: list[int] = []
    errors: list[str] = []
    while len(ended) < scenario.queries or time.perf_counter_ns() - begin < scenario.seconds * 1e9:
        start = time.perf_counter_ns() - begin
        try:
            query()
        except Exception as error:  # noqa: BLE001  (whatever a query raises is its result)
            errors.append(f"{type(error).__name__}: {error}")
            if len(errors) > scenario.queries:
                break
            continue
        started.append(start)
        ended.append(time.perf_counter_ns() - begin)
    return Driven(tuple(started), tuple(started), tuple(ended), tuple(errors))


def _open(query: Call, instants: list[float], workers: int) -> Driven:
    """Queries at their instants, whether the last one was answered or not."""
    waiting: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    begin = time.perf_counter_ns() + 1_000_000
    due = [begin + int(at * 1e9) for at in instants]
    done: list[tuple[int, int, int]] = []
    errors: list[str] = []

    def work() -> None:
        while (number := waiting.get()) is not None:
            start = time.perf_counter_ns()
            try:
                query()
            except Exception as error:  # noqa: BLE001  (whatever a query raises is its result)
                errors.append(f"{type(error).__name__}: {error}")
            else:
                done.append((due[number] - begin, start - begin, time.perf_counter_ns() - begin))

    threads = [threading.Thread(target=work, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for number, instant in enumerate(due):
        _until(instant)
        waiting.put(number)
    for _ in threads:
        waiting.put(None)
    for thread in threads:
        thread.join()
    done.sort()
    scheduled, started, ended = zip(*done, strict=True) if done else ((), (), ())
    return Driven(tuple(scheduled), tuple(started), tuple(ended), tuple(errors))


def _until(instant: int) -> None:
    """Sleep until shortly before an instant, and wait for it awake."""
    while (left := (instant - time.perf_counter_ns()) * 1e-9) > 0:
        if left > NEAR:
            time.sleep(left - NEAR)

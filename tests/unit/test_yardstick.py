"""The yardstick: the same work every time, on one thread, of a length that fits into a turn."""

from __future__ import annotations

import time

from edge_runtime.bench.yardstick import yardstick


def test_it_does_the_same_every_time() -> None:
    """The same numbers come out, from one and from another."""
    first, second = yardstick(), yardstick()
    assert first() == first() == second()


def test_it_runs_on_one_thread() -> None:
    """Its processor time is no more than its time: no BLAS wakes a second thread for matrices so small."""
    work = yardstick()
    work()
    start, cpu = time.perf_counter(), time.process_time()
    for _ in range(200):
        work()
    assert time.process_time() - cpu <= 1.2 * (time.perf_counter() - start) + 0.01

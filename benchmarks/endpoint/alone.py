"""The engine without an endpoint, in a process of its own: `python -m benchmarks.endpoint.alone BUNDLE`.

Each line of standard input is rows and seconds; each line of standard output the rows that it did a second, and the
median seconds of a run.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks.endpoint.minilm import sentences
from edge_runtime.bundles.store import read_bundle
from edge_runtime.engines import open_best


@contextmanager
def alone(bundle: Path) -> Iterator[Callable[[int, float], tuple[float, float]]]:
    """That process: given rows and seconds, it comes back with rows a second and the median seconds of a run."""
    command = [sys.executable, "-m", "benchmarks.endpoint.alone", str(bundle)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603

    def ask(rows: int, seconds: float) -> tuple[float, float]:
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        process.stdin.write(f"{rows} {seconds}\n")
        process.stdin.flush()
        rate, median = map(float, process.stdout.readline().split())
        return rate, median

    try:
        yield ask
    finally:
        process.communicate()


def main() -> None:
    session = open_best(read_bundle(Path(sys.argv[1]))).session
    for line in sys.stdin:
        rows, seconds = line.split()
        inputs = sentences(int(rows))
        session.run(inputs)
        took = []
        start = perf_counter()
        while perf_counter() - start < float(seconds):
            begin = perf_counter()
            session.run(inputs)
            took.append(perf_counter() - begin)
        print(len(took) * int(rows) / sum(took), float(np.median(took)), flush=True)


if __name__ == "__main__":
    main()

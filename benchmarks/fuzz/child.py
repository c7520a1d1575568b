"""One target in a process of its own: `python -m benchmarks.fuzz.child TARGET CORPUS SECONDS [replay]`.

Without `replay` libFuzzer drives it (atheris), guided by which branches of the code its bytes reach. With it the corpus is
read again and again, and the memory that this process has before and after is printed: what leaks shows.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path


def main(target: str, corpus: Path, seconds: float, replay: bool) -> None:
    if replay:  # what is imported before atheris looks at it, it does not see: so each part imports for itself
        from benchmarks.fuzz.targets import TARGETS

        _replay(TARGETS[target], [file.read_bytes() for file in corpus.iterdir()], seconds)
        return
    import atheris

    with atheris.instrument_imports(include=["cloud_bridge", "edge_runtime"]):
        from benchmarks.fuzz.targets import TARGETS as INSTRUMENTED
    found = corpus.with_name(f"{target}-crash-")
    options = [f"-max_total_time={int(seconds)}", "-rss_limit_mb=2048", "-timeout=10", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], str(corpus), f"-artifact_prefix={found}", *options], INSTRUMENTED[target])
    atheris.Fuzz()


def _replay(target: Callable[[bytes], object], inputs: list[bytes], seconds: float) -> None:
    from edge_runtime.bench.worker import resident

    figures = []
    for share in (0.3, 0.7):  # the first turn fills caches
        until = time.monotonic() + share * seconds
        while time.monotonic() < until:
            for data in inputs:
                target(data)
        gc.collect()
        figures.append(resident() or 0)
    print(*figures)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), "replay" in sys.argv[4:])

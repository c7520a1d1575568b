"""What every run over a link has in common: the device's process is started at its end, and what became of its calls is
read."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import msgspec

from benchmarks.link.edge import Drive, Order
from benchmarks.link.ends import Between, Ends, start
from edge_runtime.routing.policy import Policy


class Stage(msgspec.Struct, frozen=True):
    """The same for all runs."""

    between: Between
    where: Path
    """A folder for files that pass between processes."""
    store: Path
    """Of the cloud."""
    bundle: Path
    """Of the device."""
    policy: Policy

    def drive(
        self,
        ends: Ends,
        url: str,
        arrivals: tuple[float, ...],
        budget: float,
        *,
        judge: float | None = None,
        meanwhile: Callable[[float], None] | None = None,
        prefix: tuple[str, ...] = (),
    ) -> Drive:
        """Make the calls from the device's end. `judge` lets LoadGen make them, so many a second; `meanwhile` is called on
        another thread with the instant (`time.time()`) at which they begin; `prefix` is what the command begins with."""
        outcome, order, log = (self.where / name for name in ("outcome.json", "order.json", "decisions.jsonl"))
        log.unlink(missing_ok=True)
        wanted = Order(str(self.bundle), url, arrivals, budget, self.policy, str(outcome), str(log), judge)
        order.write_bytes(msgspec.json.encode(wanted))
        process = start((*ends.edge, *prefix), sys.executable, "-m", "benchmarks.link.edge", str(order))
        assert process.stdout is not None  # noqa: S101
        line = process.stdout.readline()
        other = Thread(target=meanwhile, args=(float(line),)) if line and meanwhile is not None else None
        if other is not None:
            other.start()
        process.communicate()
        if other is not None:
            other.join()
        if process.returncode:
            raise OSError(f"the device's process ended with status {process.returncode}")
        return msgspec.json.decode(outcome.read_bytes(), type=Drive)

"""What was found over links, and how it is told in a line."""

from __future__ import annotations

import msgspec

from benchmarks.link.drill import Trouble
from benchmarks.link.edge import Drive
from edge_runtime.bench.scenarios import Judged


class Shares(msgspec.Struct, frozen=True):
    """Of the calls."""

    met: float
    """In time."""
    cloud: float
    """Answered by the cloud."""
    sent: float
    """Payloads sent per call; measured, with headers, handshakes, probes, and what was sent again."""


class Row(msgspec.Struct, frozen=True):
    """One link over one transport."""

    link: str
    offset: float
    """Seconds of the recording before the first call."""
    transport: str
    measured: Shares
    simulated: Shares
    drive: Drive

    @property
    def slowest(self) -> float:
        """Seconds of the longest call."""
        return max(call.elapsed for call in self.drive.calls)

    def __str__(self) -> str:
        it, simulated = self.measured, self.simulated
        return (
            f"{self.link:45} {self.transport}  met {it.met:7.2%} (simulated {simulated.met:7.2%})  "
            f"cloud {it.cloud:4.0%} ({simulated.cloud:4.0%})  sent {it.sent:.2f} ({simulated.sent:.2f})  "
            f"slowest {self.slowest * 1e3:.0f} ms"
        )


class Verdict(msgspec.Struct, frozen=True):
    """MLPerf LoadGen's."""

    link: str
    transport: str
    judged: Judged

    def __str__(self) -> str:
        told = "VALID" if self.judged.valid else f"INVALID: {' '.join(self.judged.reasons)}"
        return f"MLPerf LoadGen, Server, {self.link}, {self.transport}: p99 {self.judged.figure * 1e3:.0f} ms, {told}"


class Found(msgspec.Struct, frozen=True):
    """The raw values."""

    how: str
    """How the links were made."""
    calls: int
    budget: float
    size: int
    rows: tuple[Row, ...]
    verdicts: tuple[Verdict, ...]
    troubles: tuple[Trouble, ...]

"""What may go wrong on the way, done for real: each trouble comes in the middle of a run and goes again."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import msgspec

from benchmarks.link.cloud import Cloud
from benchmarks.link.edge import Came, Drive, Order
from benchmarks.link.emulator import emulated, inside, ip
from benchmarks.routing.links import LinkTrace
from edge_runtime.routing.policy import Policy

GOOD = LinkTrace("good", (0.0, 60.0), (2.5e6,), (0.0,), (0.03,))
"""20 Mbit/s and 30 ms."""

RATE, COMES, GOES, ENDS = 10.0, 4.0, 7.0, 12.0
"""Calls a second; seconds at which the trouble comes, is to be over, and the run ends."""


class Trouble(msgspec.Struct, frozen=True):
    """One kind of it, over one transport."""

    name: str
    transport: str
    met: float
    """Share of all calls that were answered in time."""
    back: float | None
    """Seconds from when the cloud could be reached again to its first answer; None: it never came."""
    local: int
    """Calls that the device answered while the trouble lasted."""


Act = Callable[[str, Cloud], None]


def _cut(edge: str, cloud: Cloud) -> None:
    ip(edge, "link", "set", "dev", "tun0", "down")


def _join(edge: str, cloud: Cloud) -> None:
    ip(edge, "link", "set", "dev", "tun0", "up")


TROUBLES: dict[str, tuple[tuple[str, ...], Act, Act]] = {
    "cable pulled": (("http", "mqtt"), _cut, _join),
    "endpoint killed": (("http", "mqtt"), lambda _, c: c.kill("endpoint"), lambda _, c: c.start("endpoint")),
    "broker killed": (("mqtt",), lambda _, c: c.kill("broker"), lambda _, c: c.restart_broker()),
    "endpoint stalls": (
        ("http", "mqtt"),
        lambda _, c: c.signal("endpoint", signal.SIGSTOP),
        lambda _, c: c.signal("endpoint", signal.SIGCONT),
    ),
    "broker stalls": (
        ("mqtt",), lambda _, c: c.signal("broker", signal.SIGSTOP), lambda _, c: c.signal("broker", signal.SIGCONT),
    ),
}  # fmt: skip


def drill(store: Path, bundle: Path, where: Path, policy: Policy, budget: float) -> Iterator[Trouble]:
    """Each trouble over each transport that it concerns."""
    for name, (transports, comes, goes) in TROUBLES.items():
        for transport in transports:
            yield _one(name, transport, comes, goes, store, bundle, where, policy, budget)
    yield _nowhere(bundle, where, policy, budget)


def _one(
    name: str, transport: str, comes: Act, goes: Act, store: Path, bundle: Path, where: Path, policy: Policy, budget: float
) -> Trouble:  # fmt: skip
    with emulated(GOOD, 0.0, where) as (edge, cloud), Cloud(cloud, store, transport) as there:
        over: list[float] = []

        def trouble(start: float) -> None:
            time.sleep(max(0.0, start + COMES - time.time()))
            comes(edge, there)
            time.sleep(max(0.0, start + GOES - time.time()))
            goes(edge, there)
            over.append(time.time() - start)

        drive = _drive(edge, there.url, bundle, where, policy, budget, trouble)
    gone = over[0] if over else GOES
    return _judged(name, transport, drive, gone)


def _drive(
    edge: str, url: str, bundle: Path, where: Path, policy: Policy, budget: float, trouble: Callable[[float], None] | None
) -> Drive:
    """Calls at a fixed rate from the edge's namespace; the trouble is told the instant (wall clock) at which they begin."""
    outcome = where / "outcome.json"
    arrivals = tuple(i / RATE for i in range(int(ENDS * RATE)))
    order = Order(str(bundle), url, arrivals, budget, policy, str(outcome), str(where / "drill.jsonl"))
    (where / "order.json").write_bytes(msgspec.json.encode(order))
    process = inside(edge, sys.executable, "-m", "benchmarks.link.edge", str(where / "order.json"))
    assert process.stdout is not None  # noqa: S101
    start = float(process.stdout.readline())
    worker = None if trouble is None else Thread(target=trouble, args=(start,))
    if worker is not None:
        worker.start()
    if process.wait() != 0:
        raise OSError("the device's process failed")
    if worker is not None:
        worker.join()
    return msgspec.json.decode(outcome.read_bytes(), type=Drive)


def _judged(name: str, transport: str, drive: Drive, gone: float) -> Trouble:
    def during(call: Came) -> bool:
        return COMES <= call.at < gone

    back = next((c.at + c.elapsed - gone for c in drive.calls if c.target == "cloud" and c.at + c.elapsed > gone), None)
    return Trouble(
        name, transport, sum(c.met for c in drive.calls) / len(drive.calls), back,
        sum(during(c) and c.target == "local" for c in drive.calls),
    )  # fmt: skip


@contextmanager
def _resolver(namespace: str) -> Iterator[None]:
    """A name server that never answers, for one namespace."""
    folder = Path("/etc/netns") / namespace
    folder.mkdir(parents=True)
    (folder / "resolv.conf").write_text("nameserver 10.77.7.99\noptions timeout:5 attempts:2\n")
    try:
        yield
    finally:
        (folder / "resolv.conf").unlink()
        folder.rmdir()


def _nowhere(bundle: Path, where: Path, policy: Policy, budget: float) -> Trouble:
    """The endpoint's name is looked up, and the look-up hangs."""
    with emulated(GOOD, 0.0, where) as (edge, _), _resolver(edge):
        drive = _drive(edge, "http://endpoint.example:8000", bundle, where, policy, budget, None)
    judged = _judged("name look-up hangs", "http", drive, 0.0)
    return msgspec.structs.replace(judged, local=sum(c.target == "local" for c in drive.calls))

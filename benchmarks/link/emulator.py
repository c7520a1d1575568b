"""A link between two network namespaces: two TUN devices, and this process between them, which lets packets through as a
recorded link would have, after its delay, from a queue that is bounded. The kernel's own TCP runs over it, slow start and
losses included.

Needs root, `ip` (iproute2) and /dev/net/tun. Run as a process of its own: `python -m benchmarks.link.emulator TRACE.json`.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import os
import select
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.link.ends import Carried, Ends, carrier, carry, priority, start
from benchmarks.routing.links import LinkTrace
from benchmarks.routing.world import TRIP
from edge_runtime.routing.world import Uplink

EDGE, CLOUD, NETWORK = "10.77.7.1", "10.77.7.2", "10.77.7.0/24"
"""The addresses of the two ends."""

QUEUE = 0.3
"""Seconds of a link's mean rate that its queue holds; mobile networks keep at least so much."""

LEAST_QUEUE = 64 << 10
"""Bytes that a queue holds at least."""

DOWN = 12.5e6
"""Bytes per second of the way down: answers are small, and downlinks are rarely what is short."""

IDLE_START = "/proc/sys/net/ipv4/tcp_slow_start_after_idle"
"""Off on the device, as docs/bridge.md advises."""

CONGESTION = "cubic"
"""What Linux comes with, whatever this machine has been set to."""

TUN_QUEUE = "10000"
"""Packets that wait for this process to look, in the kernel: what is lost is lost by the emulated link's queue alone."""

PACKET = 65_535
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI, _NEWNET = 0x400454CA, 0x0001, 0x1000, 0x40000000


class Way:
    """One direction: packets leave in their order, each when the link could have carried it, and arrive after the delay."""

    def __init__(self, carry: Callable[[float, int], float], delay: Callable[[float], float], queue: float) -> None:
        self._carry, self._delay, self._queue = carry, delay, queue
        self._free = 0.0
        self._arriving: list[tuple[float, int, bytes]] = []
        self._leaving: list[tuple[float, int]] = []
        self._waiting = 0
        self._number = 0
        self.carried = 0
        self.lost = 0

    def put(self, packet: bytes, now: float) -> None:
        """A packet comes to the link; one for which the queue has no room is lost."""
        while self._leaving and self._leaving[0][0] <= now:
            self._waiting -= heapq.heappop(self._leaving)[1]
        if self._waiting + len(packet) > self._queue:
            self.lost += 1
            return
        self.carried += len(packet)
        self._free = self._carry(max(now, self._free), len(packet))
        self._waiting += len(packet)
        heapq.heappush(self._leaving, (self._free, len(packet)))
        self._number += 1
        heapq.heappush(self._arriving, (self._free + self._delay(now), self._number, packet))

    def due(self, now: float) -> Iterator[bytes]:
        """The packets that have arrived by now."""
        while self._arriving and self._arriving[0][0] <= now:
            yield heapq.heappop(self._arriving)[2]

    @property
    def next(self) -> float:
        """When the next one arrives."""
        return self._arriving[0][0] if self._arriving else float("inf")


def forward(edge: int, cloud: int, trace: LinkTrace, offset: float, carried: Carried) -> None:
    """Carry packets between two TUN devices until this process is ended."""
    uplink = Uplink(trace.times, trace.rates, offset)
    start = time.monotonic()

    def half(now: float) -> float:
        return 0.5 * (trace.trip(now + offset) or TRIP)

    up = Way(uplink.finish, half, max(LEAST_QUEUE, QUEUE * uplink.mean))
    down = Way(lambda at, size: at + size / DOWN, half, QUEUE * DOWN)
    while True:
        carried.up, carried.down, carried.lost = up.carried, down.carried, up.lost + down.lost
        now = time.monotonic() - start
        wait = max(0.0, min(up.next, down.next, now + 1.0) - now)
        for fd in select.select([edge, cloud], [], [], wait)[0]:
            now = time.monotonic() - start
            with suppress(BlockingIOError):
                while True:
                    (up if fd == edge else down).put(os.read(fd, PACKET), now)
        now = time.monotonic() - start
        for way, out in ((up, cloud), (down, edge)):
            for packet in way.due(now):
                with suppress(OSError):
                    os.write(out, packet)


def open_tun(namespace: str, address: str) -> int:
    """A TUN device in this namespace, up, with this address; its file descriptor."""
    libc = ctypes.CDLL(None, use_errno=True)
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if libc.setns(there, _NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH", b"tun0", _IFF_TUN | _IFF_NO_PI))
    finally:
        libc.setns(own, _NEWNET)
        os.close(own)
        os.close(there)
    _ip("-n", namespace, "addr", "add", f"{address}/24", "dev", "tun0")
    _ip("-n", namespace, "link", "set", "dev", "tun0", "up", "mtu", "1500", "txqueuelen", TUN_QUEUE)
    _ip("-n", namespace, "link", "set", "dev", "lo", "up")
    return tun


def _ip(*arguments: str, check: bool = True) -> None:
    subprocess.run(["ip", *arguments], check=check, capture_output=True)  # noqa: S603, S607  (it is where root's PATH says)


def _join(namespace: str, address: str) -> None:
    """Put the link up, and the route over it."""
    _ip("-n", namespace, "link", "set", "dev", "tun0", "up")
    _ip("-n", namespace, "route", "replace", NETWORK, "dev", "tun0", "src", address, "congctl", CONGESTION)


def lacking() -> str:
    """Why no link can be emulated here; empty where one can."""
    if os.geteuid() != 0:
        return "it needs root"
    if not Path("/dev/net/tun").exists():
        return "there is no /dev/net/tun"
    probe = f"edge-probe-{os.getpid()}"
    try:
        _ip("netns", "add", probe)
        _ip("netns", "delete", probe)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"ip netns: {error}"
    return ""


@contextmanager
def emulated(trace: LinkTrace, offset: float, folder: Path) -> Iterator[Ends]:
    """Two namespaces with the link between them, for as long as the context lasts."""
    edge, cloud = f"edge-{os.getpid()}", f"cloud-{os.getpid()}"
    carried = Carried()
    for name in (edge, cloud):
        _ip("netns", "add", name)
    try:
        with carrier(__name__, trace, folder, carried, str(offset), edge, cloud):
            inside_edge, inside_cloud = (("ip", "netns", "exec", name) for name in (edge, cloud))
            start(inside_edge, "sh", "-c", f"echo 0 > {IDLE_START}").wait()
            _join(edge, EDGE)
            _join(cloud, CLOUD)
            where = {"http": f"{CLOUD}:8000", "mqtt": f"{CLOUD}:1883"}
            yield Ends(
                inside_edge, inside_cloud, where, where,
                lambda: _ip("-n", edge, "link", "set", "dev", "tun0", "down"),
                lambda: _join(edge, EDGE),
                carried,
                Path("/etc/netns", edge, "resolv.conf"),
            )  # fmt: skip
    finally:
        for name in (edge, cloud):
            _ip("netns", "delete", name, check=False)


def main() -> None:
    """The process between the two ends."""
    recording, offset, edge, cloud = sys.argv[1:]
    began = float(offset)
    ends = open_tun(edge, EDGE), open_tun(cloud, CLOUD)
    priority()
    print("ready", flush=True)
    carry(recording, lambda trace, carried: forward(*ends, trace, began, carried))


if __name__ == "__main__":
    main()

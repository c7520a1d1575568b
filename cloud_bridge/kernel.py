"""What the kernel tells of a TCP connection (Linux): how many bytes it has sent, and for how long it had something to
send."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from typing import Any, NamedTuple

_SIZE = 216
"""Bytes of linux/tcp.h's tcp_info, since Linux 4.19."""


class Kernel(NamedTuple):
    """One look at a connection."""

    sent: int
    """Bytes, not counting what was sent again."""
    busy: float
    """Seconds in which it had bytes that were not acknowledged yet."""
    trip: float
    """Seconds of the shortest round trip of late."""


def read_kernel(link: Any) -> Kernel | None:
    """Look at a connected socket; None where the kernel does not tell."""
    if link is None or not sys.platform.startswith("linux"):
        return None
    with contextlib.suppress(OSError):
        info = link.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE)
        if len(info) == _SIZE:
            (trip,) = struct.unpack_from("=I", info, 148)  # tcpi_min_rtt
            (busy,) = struct.unpack_from("=Q", info, 168)  # tcpi_busy_time
            sent, again = struct.unpack_from("=QQ", info, 200)  # tcpi_bytes_sent, tcpi_bytes_retrans
            return Kernel(int(sent - again), busy * 1e-6, trip * 1e-6)
    return None

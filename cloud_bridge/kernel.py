"""What the kernel tells of a TCP connection (Linux): how many bytes it has sent, and for how long it had something to
send."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from typing import Any, NamedTuple

_INFO = struct.Struct("=148xI16xQ24xQQ")
"""tcpi_min_rtt, tcpi_busy_time, tcpi_bytes_sent and tcpi_bytes_retrans in linux/tcp.h's tcp_info, since Linux 4.19."""


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
        info = link.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
        if len(info) == _INFO.size:
            trip, busy, sent, again = _INFO.unpack(info)
            return Kernel(sent - again, busy * 1e-6, trip * 1e-6)
    return None

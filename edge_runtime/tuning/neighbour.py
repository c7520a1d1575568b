"""A neighbour that keeps one core busy: a real process, as on a device that does more than infer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_BUSY = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
while True:
    pass
"""


@contextmanager
def busy_neighbour(wanted: bool = True) -> Iterator[None]:
    """It runs until this is left, or until this process dies: then its stdin ends."""
    if not wanted:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", _BUSY], stdin=subprocess.PIPE)  # noqa: S603  (our own interpreter)
    try:
        yield
    finally:
        process.kill()
        process.communicate()

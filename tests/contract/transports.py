"""Every way to a cloud, each in front of the same endpoint: what the contract suite runs over."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.endpoint import endpoint


class Transport(NamedTuple):
    """How to reach an endpoint one way."""

    serve: Callable[[Path], AbstractContextManager[str]]
    """Serves a store for as long as the context lasts, and gives the URL for `connect`."""
    nobody: Callable[[], str]
    """A URL at which nobody is."""


@contextmanager
def _http(store: Path) -> Iterator[str]:
    with endpoint(store) as running:
        yield running.url


def free_port() -> int:
    """A port of this machine at which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


TRANSPORTS: dict[str, Transport] = {
    "http": Transport(_http, lambda: f"http://127.0.0.1:{free_port()}"),
}

"""Every way to a cloud, each in front of the same endpoint: what the contract suite runs over."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from cloud_bridge import broker
from tests.endpoint import endpoint
from tests.system.mqtt_parts import need


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


def _mqtt(kind: broker.Kind) -> Transport:
    @contextmanager
    def serve(store: Path) -> Iterator[str]:
        with broker.start(kind=need(kind)) as running, endpoint(store, http=None, mqtt=running.url):
            yield running.url

    return Transport(serve, lambda: f"mqtt://127.0.0.1:{free_port()}")


TRANSPORTS: dict[str, Transport] = {
    "http": Transport(_http, lambda: f"http://127.0.0.1:{free_port()}"),
    "mqtt-mosquitto": _mqtt("mosquitto"),
    "mqtt-iotcore": _mqtt("iotcore"),
}

"""The protocol's model repository: what is in it, and orders to load and unload. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from cloud_bridge.protocol.body import read_json
from edge_runtime.errors import ProtocolError


class IndexEntry(msgspec.Struct, frozen=True):
    """One version of a model in a server's repository."""

    name: str
    version: str
    state: str
    """ "READY" or "UNAVAILABLE"."""
    reason: str


class _Index(msgspec.Struct):
    ready: bool = False


class _Order(msgspec.Struct):
    parameters: dict[str, Any] | None = None


def decode_index(body: bytes) -> bool:
    """Whether a request for the repository's index asks for those that are ready only. Raises ProtocolError."""
    return read_json(memoryview(body), _Index).ready if body else False


def check_order(body: bytes) -> None:
    """ProtocolError unless an order to load or unload asks for nothing else."""
    order = read_json(memoryview(body), _Order) if body else _Order()
    check_parameters(order.parameters or {})


def check_parameters(names: Iterable[str]) -> None:
    """ProtocolError for parameters of an order that would change what is loaded: that which a store holds is, as it is.

    `unload_dependents` may be said: nothing here depends on a model.
    """
    for name in names:
        if name != "unload_dependents":
            raise ProtocolError(f"parameter {name[:40]!r} is not supported: install the model into the store, then load it")

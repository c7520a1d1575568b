"""The port to the cloud. The device knows a cloud only as this; `cloud_bridge.client` implements it over HTTP and MQTT."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from edge_runtime.values import Tensors


class Call(msgspec.Struct, frozen=True, eq=False):
    """One inference asked of a remote."""

    model: str
    inputs: Tensors
    version: str | None = None
    """None lets the endpoint use its active version."""
    trace: Mapping[str, str] = {}
    """Headers that tell which trace the call is part of (W3C Trace Context)."""

    @property
    def size(self) -> int:
        """Bytes of the tensors."""
        return nbytes(self.inputs)


def nbytes(tensors: Tensors) -> int:
    """Bytes of all of them."""
    size = 0
    for array in tensors.values():
        size += array.nbytes
    return size


class Reply(msgspec.Struct, frozen=True, eq=False):
    """A remote's answer."""

    outputs: Tensors
    engine: str = ""
    device: str = ""
    variant: str = ""
    seconds: float | None = None
    """What the endpoint says it spent on the call, from having read it to having the answer; None if it did not say."""
    uploading: float | None = None
    """Seconds that the endpoint says the request took to come, from its first byte to its last; None if it did not say."""
    waited: float | None = None
    """How many of `seconds` the endpoint says the call waited for its turn; None if it did not say."""
    wait: float | None = None
    """Seconds that the endpoint predicted, as the answer left, for the model's next call to wait; None if it did not."""


class Pending(Protocol):
    """A call under way."""

    def result(self, timeout: float) -> Reply:
        """Wait for the answer, at most `timeout` seconds.

        Raises LateError when none is there by then (the call goes on: ask again, or cancel it), and the other errors
        under RemoteError when the call has failed.
        """
        ...

    def done(self) -> bool:
        """Whether `result` would return, or raise, at once."""
        ...

    def add_done_callback(self, callback: Callable[[], None]) -> None:
        """Call this, once, as soon as `done` is true: at once if it is, else on whichever thread made it so. It must not
        wait for anything."""
        ...

    def cancel(self) -> int:
        """Give the call up and stop its bytes. Returns how many bytes of the request had left. Safe to repeat."""
        ...


class Remote(Protocol):
    """A cloud that can be asked. Every method may be called from any thread."""

    @property
    def name(self) -> str:
        """Where it is, for messages: a URL without credentials."""
        ...

    def send(self, call: Call, *, deadline: float) -> Pending:
        """Start a call and return at once. `deadline` is an instant of `time.monotonic()`; past it the call is dropped
        by itself, and the endpoint is told the remaining time as a duration. The inputs are not copied: leave them as they
        are until it is done or cancelled. Raises UnreachableError at once when it is known that nobody can answer."""
        ...

    def probe(self, size: int) -> Pending:
        """Send `size` bytes that ask for nothing, to learn the link. The reply has no outputs."""
        ...

    def health(self, timeout: float) -> bool:
        """Whether an endpoint that takes calls answers within `timeout` seconds."""
        ...

    def close(self) -> None:
        """Cancel what is under way and free the connection."""
        ...

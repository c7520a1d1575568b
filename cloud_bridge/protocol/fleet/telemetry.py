"""What a device tells of itself now and then, unasked: figures on `tele/device`. Lost ones are no loss. Pure."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from cloud_bridge.protocol.fleet.names import Count, Seconds
from cloud_bridge.protocol.fleet.wire import Message

DEVICE = "device"
"""What these figures are called in their topic."""


class Figures(Message, frozen=True, kw_only=True):
    """How a device does. What it cannot tell is left out."""

    timestamp: Seconds
    """By the device's clock."""
    uptime: Annotated[float, Meta(ge=0.0)]
    """Seconds that the agent has run."""
    load: Annotated[float, Meta(ge=0.0)] | None = None
    """Processes that run or wait to, in the last minute."""
    memory: Count | None = None
    """Bytes that are available."""
    free: Count | None = None
    """Bytes on the store's disk."""
    temperature: float | None = None
    """Of the warmest part, in degrees Celsius."""
    waiting: Count = 0
    """Messages that have not been accepted yet."""

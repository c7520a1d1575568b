"""Time, as an agent needs it: an argument, never a call."""

from __future__ import annotations

import msgspec

RETRY = 30.0
"""Seconds without an answer after which a request goes out again, at the earliest."""


class Instant(msgspec.Struct, frozen=True):
    """One moment on both clocks."""

    unix: float
    """Seconds since 1970: for what is said to others. It may jump."""
    mono: float
    """Seconds of a clock that only goes on: for what is waited for."""

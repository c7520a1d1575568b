"""What is known of the way to one endpoint: how fast bytes go, how long the round trip is, and whether anybody is there.
Pure.

An answer's time is taken to be R + (its bytes and those before it) x t + what the endpoint says that it worked. Where the
endpoint does not tell how long the bytes took to come, only the sum is seen, and each surprise is shared between R and t
by what either could explain. t is a running mean of logarithms that forgets with time, since a link that was measured a
second ago may be another one now.
"""

from __future__ import annotations

from math import exp

import msgspec

from edge_runtime.routing.policy import Policy

FORGET = 0.25
"""Seconds after which a new observation of the speed counts for 63 %."""

WEIGHT = 0.3
"""Of the newest observation in the running means of round trip and of the endpoint's work."""

NEVER = -1e9
"""An instant before all others."""

WEIGHT_DOWN = 0.5
"""The same of a round trip that was shorter: nothing goes faster than the way is long, but much may hold it up."""

FIRST_SPEED, FIRST_TRIP = 1e-6, 0.05
"""Seconds per byte (8 Mbit/s) and a round trip that a first observation is read by: those of an ordinary mobile uplink."""

SPEED_VARIES, TRIP_VARIES, JITTER = 0.5, 0.3, 0.005
"""How far the speed and the round trip are off by themselves, as shares of them, and seconds that a round trip is off at
least: a surprise is shared between them by what each could explain."""


class Link(msgspec.Struct):
    """The way to one endpoint. Bytes, seconds, seconds per byte."""

    per_byte: float | None = None
    round_trip: float = 0.0
    heard: float = NEVER
    """When something was learnt of its speed."""

    def seconds(self, size: int) -> float | None:
        """How long `size` bytes and an answer take on the way; None if nothing is known."""
        return None if self.per_byte is None else self.round_trip + size * self.per_byte

    def moved(self, size: int, seconds: float, now: float, per_byte: float | None = None) -> None:
        """`size` bytes went and an answer came, `seconds` on the way together; each byte took `per_byte`, where the other
        end told."""
        seconds = max(seconds, 1e-6)
        if per_byte is not None:
            trip = max(0.0, seconds - size * per_byte)
            if self.per_byte is None:
                self.per_byte, self.round_trip = per_byte, trip
            else:
                self._learn(per_byte, now)
                self.round_trip += (WEIGHT if trip > self.round_trip else WEIGHT_DOWN) * (trip - self.round_trip)
        elif self.per_byte is None:
            self._start(size, seconds)
        else:
            surprise = seconds - self.round_trip - size * self.per_byte
            of_bytes, of_trip = (SPEED_VARIES * size * self.per_byte) ** 2, (TRIP_VARIES * self.round_trip + JITTER) ** 2
            on_bytes = of_bytes / (of_bytes + of_trip)
            self.round_trip = min(seconds, max(0.0, self.round_trip + WEIGHT * (1.0 - on_bytes) * surprise))
            if size:
                self._learn(self.per_byte + on_bytes * surprise / size, now)
        self.heard = now

    def stuck(self, sent: int, size: int, seconds: float, longest: float, now: float) -> None:
        """A call was given up after `seconds` when `sent` of its `size` bytes had gone. The speed is taken to be no worse
        than `longest` seconds for all of it."""
        gone = max(seconds - self.round_trip, 0.1 * seconds)
        slow = min(gone / max(sent, 1), longest / max(size, 1))
        if self.per_byte is None:
            self.per_byte, self.round_trip = slow, min(FIRST_TRIP, 0.5 * seconds)
        elif sent < size:
            self._learn(slow, now)
        elif seconds > self.round_trip + size * self.per_byte:  # all of it left, and the answer takes at least so long
            self.moved(size, seconds, now)
        self.heard = now

    def _start(self, size: int, seconds: float) -> None:
        """Of a small one most is taken to be the round trip, of a large one the bytes."""
        self.round_trip = max(min(FIRST_TRIP, 0.5 * seconds), seconds - size * FIRST_SPEED)
        self.per_byte = max(0.1 * FIRST_SPEED, (seconds - self.round_trip) / max(size, 1))

    def _learn(self, per_byte: float, now: float) -> None:
        """A new observation of the seconds per byte."""
        assert self.per_byte is not None  # noqa: S101
        weight = 1.0 - exp(-max(0.0, now - self.heard) / FORGET)
        ratio = max(per_byte / self.per_byte, 0.05)
        self.per_byte *= ratio**weight


class Breaker(msgspec.Struct):
    """Whether an endpoint is to be left alone. After a failure it is, for a random part of a time that doubles."""

    failures: int = 0
    down_until: float = NEVER
    failed_at: float = NEVER

    def answered(self) -> None:
        """It is there."""
        self.failures = 0
        self.down_until = NEVER

    def failed(
        self, asked: float, now: float, policy: Policy, draw: float, *, absent: bool, retry_after: float | None = None
    ) -> None:
        """It could not be reached (`absent`) or refused. `draw`, in 0..1, was drawn at random: many devices whose endpoint
        comes back must not all return at once. Calls that were under way together when it failed are one failure: one that
        was `asked` before the last failure counts no more."""
        if asked < self.failed_at:
            return
        self.failed_at = now
        self.failures += 1
        longest = policy.longest_absence if absent else policy.longest_backoff
        pause = min(longest, policy.backoff * 2.0 ** min(self.failures - 1, 30)) * (0.1 + 0.9 * draw)
        self.down_until = now + (pause if retry_after is None else max(pause, min(retry_after, policy.longest_backoff)))

    def trying(self, until: float) -> None:
        """Something is on its way to see whether it is back: others leave it alone until `until`."""
        if self.failures:
            self.down_until = max(self.down_until, until)

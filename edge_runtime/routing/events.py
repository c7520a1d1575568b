"""What routing is told, and what it decided: frozen values, the lines of a decision log. Fed to a new `Router` in their
order they give the same plans again. Instants are of one monotonic clock; seconds and bytes."""

from __future__ import annotations

import msgspec

from edge_runtime.routing.policy import Plan, Policy, Request


class Ruled(msgspec.Struct, frozen=True, tag="policy", omit_defaults=True):
    """From now on this policy holds."""

    at: float
    policy: Policy


class Known(msgspec.Struct, frozen=True, tag="model", omit_defaults=True):
    """A model can be asked from now on."""

    at: float
    model: str
    local: float | None
    """What a local answer is worth; None: there is no local variant."""
    cloud: float | None
    """What the cloud's answer is worth; None: it stays on the device."""
    endpoints: tuple[str, ...] = ()
    worked: dict[str, float] = {}
    """Endpoint -> seconds of its work in a call, where that was measured before the first one."""


class Paced(msgspec.Struct, frozen=True, tag="pace", omit_defaults=True):
    """How long the local variant takes was measured before the first call."""

    at: float
    model: str
    size: int
    typical: float
    slowest: float


class Linked(msgspec.Struct, frozen=True, tag="link", omit_defaults=True):
    """The way to an endpoint was measured before the first call."""

    at: float
    endpoint: str
    round_trip: float
    per_byte: float


class Planned(msgspec.Struct, frozen=True, tag="plan", omit_defaults=True):
    """A call came, and this was decided."""

    at: float
    call: int
    request: Request
    plan: Plan


class Answered(msgspec.Struct, frozen=True, tag="answered", omit_defaults=True):
    """The cloud's answer came. One that came too late, but was heard, is told too."""

    at: float
    call: int
    received: int = 0
    """Bytes of its tensors."""
    served: float | None = None
    """Seconds that the endpoint says it worked."""
    uploading: float | None = None
    """Seconds that the endpoint says the call's bytes took to come, from the first to the last."""
    waited: float | None = None
    """How many seconds of `served` the endpoint says the call waited for its turn."""
    wait: float | None = None
    """Seconds that the endpoint predicts for the next call to wait."""


class Failed(msgspec.Struct, frozen=True, tag="failed", omit_defaults=True):
    """The cloud could not be reached, or refused, or what it answered was of no use."""

    at: float
    call: int
    absent: bool = False
    """Nobody answered at all."""
    only_model: bool = False
    """The endpoint is there for others, but this model it could not answer."""
    draw: float = 0.0
    """A random number in 0..1, for the time that it is left alone."""
    retry_after: float | None = None


class GivenUp(msgspec.Struct, frozen=True, tag="given up", omit_defaults=True):
    """The cloud had not answered when its answer was of no use any more; the call was cancelled."""

    at: float
    call: int
    sent: int
    """Bytes of it that had left."""
    late: bool = True
    """It was given up because time was up: not because the caller went away."""


class Began(msgspec.Struct, frozen=True, tag="began", omit_defaults=True):
    """A local run began."""

    at: float
    call: int


class Shed(msgspec.Struct, frozen=True, tag="shed", omit_defaults=True):
    """It was too late for a local run, and others waited: there will be none."""

    at: float
    call: int


class Run(msgspec.Struct, frozen=True, omit_defaults=True):
    """A local run that has ended."""

    model: str
    size: int
    seconds: float
    failed: bool = False
    """The engine failed: the time says nothing."""


class Ran(msgspec.Struct, frozen=True, tag="ran", omit_defaults=True):
    """A local run ended, and its call has not yet."""

    at: float
    call: int
    run: Run


class Done(msgspec.Struct, frozen=True, tag="done", omit_defaults=True):
    """The call has ended: an answer was delivered, or none could be had."""

    at: float
    call: int
    target: str
    """Whose answer: "local", "cloud", or "none"."""
    elapsed: float
    met: bool
    ran: Run | None = None
    """The local run that ended with it."""


class Probing(msgspec.Struct, frozen=True, tag="probing", omit_defaults=True):
    """A probe left."""

    at: float
    endpoint: str
    size: int


class Probed(msgspec.Struct, frozen=True, tag="probed", omit_defaults=True):
    """A probe came back, or did not."""

    at: float
    endpoint: str
    size: int
    seconds: float
    uploading: float | None = None
    failed: bool = False
    absent: bool = False
    never: bool = False
    """The endpoint takes no probes: it is there, and is not probed again."""
    sent: int = 0
    """Bytes of one that failed which had left."""
    draw: float = 0.0
    retry_after: float | None = None


Event = (
    Ruled | Known | Paced | Linked | Planned | Answered | Failed | GivenUp | Began | Shed | Ran | Done | Probing | Probed
)

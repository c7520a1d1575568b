"""What a device can be told to do, as values, and the steps that each takes. Pure.

A step is journaled before its effect, and its effect is idempotent. What was interrupted is done `again` from its step on,
or, where the step is one of a trial, goes back to what was before.
"""

from __future__ import annotations

import re
from typing import Annotated, TypeAlias

import msgspec

from edge_runtime.bundles.manifest import check_name, check_version
from edge_runtime.errors import InputError, ManifestError
from edge_runtime.objective import Objective

Seconds = Annotated[float, msgspec.Meta(ge=0.0, le=1e6)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
MODELS = 32
"""Models of one command, at most."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


class Step(msgspec.Struct, frozen=True):
    """One part of a job."""

    name: str
    again: bool = True
    """Whether it is done once more after an interruption; otherwise the job has failed, and what was before comes back."""


class Activate(msgspec.Struct, frozen=True, tag="activate", kw_only=True):
    """Let an installed version serve: after a check, and on trial first."""

    model: str
    version: str
    digest: str = ""
    """The sha256 of its manifest, which names the digests of all else; "": whatever is installed under this version."""
    budget: Seconds | None = None
    """The 99th percentile of its latency on this device may be so many seconds; None: any."""
    soak: Seconds = 0.0
    """Seconds that it serves on trial before it is kept."""
    failures: Share = 0.0
    """Of its calls meanwhile, the share that may fail."""

    def __post_init__(self) -> None:
        _check(self.model, self.version, self.digest)


class Deploy(msgspec.Struct, frozen=True, tag="deploy", kw_only=True):
    """Get a version, install it, and let it serve as `Activate` does."""

    model: str
    version: str
    digest: str
    """The sha256 of its manifest."""
    target: str
    """What the place that artifacts come from calls its one-file form."""
    budget: Seconds | None = None
    soak: Seconds = 0.0
    failures: Share = 0.0
    tune: bool = False
    """Hold a tournament for it first; otherwise it runs as the version before was found to run best."""

    def __post_init__(self) -> None:
        _check(self.model, self.version, self.digest)
        if not self.digest or not 0 < len(self.target) <= 256:
            raise InputError(f"a deploy of {self.model} {self.version} needs a digest, and a target of 1 to 256 characters")


class Rollback(msgspec.Struct, frozen=True, tag="rollback"):
    """Let the version serve that was active before."""

    model: str

    def __post_init__(self) -> None:
        _check(self.model)


class Benchmark(msgspec.Struct, frozen=True, tag="benchmark", kw_only=True):
    """Measure models on every engine and device here: `edge-runtime bench`. Its report comes back."""

    models: tuple[str, ...]
    runs: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 400
    seconds: Annotated[float, msgspec.Meta(gt=0.0, le=3600.0)] = 2.0
    """Of each candidate."""
    device: str | None = None
    """Only this engine, or engine and device."""

    def __post_init__(self) -> None:
        _check_models(self.models)


class Tune(msgspec.Struct, frozen=True, tag="tune", kw_only=True):
    """Hold a tournament for each of these models: `edge-runtime tune`. Its outcome is used from the model's next start on,
    and comes back."""

    models: tuple[str, ...]
    objective: Objective = Objective()
    device: str | None = None
    timeout: Annotated[float, msgspec.Meta(gt=0.0, le=3600.0)] = 120.0
    """Seconds to load a candidate and run it."""

    def __post_init__(self) -> None:
        _check_models(self.models)


class CollectLog(msgspec.Struct, frozen=True, tag="collect-log"):
    """Send the newest lines of the decision log."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1 << 30)] = 1 << 20
    """Bytes of lines, at most."""


class Status(msgspec.Struct, frozen=True, tag="status"):
    """A question: what is installed, active and under way."""


class Ping(msgspec.Struct, frozen=True, tag="ping"):
    """A question: whether anybody is there."""


Work: TypeAlias = Deploy | Activate | Rollback | Benchmark | Tune | CollectLog
"""What is a job: journaled, and done at most once."""
Question: TypeAlias = Status | Ping
"""What is answered on the spot, or not at all."""

_TRIAL = (Step("check"), Step("activate", again=False), Step("soak", again=False), Step("commit"))


def steps_of(work: Work) -> tuple[Step, ...]:
    """What a job consists of, in this order."""
    match work:
        case Deploy(tune=tune):
            return (Step("install"), *((Step("tune"),) if tune else ()), *_TRIAL)
        case Activate():
            return _TRIAL
        case Rollback():
            return Step("choose"), Step("rollback")
        case Benchmark():
            return (Step("benchmark"),)
        case Tune():
            return (Step("tune"),)
        case CollectLog():
            return (Step("collect"),)


def decode(data: bytes) -> Work | Question:
    """A command from JSON: {"type": "rollback", "model": "text"}. Fields that are not known are passed over. Raises
    InputError."""
    try:
        command: Work | Question = msgspec.json.decode(data, type=Work | Question)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ManifestError) as error:
        raise InputError(f"no command that this version obeys: {error}") from error
    return command


def _check(model: str, version: str = "1", digest: str = "") -> None:
    check_name(model)
    check_version(version)
    if digest and not _DIGEST.fullmatch(digest):
        raise InputError(f"{digest[:80]!r} is no sha256 of 64 hex digits")


def _check_models(models: tuple[str, ...]) -> None:
    if not 0 < len(models) <= MODELS:
        raise InputError(f"{len(models)} models: name 1 to {MODELS}")
    for model in models:
        _check(model)

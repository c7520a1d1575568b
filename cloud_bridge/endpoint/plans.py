"""How an endpoint is to run its models on this machine, as `cloud-bridge tune` measured it. Pure, but for the file.

STORE/endpoint.json    what was measured; what follows from it is worked out anew by whoever reads it
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import log
from pathlib import Path

import msgspec

from edge_runtime.bundles.manifest import Manifest
from edge_runtime.errors import InputError
from edge_runtime.profile import Key, Lost
from edge_runtime.whole import write_whole

FILE = "endpoint.json"
CACHE = ".compiled-endpoint"
"""The folder beside it that holds what engines made of the chosen models, so that a start is fast."""
SCHEMA = 1

NEAR = 0.97
"""Of the best: what is this near to it is as good, and what costs less of something else is taken instead."""


class Point(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A way to run a model, on so many rows at a time."""

    rows: int
    rate: float
    """Rows a second, of all calls together."""
    seconds: float
    """Of one run, the median."""


class Trial(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A way to run a model, with so many calls at once."""

    variant: str
    key: Key
    calls: int
    points: tuple[Point, ...]
    """By ascending rows; the first is of one row."""

    @property
    def best(self) -> Point:
        """The fewest rows that are as good as any."""
        most = max(point.rate for point in self.points)
        return next(point for point in self.points if point.rate >= NEAR * most)

    @property
    def name(self) -> str:
        """As a table names it."""
        return f"{self.variant} on {self.key.backend}:{self.key.device} {self.key.settings}".rstrip()


class Measured(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was measured of one version of a model."""

    model: str
    version: str
    date: str
    trials: tuple[Trial, ...]
    lost: tuple[Lost, ...] = ()

    def best(self, calls: int) -> Trial | None:
        """The best way with so many calls at once."""
        return max((t for t in self.trials if t.calls == calls), key=lambda t: t.best.rate, default=None)


class Plans(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of all models that were tuned."""

    schema: int = SCHEMA
    models: tuple[Measured, ...] = ()

    @property
    def calls(self) -> int | None:
        """How many calls are to run at once, for all models together: the fewest that are as good as any. None where
        nothing was measured, or no number was tried with all of them."""
        tried = [{trial.calls for trial in model.trials} for model in self.models]
        common = sorted(set.intersection(*tried)) if tried else []
        scores = [(calls, self._score(calls)) for calls in common]
        most = max((score for _, score in scores), default=0.0)
        return next((calls for calls, score in scores if score >= most + log(NEAR)), None)

    def plan(self, manifest: Manifest) -> Trial | None:
        """How to run a model: by what was measured of this version, else of the one that was tuned last."""
        mine = [m for m in self.models if m.model == manifest.name]
        same = [m for m in mine if m.version == manifest.version]
        chosen = same or sorted(mine, key=lambda m: m.date)
        return chosen[-1].best(self.calls or 1) if chosen else None

    def updated(self, models: Iterable[Measured]) -> Plans:
        """With new ones in the place of older ones of the same version of a model."""
        kept = {(m.model, m.version): m for m in (*self.models, *models)}
        return Plans(models=tuple(kept.values()))

    def _score(self, calls: int) -> float:
        """The logarithm of the geometric mean of the models' rates."""
        rates = [trial.best.rate for model in self.models if (trial := model.best(calls))]
        return sum(map(log, rates)) / len(rates)


def sizes(calls: int) -> tuple[int, ...]:
    """1, 2, 4, ... and this many."""
    return (*(1 << power for power in range((calls - 1).bit_length())), calls)


def goes_on(points: Sequence[Point], longest: float) -> bool:
    """Whether more rows are worth trying after these: while the rate still grows, or has only just ceased to, and no run
    takes longer than so many seconds."""
    if len(points) < 2:
        return True
    before = max(point.rate for point in points[:-1])
    falling = points[-1].rate < before and points[-2].rate < before
    return not falling and points[-1].seconds <= longest


def load(path: Path) -> Plans:
    """The plans in a file; none where there is no file. Raises InputError."""
    try:
        plans = msgspec.json.decode(path.read_bytes(), type=Plans)
    except FileNotFoundError:
        return Plans()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no file of an endpoint's plans: {error}; delete it and tune again") from error
    points = [t.points for m in plans.models for t in m.trials]
    if plans.schema != SCHEMA or not all(each and min(p.rate for p in each) > 0 for each in points):
        raise InputError(f"{path} is of another version or damaged: delete it and tune again")
    return plans


def save(plans: Plans, path: Path) -> None:
    """Replace the file. Raises InputError."""
    write_whole(path, msgspec.json.format(msgspec.json.encode(plans)) + b"\n", "the plans")

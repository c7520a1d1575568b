"""Which versions of a model answer, and which of them a call that names none. Pure, but for the file of the rules.

    STORE/versions.json    {"text": {"serve": 2, "traffic": {"1.0": 90, "1.1": 10}}}

It is replaced whole, and looked at before each call (`followed.py`): nothing is started again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec

from edge_runtime.bundles.manifest import check_version
from edge_runtime.errors import InputError, ManifestError
from edge_runtime.whole import write_whole

FILE = "versions.json"

Weight = Annotated[float, msgspec.Meta(gt=0.0, le=1e9)]
Serve: TypeAlias = Literal["all"] | Annotated[int, msgspec.Meta(ge=1)] | tuple[str, ...]


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What holds for one model."""

    serve: Serve = "all"
    """Versions that may be asked for: all, so many of the latest, or these. The active one always may be, and those that
    have a share of the traffic."""
    traffic: dict[str, Weight] = {}
    """The shares of calls that name no version; empty: the active one answers them all."""

    def __post_init__(self) -> None:
        for version in (*self.traffic, *(self.serve if isinstance(self.serve, tuple) else ())):
            check_version(version)

    def served(self, installed: Sequence[str], active: str | None) -> tuple[str, ...]:
        """Those of the installed versions (oldest first) that answer."""
        if self.serve == "all":
            return tuple(installed)
        chosen = installed[-self.serve :] if isinstance(self.serve, int) else self.serve
        return tuple(v for v in installed if v == active or v in chosen or v in self.traffic)


ANY = Rule()
Rules: TypeAlias = Mapping[str, Rule]


class Split:
    """Deals calls out by weight, evenly: of two, neither is ever a whole call off its share."""

    def __init__(self) -> None:
        self._owed: dict[str, float] = {}

    def next(self, weights: Mapping[str, float]) -> str:
        """Who is next: the one that is owed most. `weights` may change from call to call, and is not empty."""
        total = sum(weights.values())
        owed = {name: self._owed.get(name, 0.0) + weight / total for name, weight in weights.items()}
        chosen = max(owed, key=owed.__getitem__)
        owed[chosen] -= 1.0
        self._owed = owed
        return chosen


def read(path: Path) -> Rules:
    """The rules in a file; none where there is no file. Raises InputError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Rule])
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, ManifestError) as error:
        raise InputError(f"{path} is not a file of version rules: {error}") from error


def write(path: Path, rules: Rules) -> None:
    """Replace the file. Raises InputError."""
    kept = {name: rule for name, rule in rules.items() if rule != ANY}
    write_whole(path, msgspec.json.format(msgspec.json.encode(kept)) + b"\n", "the version rules")


def parse_serve(text: str) -> Serve:
    """What is written as "all", "latest", "latest:2" or "1.0,1.1". Raises InputError."""
    kind, colon, number = text.partition(":")
    if text == "all":
        return "all"
    if kind == "latest" and (not colon or (number.isdecimal() and 0 < len(number) < 5 and int(number) >= 1)):
        return int(number) if colon else 1
    return tuple(dict.fromkeys(_version(version) for version in text.split(",")))


def parse_traffic(parts: Iterable[str]) -> dict[str, float]:
    """What is written as "1.0=90" "1.1=10"; "active" alone takes all shares back. Raises InputError."""
    written = tuple(parts)
    if written == ("active",):
        return {}
    shares: dict[str, float] = {}
    for part in written:
        version, _, weight = part.partition("=")
        try:
            value = float(weight)
        except ValueError:
            value = 0.0
        if not 0 < value <= 1e9 or _version(version) in shares:
            raise InputError(f"{part!r} is no share of the traffic: write VERSION=WEIGHT, like 1.1=10, each version once")
        shares[version] = value
    return shares


def _version(text: str) -> str:
    try:
        return check_version(text)
    except ManifestError as error:
        raise InputError(f"{text!r} is no version: {error}") from error

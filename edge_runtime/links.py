"""What `cloud-bridge bench` measured of the way to an endpoint, kept beside the profile: routing starts from it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from edge_runtime.errors import InputError
from edge_runtime.reading import decoder
from edge_runtime.whole import write_whole

LINKS = "links.json"
"""The file, in a store."""

SCHEMA = 1


class MeasuredLink(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One endpoint, by the name that its remote has."""

    endpoint: str
    date: str
    """ISO 8601, UTC."""
    round_trip: float
    """Seconds of an answer to a call without bytes."""
    per_byte: float
    """Seconds that each further byte takes."""
    seconds: dict[int, tuple[float, ...]] = {}
    """Bytes of a probe -> how long each of that size took: the raw values."""
    worked: dict[str, tuple[float, ...]] = {}
    """Model there -> seconds of the endpoint's own work in each call of it: the raw values."""

    def __post_init__(self) -> None:
        if not (0.0 <= self.round_trip < float("inf") and 0.0 < self.per_byte < float("inf")):
            raise InputError(f"{self.endpoint}: a round trip of {self.round_trip} s and {self.per_byte} s a byte cannot be")


class Links(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All endpoints that were measured from this device."""

    schema: int = SCHEMA
    links: tuple[MeasuredLink, ...] = ()

    def of(self, endpoint: str) -> MeasuredLink | None:
        """This endpoint, if it was measured."""
        return next((link for link in self.links if link.endpoint == endpoint), None)

    def work(self, model: str) -> dict[str, float]:
        """Endpoint -> seconds that it mostly works on a call of this model, where that was measured."""
        return {link.endpoint: float(np.median(link.worked[model])) for link in self.links if link.worked.get(model)}

    def updated(self, link: MeasuredLink) -> Links:
        """With this measurement in place of an older one."""
        return Links(links=(*(each for each in self.links if each.endpoint != link.endpoint), link))


def load(path: Path) -> Links:
    """Read them; a file that is not there has none. Raises InputError for one that cannot be read."""
    try:
        found = decoder(Links).decode(path.read_bytes())
    except FileNotFoundError:
        return Links()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OSError) as error:
        raise InputError(
            f"{path} holds no measured links of this version ({error}); remove it and measure again"
        ) from error
    if found.schema != SCHEMA:
        raise InputError(f"{path} has schema {found.schema}; this version reads {SCHEMA}: remove it and measure again")
    return found


def save(links: Links, path: Path) -> None:
    """Write them in one atomic step. Raises InputError; the old file is then untouched."""
    write_whole(path, msgspec.json.encode(links) + b"\n", "the measured links")

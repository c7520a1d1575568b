"""What things, groups, jobs, models and their versions may be called. Pure.

A segment of a topic is 1 to 64 of A-Z a-z 0-9 _ and -; each name here but a version is one.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from cloud_bridge.protocol.topics import SEGMENT
from edge_runtime.bundles.manifest import NAME, VERSION
from edge_runtime.errors import InputError


def whole(pattern: str) -> str:
    """A pattern for all of a text, in the words that Python and JSON Schema share: `$` alone passes a last line break."""
    return rf"^(?:{pattern})(?!\n)$"


Thing = Annotated[str, Meta(pattern=whole(SEGMENT.pattern), description="A device's id.")]
Group = Annotated[str, Meta(pattern=whole(SEGMENT.pattern), description="A name for many devices.")]
JobId = Annotated[
    str, Meta(pattern=whole(SEGMENT.pattern), description="A job's id: each device carries it out at most once.")
]
Model = Annotated[str, Meta(pattern=whole(NAME.pattern), description="A model's name.")]
Version = Annotated[str, Meta(pattern=whole(VERSION.pattern), description="A model's version: 1.2.0, 2.1-rc1.")]
Digest = Annotated[str, Meta(pattern=whole("[0-9a-f]{64}"), description="A SHA-256, in hex.")]
Seconds = Annotated[float, Meta(ge=0.0, le=1e15, description="A time: seconds since 1970.")]
Token = Annotated[str, Meta(max_length=64, description="Comes back in the answer, as it was.")]
Count = Annotated[int, Meta(ge=0, le=2**53)]


def check(name: str, what: str) -> str:
    """The name, if it can be a segment of a topic. Raises InputError, which calls it `what`."""
    if not SEGMENT.fullmatch(name):
        raise InputError(f"{what} {name[:80]!r}: use 1 to 64 of A-Z a-z 0-9 _ and -")
    return name

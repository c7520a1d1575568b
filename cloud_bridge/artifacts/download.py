"""A file from a static server: resumed after every cut, checked as it comes, within a rate and the room of the disk."""

from __future__ import annotations

import errno
import os
import random
import shutil
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from cloud_bridge.artifacts.http import get
from cloud_bridge.artifacts.pieces import AGAIN, Pace, Part, backoff, begins, check_small, too_long
from edge_runtime.errors import (
    BundleError,
    CancelledError,
    DiskFullError,
    EdgeError,
    InputError,
    LateError,
    RefusedError,
    UnreachableError,
    UntrustedError,
)
from edge_runtime.whole import sync

NEVER = float("inf")
PART = ".part"

_CHUNK = 64 << 10

T = TypeVar("T")


class Terms(msgspec.Struct, frozen=True):
    """What a download may take."""

    rate: Annotated[float, Meta(gt=0.0)] | None = None
    """Bytes a second, at most; None: as many as come."""
    spare: Annotated[int, Meta(ge=0)] = 64 << 20
    """Bytes of the disk that stay free."""
    quiet: Annotated[float, Meta(gt=0.0)] = 15.0
    """Seconds without a byte after which a connection is given up, and another one tried."""
    patience: Annotated[float, Meta(ge=0.0)] = 60.0
    """Seconds without a byte that is new, over all connections, after which it is given up. 0: it is tried once."""

    def __post_init__(self) -> None:
        rate = 1.0 if self.rate is None else self.rate
        if not (rate > 0.0 and self.spare >= 0 and self.quiet > 0.0 and self.patience >= 0.0):
            raise InputError(
                f"a download cannot be done on these terms: {self}; take a rate and a quiet above 0, none below"
            )


class Watch:
    """How long something may still take: until an instant of time.monotonic(), until it is cancelled, or until too long
    nothing came."""

    def __init__(self, terms: Terms, deadline: float = NEVER, cancel: threading.Event | None = None) -> None:
        self.terms, self._deadline, self._cancel = terms, deadline, cancel or threading.Event()
        self._heard = self._news = time.monotonic()
        self._most = 0

    def left(self) -> float:
        """Seconds. Raises LateError, CancelledError, and UnreachableError when the connection is quiet for too long."""
        now = time.monotonic()
        if self._cancel.is_set():
            raise CancelledError("the download was cancelled")
        if now >= self._deadline:
            raise LateError("the deadline passed before the file was there")
        if now >= self._heard + self.terms.quiet:
            raise UnreachableError(f"the server said nothing for {self.terms.quiet:g} s")
        return min(self._deadline, self._heard + self.terms.quiet) - now

    def heard(self, have: int = 0) -> None:
        """The connection is alive, and so many bytes of the file are here by now."""
        self._heard = time.monotonic()
        if have > self._most:
            self._most, self._news = have, self._heard

    def insist(self, once: Callable[[], T]) -> T:
        """Do this until it is done: as long as there are new bytes now and then, a cut or a busy server is not the end."""
        self._most, self._news = 0, time.monotonic()
        failures, most = 0, 0
        while True:
            self.heard()
            try:
                return once()
            except (UnreachableError, RefusedError) as error:
                final = isinstance(error, RefusedError) and error.status not in AGAIN
                if final or time.monotonic() - self._news >= self.terms.patience:
                    raise
                failures, most = 0 if self._most > most else failures + 1, self._most
                self.rest(backoff(failures) * random.uniform(0.5, 1.0))  # noqa: S311 - it spreads devices, no secret

    def rest(self, seconds: float) -> None:
        """Let time pass; raises as `left`, but quiet it may be."""
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until:
            self.heard()
            self._cancel.wait(min(until - now, self.left()))
        self.heard()


def read(url: str, most: int, watch: Watch, tls: ssl.SSLContext | None = None) -> bytes:
    """A small file. Raises UntrustedError when it has more than `most` bytes, RefusedError, UnreachableError, LateError,
    CancelledError and ProtocolError."""

    def once() -> bytes:
        data = bytearray()
        with closing(get(url, 0, watch.left, tls)) as incoming:
            check_small(incoming.head, most)
            while chunk := incoming.read(_CHUNK):
                data += chunk
                if len(data) > most:
                    raise too_long(url, most)
                watch.heard(len(data))
                watch.left()
        return bytes(data)

    return watch.insist(once)


def download(url: str, target: Path, size: int, sha256: str, watch: Watch, tls: ssl.SSLContext | None = None) -> None:
    """A file of this size and digest to a path; until it is whole it lies beside it as `.part`, and the next try goes on
    from there.

    Raises UntrustedError when the server has another file, BundleError when the disk has no room or fails (either drops
    what has come), and as `read`.
    """
    path = target.with_name(f"{target.name}{PART}")
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        with os.fdopen(handle, "r+b") as file:
            _fetch(url, Part(file, size, sha256), path.parent, watch, tls)
            file.flush()
            os.fsync(handle)
        path.replace(target)
        sync(target.parent)
    except BundleError:
        _drop(path)
        raise
    except EdgeError:
        raise
    except OSError as error:
        _drop(path)
        kind = DiskFullError if error.errno in (errno.ENOSPC, errno.EDQUOT) else BundleError
        raise kind(f"{target} could not be written: {error.strerror}; make room on the disk") from error


def _fetch(url: str, part: Part, folder: Path, watch: Watch, tls: ssl.SSLContext | None) -> None:
    """All of the file that has not come yet. What is of several answers gets one more chance, as a whole: a power cut may
    have damaged the first of it."""
    pace, doubted = Pace(watch.terms.rate), False
    while not part.right:
        if part.whole:
            if doubted or not part.joined:
                raise UntrustedError(f"{url} is not the file that was signed: its sha256 is another", trouble="hash")
            doubted = True
            part.restart(0)
        _check_room(folder, part.size - part.have, watch.terms.spare)
        watch.insist(lambda: _more(url, part, folder, watch, pace, tls))


def _more(url: str, part: Part, folder: Path, watch: Watch, pace: Pace, tls: ssl.SSLContext | None) -> None:
    """What one connection brings. Raises UnreachableError unless that is the rest of the file."""
    with closing(get(url, part.have, watch.left, tls)) as incoming:
        start = begins(incoming.head, part.have, part.size)
        part.restart(start or 0)
        while start is not None and (chunk := incoming.read(pace.most)):
            _check_room(folder, len(chunk), watch.terms.spare)
            part.write(chunk)
            watch.heard(part.have)
            watch.left()
            watch.rest(pace.rest(len(chunk), time.monotonic()))
    if not part.whole:
        raise UnreachableError(f"{url} ended after {part.have} of {part.size} bytes")


def _drop(path: Path) -> None:
    with suppress(OSError):  # what made it useless is told
        path.unlink()


def _check_room(folder: Path, wanted: int, spare: int) -> None:
    free = shutil.disk_usage(folder).free
    if wanted + spare > free:
        room = f"{free / 1e6:.1f} MB are free and {spare / 1e6:.1f} MB are to stay free"
        raise DiskFullError(f"{wanted / 1e6:.1f} MB more do not fit into {folder}, where {room}: make room on the disk")

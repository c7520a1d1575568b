"""How a file comes in pieces, over a link that is cut and from servers that know ranges or do not. Pure: what an answer to
a request for the rest of a file means, what has come of it so far, and how fast it may come. Time is an argument."""

from __future__ import annotations

import hashlib
import re
from typing import BinaryIO

import msgspec

from edge_runtime.errors import ProtocolError, RefusedError, UntrustedError

AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which it is asked again: the server may do better in a while."""

_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.ASCII)
_CHUNK = 1 << 20


class Head(msgspec.Struct, frozen=True):
    """What the head of an answer says of its body."""

    status: int
    length: int | None = None
    """Content-Length; None where it is not told."""
    range: str | None = None
    """Content-Range."""
    encoding: str = "identity"
    """Content-Encoding."""
    url: str = "the file"
    """What was asked for."""


def begins(head: Head, have: int, size: int) -> int | None:
    """At which byte of a file of `size` the body begins, when the rest from byte `have` on was asked for: there, or at 0
    where the server knows no ranges. None: it has no such range; ask for the whole file.

    Raises RefusedError, UntrustedError when it tells of a file of another length, and ProtocolError.
    """
    if head.status == 416 and have:
        return None
    _check(head, {200, 206})
    start, end, total = (0, size - 1, size) if head.status == 200 else _range(head.range, size)
    length = head.length if head.length is not None else end + 1 - start
    if total != size or (head.status == 200 and length != size):
        raise _wrong_length(total if total != size else length, size)
    if start not in {0, have} or not start <= end < max(1, size) or end + 1 - start != length:
        raise ProtocolError(f"the server was asked for the bytes from {have} on, and answered with {head.range!r}")
    return start


def check_small(head: Head, most: int) -> None:
    """The body is a file of at most so many bytes, as far as its head tells. Raises as `begins`."""
    _check(head, {200})
    if head.length is not None and head.length > most:
        raise too_long(head.url, most)


def too_long(url: str, most: int) -> UntrustedError:
    """It has more bytes than it can have had when it was signed."""
    return UntrustedError(f"{url} has more than the {most} bytes that it may have", trouble="length")


def _check(head: Head, wanted: set[int]) -> None:
    if head.status not in wanted:
        raise RefusedError(f"{head.url}: the server answered with status {head.status}", status=head.status)
    if head.encoding != "identity":
        raise ProtocolError(f"the server encodes files as {head.encoding[:40]!r}: have it send them as they are")


def _range(text: str | None, size: int) -> tuple[int, int, int]:
    if not (found := _RANGE.fullmatch(text or "")):
        raise ProtocolError(f"the server answered with a range that cannot be read: {(text or '')[:80]!r}")
    start, end, total = found.groups()
    return int(start), int(end), size if total == "*" else int(total)


class Part:
    """What has come of a file so far, and whether it is the right one. Begins with what the file holds already."""

    def __init__(self, file: BinaryIO, size: int, sha256: str) -> None:
        self._file, self.size, self._sha256 = file, size, sha256
        self._digest = hashlib.sha256()
        self.have = 0
        """Bytes."""
        file.seek(0)
        while chunk := file.read(_CHUNK):
            self._digest.update(chunk)
            self.have += len(chunk)
        self.joined = self.have > 0
        """Whether not all of it is of one answer."""
        if self.have > size:
            self.restart(0)

    @property
    def whole(self) -> bool:
        """Whether every byte has come."""
        return self.have == self.size

    @property
    def right(self) -> bool:
        """Whether what has come has the file's digest."""
        return self._digest.hexdigest() == self._sha256

    def restart(self, at: int) -> None:
        """What comes next begins at this byte: where the last ended, or else at 0, and what was here is dropped."""
        if at and at == self.have:
            self.joined = True
            return
        self.joined = False
        self._file.seek(0)
        self._file.truncate()
        self._digest = hashlib.sha256()
        self.have = 0

    def write(self, chunk: bytes) -> None:
        """The next bytes. Raises UntrustedError when they are more than the file has."""
        if self.have + len(chunk) > self.size:
            raise _wrong_length(self.have + len(chunk), self.size, "at least ")
        self._file.write(chunk)
        self._digest.update(chunk)
        self.have += len(chunk)


class Pace:
    """So many bytes a second, and never more to catch up. None: as fast as they come."""

    def __init__(self, rate: float | None) -> None:
        self._rate, self._next = rate, float("-inf")
        self.most = _CHUNK // 16 if rate is None else max(1, min(_CHUNK // 16, int(rate / 10)))
        """Bytes to take at once."""

    def rest(self, count: int, now: float) -> float:
        """So many bytes came: seconds until the next may be taken."""
        if self._rate is None:
            return 0.0
        self._next = max(self._next, now) + count / self._rate
        return self._next - now


def backoff(failures: int) -> float:
    """Seconds to let pass after so many failures in a row, before chance takes up to half of it away."""
    return float(min(10.0, 0.1 * 2 ** min(failures, 10)))


def _wrong_length(length: int, size: int, least: str = "") -> UntrustedError:
    return UntrustedError(
        f"the server's file has {least}{length} bytes; the one that was signed has {size}", trouble="length"
    )

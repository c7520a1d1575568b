"""A rollout's log: one JSON object a line, from `Began` on. Bounded, replayed, and damage is told with its line.

The events of things are bounded by what a thing may say of an execution (`executions.py`), and with them the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import TypeAlias

import msgspec

from cloud_bridge.fleet.events import Aborted, Began, Changed, Decided, Paused, Resumed
from cloud_bridge.fleet.rollout import begin, decide, observe
from cloud_bridge.fleet.spec import Rollout
from cloud_bridge.fleet.state import State
from edge_runtime.errors import InputError
from edge_runtime.whole import write_whole

LINE = 64 << 20
"""Bytes of a line: a million things told at once."""

LIMIT = 256 << 20
"""Bytes of a log in a file."""

Entry: TypeAlias = Changed | Paused | Resumed | Aborted | Decided
"""Any line but the first."""

Line: TypeAlias = Began | Entry

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)


def encode(line: Line) -> bytes:
    """Without the end of the line."""
    return _encoder.encode(line)


def decode(data: bytes, where: str) -> Line:
    """Raises InputError, which says `where`."""
    if len(data) > LINE:
        raise InputError(f"{where}: a line of a rollout's log has {LINE} bytes at most, this one has more")
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{where}: no line of a rollout's log: {error}") from error


def follow(spec: Rollout, state: State, entries: Iterable[Entry]) -> State:
    """What is known after these lines. Raises InputError where they say that something was decided which does not follow
    from the lines before."""
    for decided, run in groupby(entries, key=lambda entry: isinstance(entry, Decided)):
        if not decided:
            state = observe(spec, state, (entry for entry in run if not isinstance(entry, Decided)))
            continue
        for entry in run:
            state, actions = decide(spec, state, entry.at)
            if not isinstance(entry, Decided) or actions != entry.actions:
                raise InputError(
                    f"the log of the rollout is damaged, or was written by other rules: at {entry.at:.3f} it has "
                    f"{_told(entry)}, where {len(actions)} actions, {str(actions[:2])[:200]}, follow from what is before"
                )
    return state


def replay(lines: Iterable[Line]) -> tuple[Began, State]:
    """A whole log, every decision made again. Raises InputError as `follow` does, and where it has no beginning, or two."""
    rest = iter(lines)
    first = next(rest, None)
    if not isinstance(first, Began):
        raise InputError("the log of the rollout has no beginning: its first line must say what the rollout is to do")
    return first, follow(first.rollout, begin(first.rollout, first.at), _entries(rest))


def write(path: Path, lines: Iterable[Line]) -> None:
    """Replace a file. Raises InputError."""
    data = b"".join(encode(line) + b"\n" for line in lines)
    if len(data) > LIMIT:
        raise InputError(f"a log of {len(data)} bytes is not written to {path}: {LIMIT} at most")
    write_whole(path, data, "the log of the rollout")


def read(path: Path) -> Iterator[Line]:
    """The lines of a file. Raises InputError for what is no log; a last line that was cut is damage, too: logs are written
    whole."""
    try:
        with path.open("rb") as file:
            number = read = 0
            while data := file.readline(LINE + 2):
                number, read = number + 1, read + len(data)
                if read > LIMIT:
                    raise InputError(f"{path} is longer than {LIMIT} bytes: no log of a rollout")
                yield decode(data.removesuffix(b"\n"), f"{path}, line {number}")
    except OSError as error:
        raise InputError(f"no log of a rollout can be read at {path}: {error.strerror}") from error


def _entries(lines: Iterable[Line]) -> Iterator[Entry]:
    for line in lines:
        if isinstance(line, Began):
            raise InputError("the log of the rollout begins twice: two logs were joined, replay each by itself")
        yield line


def _told(entry: Entry) -> str:
    return f"{len(entry.actions)} actions, {str(entry.actions[:2])[:200]}" if isinstance(entry, Decided) else "none"

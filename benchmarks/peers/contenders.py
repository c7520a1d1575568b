"""Who is measured: each server, and each way to ask it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import msgspec

from benchmarks.peers.server import Program, ours, peer
from benchmarks.peers.ways import Grpc, Http, Raw, Way

OURS, TUNED, TRITON, MLSERVER, RAY = "ours", "ours, tuned", "pytriton", "MLServer", "Ray Serve"


class Entry(msgspec.Struct, frozen=True):
    """A server that takes part."""

    name: str
    program: Program
    ways: Callable[[Mapping[str, Any]], tuple[Way, ...]]
    """How it can be asked at its addresses."""


class Held(Protocol):
    """A server that runs when it is measured."""

    def awake(self) -> AbstractContextManager[None]: ...


class Contender(msgspec.Struct, frozen=True):
    """A server that runs, and one way to ask it."""

    name: str
    server: Held
    way: Way


def entries(store: Path, file: Path, tuned: Path | None) -> list[Entry]:
    """Ours on this store, the others on this file, and ours on a store in which it was tuned, where there is one."""
    own = Entry(OURS, ours(store), _http)
    peers = [
        Entry(TRITON, peer("pytriton", file), _http),
        Entry(MLSERVER, peer("mlserver", file), lambda at: (Http(at["http"], binary=False), Grpc(at["grpc"]))),
        Entry(RAY, peer("ray", file, RAY_SERVE_THROUGHPUT_OPTIMIZED="1"), lambda at: (Raw(at["http"]),)),
    ]
    return [own, *peers] if tuned is None else [own, *peers, Entry(TUNED, ours(tuned), _http)]


def _http(at: Mapping[str, Any]) -> tuple[Way, ...]:
    return (Http(at["http"]),)

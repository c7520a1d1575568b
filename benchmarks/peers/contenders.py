"""Who is measured: each server, and each way to ask it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import msgspec

from benchmarks.peers.engine import free_ports
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

    def worked(self) -> float: ...


class Contender(msgspec.Struct, frozen=True):
    """A server that runs, and one way to ask it."""

    name: str
    server: Held
    way: Way


def entries(store: Path, file: Path, folder: Path, tuned: Path | None) -> list[Entry]:
    """Ours on this store, the others on this file, and ours on a store in which it was tuned, where there is one. What a
    server leaves lies in the folder."""
    own = Entry(OURS, ours(store), _http)
    peers = [
        Entry(TRITON, peer("pytriton", file), _http),
        Entry(MLSERVER, peer("mlserver", file), lambda at: (Http(at["http"], binary=False), Grpc(at["grpc"]))),
        Entry(RAY, peer("ray", file, **_ray(folder)), lambda at: (Raw(at["http"]),)),
    ]
    return [own, *peers] if tuned is None else [own, *peers, Entry(TUNED, ours(tuned), _http)]


def _http(at: Mapping[str, Any]) -> tuple[Way, ...]:
    return (Http(at["http"]),)


def _ray(folder: Path) -> dict[str, str]:
    """What Ray Serve's guide names for throughput: HAProxy before its replicas, and its "throughput optimized" settings.
    HAProxy's files and ports are its own here, not those that all of a machine's clusters would share, and its workers
    run at the priority that the others' do."""
    metrics, stats = free_ports(2)
    named = {
        "CONFIG_FILE_LOC": folder / "haproxy.cfg", "SOCKET_PATH": folder / "haproxy.sock", "SERVER_STATE_BASE": folder,
        "SERVER_STATE_FILE": folder / "haproxy.state", "METRICS_SOCKET_PATH": folder / "haproxy-metrics.sock",
        "METRICS_PORT": metrics, "STATS_PORT": stats,
    }  # fmt: skip
    chosen = {f"RAY_SERVE_HAPROXY_{name}": str(value) for name, value in named.items()}
    return {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_worker_niceness": "0", **chosen}

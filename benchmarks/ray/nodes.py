"""A Ray cluster of several nodes on this machine, in processes of its own: `python -m benchmarks.ray.nodes 2`.

A line of standard output says where it is, and by which process each node can be killed; the end of standard input ends it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

CPUS = 2
"""Of each node: a replica takes one."""

OBJECTS = 100 << 20
"""Bytes of shared memory of each node."""

SOONER = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
"""A lost node is missed after some three seconds: by itself Ray takes over fifteen."""

BUSY = {"RAY_worker_niceness": "0", "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60"}
"""On a machine that does other things too, Ray's processes, which by themselves give way to all others, do not start in
time; and a proxy of Ray's that is not ready after 5 s is killed."""


class Cluster(msgspec.Struct, frozen=True):
    """Running nodes."""

    address: str
    nodes: tuple[int, ...]
    """The process of each node's raylet, whose children are the node's other processes; the head's is the first."""

    def kill(self, number: int) -> None:
        """End a node as a power cut does: no process of it says good-bye."""
        raylet = self.nodes[number]
        for process in (raylet, *_children(raylet)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


@contextlib.contextmanager
def cluster(nodes: int) -> Iterator[Cluster]:
    """Start so many nodes, and end them."""
    command = [sys.executable, "-m", "benchmarks.ray.nodes", str(nodes)]
    process = subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None  # noqa: S101
        yield msgspec.json.decode(process.stdout.readline(), type=Cluster)
    finally:
        process.communicate()


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    try:
        # Ray notes there which cluster was the last one started: not where the user's own is noted.
        (folder / "ray").mkdir()
        os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": str(folder)} | SOONER | BUSY
        from ray.cluster_utils import Cluster as Nodes

        common: dict[str, Any] = {
            "num_cpus": CPUS,
            "object_store_memory": OBJECTS,
            "temp_dir": str(folder),
            "include_dashboard": False,
        }
        started = Nodes(initialize_head=True, head_node_args=common)
        try:
            every = [started.head_node, *(started.add_node(**common) for _ in range(int(sys.argv[1]) - 1))]
            raylets = [node.all_processes["raylet"][0].process.pid for node in every]
            print(msgspec.json.encode(Cluster(started.address, tuple(raylets))).decode(), flush=True)
            sys.stdin.read()
        finally:
            started.shutdown()  # type: ignore[no-untyped-call]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _children(process: int) -> list[int]:
    """All that it has started, and what those have."""
    found = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *_children(child)]
    return found


if __name__ == "__main__":
    main()

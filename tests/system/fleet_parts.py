"""What the tests of the fleet share: a controller as a process of its own, that writes down what it says.

python -m tests.system.fleet_parts control DATABASE NAME LEASE FILE     step rollouts until it is killed
python -m tests.system.fleet_parts talk DATABASE JOB THING COUNT        a thing that says so often that it goes on
python -m tests.system.fleet_parts count DATABASE THING COUNT           count so far in a thing's shadow
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from cloud_bridge.control.link import Heard, Said
from cloud_bridge.fleet.controller import Controller
from cloud_bridge.fleet.inbox import receive
from cloud_bridge.fleet.registry import Registry
from cloud_bridge.protocol.fleet.shadow import Shadow
from cloud_bridge.protocol.fleet.topics import Tree

TREE = Tree()


class Paper:
    """A port: each message is a line of a file."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def publish(self, messages: Sequence[Said]) -> None:
        with self._path.open("ab", buffering=0) as file:
            file.write(b"".join(msgspec.json.encode(message) + b"\n" for message in messages))


def control(database: str, name: str, lease: str, path: str) -> None:
    """Until it is told to end, or killed."""
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    with Registry(database) as registry:
        controller = Controller(registry, Paper(path), time.time, name=name, lease=float(lease))
        print("ready", flush=True)
        while not ended:
            controller.step()
            time.sleep(0.005)
        controller.close()


def talk(database: str, job: str, thing: str, count: str) -> None:
    """Each word by itself, and all of them accepted."""
    said = Heard(TREE.root + f"/things/{thing}/jobs/{job}/update", b'{"status": "IN_PROGRESS"}')
    with Registry(database) as registry:
        print("ready", flush=True)
        for _ in range(int(count)):
            (answer,) = receive(registry, TREE, [said], time.time())
            assert answer.topic.endswith("/accepted")


def count(database: str, thing: str, count: str) -> None:
    """Read, add one, put back; again where another was faster."""
    with Registry(database) as registry:
        print("ready", flush=True)
        for _ in range(int(count)):
            while True:
                known = registry.devices.shadow(thing, "count")
                after = Shadow({"n": known.desired.get("n", 0) + 1}, {}, known.version + 1)
                if registry.devices.put(thing, "count", after):
                    break


@contextmanager
def started(*arguments: str | float | Path) -> Iterator[subprocess.Popen[str]]:
    """One of these as a process; killed when this ends, if it has not ended."""
    command = [sys.executable, "-m", "tests.system.fleet_parts", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


if __name__ == "__main__":
    acts: dict[str, Callable[..., None]] = {"control": control, "talk": talk, "count": count}
    acts[sys.argv[1]](*sys.argv[2:])

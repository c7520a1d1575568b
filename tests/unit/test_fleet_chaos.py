"""Controllers and things over a network that loses, doubles and reorders, on a registry in a file: where it all ends."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from cloud_bridge.control.link import Heard, Said
from cloud_bridge.fleet.controller import Controller, order, tell
from cloud_bridge.fleet.events import Aborted, Decided, Notify, Paused, Resumed
from cloud_bridge.fleet.log import replay
from cloud_bridge.fleet.registry import Job, Registry
from cloud_bridge.fleet.spec import Constant, Group, Rollout, Stop, Timeouts
from cloud_bridge.protocol.fleet.jobs import BY_DEVICE
from edge_runtime.errors import UnreachableError

T = "edge/v1/things"
JOBS = ("j1", "j2")
THINGS = tuple(f"t{number}" for number in range(6))


class Thing:
    """One that does each execution once, and says how it ended until it is answered."""

    def __init__(self, name: str, random: Random) -> None:
        self.name, self._random = name, random
        self.ends: dict[tuple[str, int], str] = {}
        self._unanswered: set[tuple[str, int]] = set()

    def hear(self, tail: str, told: Any) -> list[Heard]:
        if tail == "jobs/notify-next" and "execution" in told:
            key = told["execution"]["jobId"], told["execution"]["executionNumber"]
            if key not in self.ends:
                self.ends[key] = self._random.choice(["SUCCEEDED", "SUCCEEDED", "SUCCEEDED", "FAILED", "REJECTED"])
                self._unanswered.add(key)
                return [self._say(key, "IN_PROGRESS")]
        elif tail.endswith(("/accepted", "/rejected")):
            job, _, number = told.get("clientToken", "").partition(" ")
            if number:
                self._unanswered.discard((job, int(number)))
        return []

    def remind(self) -> list[Heard]:
        return [self._say(key, self.ends[key], f"{key[0]} {key[1]}") for key in sorted(self._unanswered)]

    def _say(self, key: tuple[str, int], status: str, mark: str = "") -> Heard:
        body = {"status": status, "executionNumber": key[1], "clientToken": mark}
        return Heard(f"{T}/{self.name}/jobs/{key[0]}/update", msgspec.json.encode(body))


class World:
    """All of it, and what is under way."""

    def __init__(self, registry: Registry, random: Random) -> None:
        self.registry, self.random, self.now, self.good = registry, random, 1000.0, False
        self.up: list[Heard] = []
        self.down: list[Said] = []
        self.things = {name: Thing(name, random) for name in THINGS}
        self.controllers = [self.fresh(0), self.fresh(1)]

    def fresh(self, number: int) -> Controller:
        return Controller(self.registry, self, lambda: self.now, name=f"c{number}", lease=3.0)

    def publish(self, messages: Sequence[Said]) -> None:
        """The port: now and then some get through, and it says that none did."""
        if not self.good and self.random.random() < 0.2:
            self.down += messages[: len(messages) // 2]
            raise UnreachableError("no broker")
        self.down += messages

    def deliver(self) -> None:
        """Some of what is under way, in any order, some of it twice, some of it never."""
        self.random.shuffle(self.up)
        self.random.shuffle(self.down)
        up, self.up = self.up, []
        if up and (self.good or self.random.random() < 0.9):
            doubled = [message for message in up if self.random.random() < 0.3]
            try:
                self.controllers[self.random.randrange(2)].receive([*up, *doubled])
            except UnreachableError:
                self.up = up  # it has acknowledged none
        down, self.down = self.down, []
        for message in down:
            for _ in range(self.random.choice([0, 1, 1, 2]) if not self.good and "notify" not in message.topic else 1):
                name, _, tail = message.topic.removeprefix(f"{T}/").partition("/")
                self.up += self.things[name].hear(tail, msgspec.json.decode(message.payload))

    def step(self) -> None:
        self.now += self.random.choice([0.0, 0.1, 1.0, 4.0])
        number = self.random.randrange(2)
        if not self.good and self.random.random() < 0.1:
            self.controllers[number] = self.fresh(number)  # it was killed, and is started again
        self.controllers[number].step()
        if self.random.random() < 0.3:
            for thing in self.things.values():
                self.up += thing.remind()
        self.deliver()


rollouts = st.builds(
    Rollout,
    st.integers(1, 6).map(lambda at: (Group("first", THINGS[:at], 50.0), Group("rest", THINGS[at:], 50.0))),
    st.sampled_from([None, Constant(60), Constant(300)]),
    st.sampled_from([None, 1, 3]),
    st.sampled_from([(), (Stop("ALL", 60.0, 3),), (Stop("FAILED", 50.0, 2, "pause"),)]),
    st.sampled_from([Timeouts(), Timeouts(execution=20.0), Timeouts(step=5.0, execution=30.0)]),
    st.integers(0, 2),
)


@settings(
    max_examples=12, phases=(Phase.explicit, Phase.reuse, Phase.generate)
)  # a smaller one tells nothing: it is a seed
@given(st.integers(0, 1 << 32), rollouts, rollouts)
def test_whatever_the_network_does_all_agree_in_the_end(seed: int, one: Rollout, other: Rollout) -> None:
    """Each job comes to its end; nothing was decided twice, or done twice; what a thing said of its end is what is kept,
    where a controller has not ended it before; and the log gives just this."""
    with tempfile.TemporaryDirectory() as folder, Registry(Path(folder) / "fleet.db") as registry:
        random = Random(seed)
        world = World(registry, random)
        for job, rollout in zip(JOBS, (one, other), strict=True):
            order(registry, Job(job, job.encode(), b"{}", rollout, world.now))
        for _ in range(60):
            world.step()
            if random.random() < 0.05:
                word = Paused(world.now) if random.random() < 0.5 else Resumed(world.now)
                tell(registry, random.choice(JOBS), word)
            if random.random() < 0.01:
                tell(registry, random.choice(JOBS), Aborted(world.now, force=random.random() < 0.5))
        world.good = True
        for _ in range(600):
            if not registry.jobs.list(active=True):
                break
            world.step()
            for job in registry.jobs.list(active=True):
                if registry.jobs.get(job).phase == "paused":
                    tell(registry, job, Resumed(world.now))
        assert not registry.jobs.list(active=True)
        for job in JOBS:
            lines = registry.jobs.log(job)
            acts = [act for line in lines if isinstance(line, Decided) for act in line.actions]
            notified = Counter((act.thing, act.number) for act in acts if isinstance(act, Notify))
            assert set(notified.values()) <= {1}
            _, state = replay(lines)
            kept = registry.jobs.executions(job)
            assert state.over
            assert state.ended.keys() == set(THINGS)
            assert {thing: each.status for thing, each in kept.items()} == {thing: state.ended[thing] for thing in kept}
            for thing, each in kept.items():
                if each.status in BY_DEVICE["IN_PROGRESS"]:
                    assert world.things[thing].ends[job, each.execution_number] == each.status
            done = {
                (name, number) for name, device in world.things.items() for known, number in device.ends if known == job
            }
            assert done <= notified.keys()

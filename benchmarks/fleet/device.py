"""One simulated device: the parts that `cloud_bridge.agent.agent.Agent` joins on two threads, joined on an event loop that
thousands share. What is heard, journaled, done and said is the agent's own.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from importlib.metadata import version

from benchmarks.fleet.board import Board
from benchmarks.fleet.script import ROOT as BARE
from benchmarks.fleet.script import TREE as BARE_TREE
from benchmarks.fleet.script import Side
from benchmarks.fleet.wire import Wire
from cloud_bridge.agent.duty import Duty, Hands
from cloud_bridge.agent.journal import Journal
from cloud_bridge.agent.orders import Orders, moved_by
from cloud_bridge.agent.shadows import Shadows
from cloud_bridge.agent.talk import Talk
from cloud_bridge.agent.when import Instant
from cloud_bridge.control.link import Event, Heard, Said, Up
from cloud_bridge.protocol.fleet.rpc import DeviceStatus
from cloud_bridge.protocol.fleet.topics import JOB_UPDATE_ACCEPTED, NOTIFY_NEXT, START_NEXT_ACCEPTED, Tree
from cloud_bridge.signing import PublicKey

TREE = Tree()
GROUP = "simulated"
AGENT = version("edge-runtime")


class Bare:
    """What all devices do in a bare conversation."""

    def __init__(self, devices: int) -> None:
        self._devices = devices
        self.side: Side | None = None
        self.heard: dict[str, int] = {}
        self._over = 0
        self.last = 0.0

    def begin(self, side: Side) -> None:
        """Another one."""
        self.side, self.heard, self._over, self.last = side, {}, 0, 0.0

    def hear(self, thing: str) -> list[Said]:
        """What a device says to what it heard."""
        if self.side is None:
            return []
        number = self.heard[thing] = self.heard.get(thing, 0) + 1
        if number == self.side.last:
            self._over += 1
            self.last = time.time()
        return self.side.turn(thing, number) if number <= self.side.last else []

    @property
    def over(self) -> bool:
        """Whether every device has heard the last word."""
        return self._over >= self._devices

    def wrong(self) -> int:
        """Devices that heard more or less than there was."""
        wanted = self._devices if self.side is None else sum(n == self.side.last for n in self.heard.values())
        return self._devices - wanted


class Device:
    """Without a pool its steps are done on the event loop; with one, on its threads."""

    def __init__(
        self, thing: str, keys: Sequence[PublicKey], hands: Hands, journal: Journal,
        active: Callable[[], Mapping[str, str]], board: Board, bare: Bare, pool: Executor | None = None,
    ) -> None:  # fmt: skip
        self.thing, self._journal, self._board, self._bare, self._pool = thing, journal, board, bare, pool
        orders = Orders(thing, (GROUP,), keys, 1, time.time, lambda: self._shadows.config.budgets)
        self._duty = Duty(journal, orders.read, hands)
        self._shadows = Shadows(TREE, thing, journal, active, lambda config: None)
        self._session = str(uuid.uuid4())
        self._talk = Talk(
            TREE, thing, (GROUP,), self._duty, journal, self._shadows, self._describe, session=self._session, agent=AGENT
        )  # fmt: skip
        self._working = False
        self.next = float("inf")
        """When it has something to say though nothing was heard, by the monotonic clock."""

    async def open(self, host: str, port: int) -> None:
        """Connect. Raises UnreachableError."""
        bare = (START_NEXT_ACCEPTED, JOB_UPDATE_ACCEPTED, NOTIFY_NEXT)
        filters = [*TREE.heard_by(self.thing, (GROUP,)), *(BARE_TREE.filter(kind, thing=self.thing) for kind in bare)]
        self._wire = Wire(self.thing, filters, self._told, will=self._talk.will(_now()))
        await self._wire.open(host, port)

    def due(self, now: Instant) -> None:
        """Say what is to be said by now."""
        self._say(self._talk.due(now))
        self.next = self._talk.next(now)

    def close(self) -> None:
        """Leave on purpose."""
        self._wire.say(self._talk.farewell())
        self._wire.close()
        self._duty.stop()
        self._journal.close()

    def _told(self, event: Event) -> None:
        now = _now()
        match event:
            case Heard() if event.topic.startswith(BARE):
                self._wire.ack(event)
                for each in self._bare.hear(self.thing):
                    self._wire.say(each)
            case Heard():
                self._board.hear(self.thing, event)
                said = self._talk.heard(event, now)
                self._wire.ack(event)  # the journal has it
                self._say(said)
                self.due(now)
                self._wake()
            case Up():
                self._say(self._talk.up(event, now))
                self.due(now)
                self._wake()

    def _say(self, said: Sequence[Said]) -> None:
        for each in said:
            self._board.say(self.thing, each)
            self._wire.say(each)

    def _wake(self) -> None:
        if not self._working:
            self._working = True
            if self._pool is None:
                asyncio.get_running_loop().call_soon(self._work)
            else:
                self._task = asyncio.create_task(self._work_elsewhere(self._pool))

    def _work(self) -> None:
        """One act, and what is to be said about it."""
        self._working = False
        if self._act():
            self.due(_now())
            self._wake()

    async def _work_elsewhere(self, pool: Executor) -> None:
        while await asyncio.get_running_loop().run_in_executor(pool, self._act):
            self.due(_now())
        self._working = False

    def _act(self) -> bool:
        """As the agent's: a line in the journal or a step, and what changed by it."""
        job = self._journal.next()
        if not self._duty.act(time.time()):
            return False
        if job is not None and (ended := self._journal.find(job.id)) is not None and ended.state == "SUCCEEDED":
            self._shadows.acted(moved_by(self._journal.document(job.id)))
        else:
            self._shadows.acted()
        return True

    def _describe(self, unix: float) -> DeviceStatus:
        return DeviceStatus(thing=self.thing, session=self._session, agent=AGENT, timestamp=unix, uptime=0.0)


def _now() -> Instant:
    return Instant(time.time(), time.monotonic())

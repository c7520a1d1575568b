"""The controller of a bare conversation, a process: `python -m benchmarks.fleet.bare URL` says a script's part to each
thing, by the same client as the real controller's, and nothing more. It reads a Talked as a line of stdin, and answers by a
line.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence

import msgspec

from benchmarks.fleet.script import TREE, Line, Side, thing_of
from cloud_bridge.control.link import Event, Heard, Taken, Up
from cloud_bridge.control.paho import PahoLink
from cloud_bridge.fleet.controller import TOGETHER
from cloud_bridge.fleet.post import Post
from cloud_bridge.fleet.service import WINDOW
from cloud_bridge.protocol.fleet import topics
from cloud_bridge.protocol.topics import Address

_SHARE = "controllers"
"""The name by which it hears; real controllers share a secret one."""


class Talked(msgspec.Struct, frozen=True):
    """A conversation to be held with each of these."""

    things: tuple[str, ...]
    script: tuple[Line, ...]
    timeout: float = 600.0


class Held(msgspec.Struct, frozen=True):
    """How it went. Instants are UNIX seconds."""

    began: float
    acknowledged: float
    """When everybody had answered that."""
    ended: float
    """When everybody had said the last word."""
    wrong: int
    """Things that said more or less than they had to."""


class Controller:
    """The controller's side, on the link's thread."""

    def __init__(self, url: str) -> None:
        address = Address.parse(url)
        filters = [TREE.filter(kind, share=_SHARE) for kind in (topics.START_NEXT, topics.JOB_UPDATE)]
        self._link = PahoLink(address, "bare-controller", filters, session=0, window=WINDOW)
        self._up, self._over = threading.Event(), threading.Event()
        self._post = Post(self._link)
        self._side: Side | None = None
        self._link.open(lambda: None, self._tell)
        self._up.wait()

    def hold(self, talked: Talked) -> Held:
        """One conversation with everybody."""
        self._heard: dict[str, int] = {}
        self._all_answered = self._all_ended = float("nan")
        self._answered = self._ended = 0
        self._over.clear()
        self._things = len(talked.things)
        self._side = Side(talked.script, device=False)
        began = time.time()
        for start in range(0, self._things, TOGETHER):  # paho is slow where more wait
            together = talked.things[start : start + TOGETHER]
            self._post.publish([each for thing in together for each in self._side.turn(thing, 0)])
        self._over.wait(talked.timeout)
        wrong = self._things - sum(self._heard.get(thing, 0) == self._side.last for thing in talked.things)
        return Held(began, self._all_answered, self._all_ended, wrong)

    def close(self) -> None:
        """Leave."""
        self._link.close()

    def _tell(self, event: Event) -> None:
        match event:
            case Heard() if self._side is not None:
                thing = thing_of(event.topic)
                number = self._heard[thing] = self._heard.get(thing, 0) + 1
                for each in self._side.turn(thing, number) if number <= self._side.last else ():
                    self._link.say(each)
                self._link.ack(event)
                self._count(number, self._side.last)
            case Taken():
                self._post.taken(event)
            case Up():
                self._up.set()

    def _count(self, number: int, last: int) -> None:
        self._answered += number == 1
        self._ended += number == last
        if number == 1 and self._answered == self._things:
            self._all_answered = time.time()
        if number == last and self._ended == self._things:
            self._all_ended = time.time()
            self._over.set()


def main(arguments: Sequence[str]) -> None:
    """Until the end of stdin."""
    controller = Controller(arguments[0])
    print("{}", flush=True)
    for line in sys.stdin.buffer:
        held = controller.hold(msgspec.json.decode(line, type=Talked))
        sys.stdout.buffer.write(msgspec.json.encode(held) + b"\n")
        sys.stdout.buffer.flush()
    controller.close()


if __name__ == "__main__":
    main(sys.argv[1:])

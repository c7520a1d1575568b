"""A controller on a broker: hears what devices say, answers, and steps rollouts. Any number of them share the work.

    with Service("mqtts://broker.example", registry="fleet.db"):
        ...

What has come is acknowledged when the registry has what follows from it. A controller that dies loses what it had not
answered, and no more: devices ask again, and others, or the same one started anew, go on from the registry.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import uuid
from importlib.metadata import version
from pathlib import Path
from typing import Self

from cloud_bridge.control.link import Down, Event, Heard, Link, Said, Taken, Up, said
from cloud_bridge.control.paho import PahoLink
from cloud_bridge.control.trouble import Trouble
from cloud_bridge.fleet.controller import Controller
from cloud_bridge.fleet.post import Post
from cloud_bridge.fleet.registry import Registry
from cloud_bridge.protocol.fleet import topics
from cloud_bridge.protocol.fleet.presence import State, Status, next_number
from cloud_bridge.protocol.fleet.topics import KINDS, Tree
from cloud_bridge.protocol.fleet.wire import encode
from cloud_bridge.protocol.topics import Address
from edge_runtime.errors import EdgeError, InputError, RemoteError

WINDOW = 1000
"""Messages that may be under way each way, if the broker takes so many."""

TOGETHER = 1000
"""Messages that are taken in at once."""

MANY = 20
"""Messages that came together, from which on it is worth waiting for more: what a turn costs is shared by all of them."""

_GATHER = 0.01
"""Seconds of that."""
_TROUBLE = 1.0
"""Seconds of rest where the registry or the broker fails."""
_LONGEST = 5.0
"""Seconds between two tries to connect: devices wait for a controller."""
_log = logging.getLogger(__name__)


class Service:
    """From `with` to its end. `broker` is mqtt[s]://[user[:password]@]host[:port][/ROOT][?ca=FILE&cert=FILE&key=FILE];
    `registry` a file, or the URL of a PostgreSQL. Raises InputError for what cannot be used; a broker that is away is
    waited for."""

    def __init__(self, broker: str, *, registry: str | Path, link: Link | None = None) -> None:
        address = Address.parse(broker)
        self.name = f"controller-{uuid.uuid4().hex[:16]}"
        self._tree = Tree(address.root)
        self._registry = Registry(registry)
        heard = [
            self._tree.filter(kind, share=None if kind is topics.STATUS else self._registry.group)  # retained: for each
            for kind in KINDS
            if kind.sender == "device" and kind not in (topics.RPC_ANSWER, topics.TELEMETRY)
        ]
        try:
            self._link = link or PahoLink(address, self.name, heard, session=0, window=WINDOW, longest=_LONGEST)
        except BaseException:
            self._registry.close()
            raise
        self._post = Post(self._link)
        self._controller = Controller(self._registry, self._post, time.time, name=self.name, tree=self._tree)
        self._events: queue.SimpleQueue[Heard | None] = queue.SimpleQueue()
        self._waiting: list[Heard] = []
        self._many = False
        self._again = 0.0
        self._number: int | None = None
        self._trouble = Trouble(_log)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="controller", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._link.open(self._will, self._tell)
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave its rollouts to others, say that it goes, and end."""
        self._stopping.set()
        self._post.down()
        self._events.put(None)
        if self._thread.ident is not None:
            self._thread.join()
        try:
            self._controller.close()
        except EdgeError as error:
            _log.warning("its rollouts are left to others later than now: %s", error)
        self._link.close(self._status("disconnected"))
        self._registry.close()

    def _will(self) -> Said:
        self._number = next_number(self._number, time.time())
        return self._status("lost")

    def _status(self, state: State) -> Said:
        told = Status(state=state, session=self.name, bd_seq=self._number or 0, agent=version("edge-runtime"))
        return said(self._tree, topics.CONTROLLER_STATUS, encode(told))

    def _tell(self, event: Event) -> None:
        """On the link's thread."""
        match event:
            case Heard():
                self._events.put(event)
            case Taken():
                self._post.taken(event)
            case Down():
                self._post.down()
            case Up():
                self._link.say(self._status("ready"))
                self._events.put(None)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._turn()
                self._trouble.end()
            except (RemoteError, InputError) as error:
                self._trouble.meet(error)
                self._stopping.wait(_TROUBLE)

    def _turn(self) -> None:
        """What has come together, and what is to be done now."""
        self._take()
        if self._waiting:
            self._controller.receive(self._waiting)
            for each in self._waiting:
                self._link.ack(each)
            self._many = len(self._waiting) >= MANY
            self._waiting.clear()
        if not self._stopping.is_set():
            self._again = self._controller.step()

    def _take(self) -> None:
        """Wait until something has come, or it is time to step; what waited before waits first."""
        wait = 0.0 if self._waiting else max(0.0, self._again - time.time())
        try:
            event = self._events.get(timeout=wait)
            if self._many:
                self._stopping.wait(_GATHER)
            while True:
                self._waiting += [] if event is None else [event]
                if len(self._waiting) >= TOGETHER:
                    return
                event = self._events.get_nowait()
        except queue.Empty:
            return

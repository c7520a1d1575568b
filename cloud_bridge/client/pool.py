"""A few threads, each with a connection of its own: a call is carried out by the one that worked last."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable

from cloud_bridge.client.call import HttpCall
from cloud_bridge.client.connection import Connection
from edge_runtime.errors import UnreachableError

WAITING = 64
"""Calls that may wait for a connection; one more is refused at once."""


class Pool:
    """Connections to the server called `name`, opened as they are needed, at most `size`. For any thread."""

    def __init__(self, name: str, size: int, connect: Callable[[], Connection]) -> None:
        self._name, self._size, self._connect = name, size, connect
        self._workers: list[_Worker] = []
        self._idle: list[_Worker] = []
        self._waiting: deque[HttpCall] = deque()
        self._under_way: set[HttpCall] = set()
        self._closed = False
        self._lock = threading.Lock()

    def start(self, call: HttpCall) -> None:
        """Carry the call out as soon as a connection is free. Raises UnreachableError when too many wait."""
        with self._lock:
            if self._closed:
                raise UnreachableError(f"the connection to {self._name} has been closed on this side")
            if len(self._under_way) >= self._size + WAITING:
                raise UnreachableError(
                    f"{len(self._under_way)} calls to {self._name} wait for an answer: no more are taken"
                )
            worker = self._idle.pop() if self._idle else self._hire()  # TCP sends faster where it has just sent
            self._under_way.add(call)
            if worker is not None:
                worker.mail.put(call)
            else:
                self._waiting.append(call)

    def close(self) -> None:
        """Cancel what is under way and free the connections. Safe to repeat."""
        with self._lock:
            self._closed = True
            calls, workers = list(self._under_way), list(self._workers)
        for call in calls:
            call.sever()
        for worker in workers:
            worker.mail.put(None)
        for worker in workers:
            worker.thread.join(1.0)  # one that waits for a name server cannot be woken; it ends by itself

    def _hire(self) -> _Worker | None:
        """One more worker; None when there are enough, or there is no thread for one."""
        if len(self._workers) >= self._size:
            self._make_room()
            return None
        worker = _Worker(f"remote-{len(self._workers)}", self._serve)
        try:
            worker.thread.start()
        except RuntimeError as error:
            if not self._workers:  # else those that are there do the work
                raise UnreachableError(f"no thread to ask {self._name} with: {error}") from error
            return None
        self._workers.append(worker)
        return worker

    def _make_room(self) -> None:
        """A call that is over may linger, but not in the way of one that is not."""
        for call in self._under_way:
            if call.done():
                call.sever()
                return

    def _serve(self, worker: _Worker) -> None:
        """One thread's life: calls, one after another, over one connection."""
        connection = self._connect()
        while (call := worker.mail.get()) is not None:
            call.run(connection)
            with self._lock:
                self._under_way.discard(call)
                if self._waiting:
                    worker.mail.put(self._waiting.popleft())
                else:
                    self._idle.append(worker)
            del call  # and with it the answer, which this thread would keep until the next call
        connection.close()


class _Worker:
    """A thread, and what it is to do next; None ends it."""

    def __init__(self, name: str, serve: Callable[[_Worker], None]) -> None:
        self.mail: queue.SimpleQueue[HttpCall | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=serve, args=(self,), name=name, daemon=True)

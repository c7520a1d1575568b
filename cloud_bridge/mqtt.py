"""One connection to an MQTT 5 broker, as both ends of the bridge use it: a queue of letters out, a callback for letters in.

- Nothing is kept for a later connection: when it is lost, the owners of letters are told at once.
- It reconnects for ever with full jitter; a subscription that the broker refuses counts as no connection; the broker's
  limits are kept before it has to cut us off for breaking them.
- QoS 0 everywhere: the device gives a call up or tries again by its budget, and a redelivery would come too late.

The protocol itself is `protocol/packets.py`, what waits to be sent the outbox, the socket `stream.py`.
"""

from __future__ import annotations

import contextlib
import logging
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from cloud_bridge.credentials import Credentials
from cloud_bridge.letter import Letter, pack
from cloud_bridge.outbox import Outbox
from cloud_bridge.protocol import packets
from cloud_bridge.protocol.packets import HEAD, Event, Passed, Publication, Reader
from cloud_bridge.protocol.session import Session
from cloud_bridge.protocol.topics import Address
from cloud_bridge.stream import Stream, Waker
from edge_runtime.errors import InputError, RemoteError, UnreachableError

RECONNECT = (0.25, 1.0)
"""Seconds: the first and the longest upper bound of the random wait before the next try to connect. Not longer: that a
link is back is to be noticed within two seconds, and a try costs one packet."""

CONNECT = 5.0
"""Seconds that a try to connect may take."""

HANDSHAKE = 10.0
"""Seconds from a connection to its confirmed subscriptions."""

_KEEPALIVE = 20  # seconds; a broker that says nothing for so long is lost. rumqttd refuses 0
_FAREWELL = 2.0  # seconds in which what is still to be said may leave
_UNACKNOWLEDGED = 2_000  # ms that sent bytes may stay unacknowledged before the kernel calls the connection lost
_RECEIVES = 64  # before the thread looks after other things

_log = logging.getLogger(__name__)


class Link:
    """The connection. It opens in the background; `up` is set while letters can be sent and are heard.

    `hear(message)`, `rise()` and `fall(why)` are called on the connection's own thread; they must neither block nor raise.
    """

    def __init__(
        self,
        address: Address,
        client_id: str,
        subscriptions: Sequence[str],
        *,
        hear: Callable[[Publication], None],
        rise: Callable[[], None] = lambda: None,
        fall: Callable[[str], None] = lambda why: None,
        will: Letter | None = None,
    ) -> None:
        self.address = address
        self.up = threading.Event()
        self._subscriptions = tuple(subscriptions)
        self._hear, self._rise, self._fall = hear, rise, fall
        self._tls = Credentials(address.ca, address.cert, address.key) if address.tls else None
        self._hello = packets.connect(
            client_id, keepalive=_KEEPALIVE, username=address.username, password=address.password, will=_will(will)
        )
        self._outbox = Outbox(address.name)
        self._closed = threading.Event()
        self._patient = False  # whether the broker is to have read all before the connection ends
        self._waker: Waker | None = None
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._tries = 0

    def open(self) -> None:
        """Start connecting, and go on for ever until `close`."""
        self._waker = Waker()
        self._thread.start()

    def post(self, letter: Letter) -> None:
        """See `Outbox.post`."""
        self._outbox.post(letter)

    def take_back(self, letter: Letter) -> int:
        """See `Outbox.take_back`."""
        return self._outbox.take_back(letter)

    def uploading(self, letter: Letter) -> float | None:
        """See `Outbox.uploading`."""
        return self._outbox.uploading(letter)

    @property
    def why(self) -> str:
        """Why nothing can be sent, while `up` is not set."""
        return self._outbox.why

    def unsubscribe(self) -> None:
        """Hear no more; letters can still be sent."""
        if self.up.is_set():
            self._outbox.say(packets.unsubscribe(2, self._subscriptions))

    def close(self, last: Letter | None = None) -> None:
        """Say goodbye and stop; with `last`, send what waits and then that before. Safe to repeat."""
        if self._closed.is_set():
            return
        self._outbox.finish(last, f"{self.address.name}: closed")
        self._patient = last is not None
        self._closed.set()
        self.up.clear()
        if self._waker is not None:
            self._waker.wake()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(_FAREWELL)  # one that waits for a name server cannot be woken; it ends by itself

    # What follows runs on the connection's own thread.

    def _run(self) -> None:
        """Connect and serve, again and again."""
        assert self._waker is not None  # noqa: S101 - `open` made it
        while not self._closed.is_set():
            stream = Stream(_tune, self._waker)
            try:
                self._connect(stream)
                self._serve(stream)
            except UnreachableError as error:
                self._lose(str(error))
            except (OSError, RemoteError) as error:
                self._lose(f"the connection was lost: {error}")
            except Exception as error:  # noqa: BLE001 - a defect must not end the thread that serves all
                _log.exception("%s: the connection failed in an unforeseen way", self.address.name)
                self._lose(f"the connection failed: {error!r}")
            finally:
                self._outbox.shut(self.why)  # before the socket goes: other threads write to it
                stream.close()
            self._closed.wait(self._pause())
        self.up.clear()
        self._waker.close()

    def _connect(self, stream: Stream) -> None:
        until = time.monotonic() + CONNECT
        try:
            stream.connect(self.address.host, self.address.port, lambda: self._left(until))
            if self._tls is not None:
                stream.secure(self._tls.context(), self.address.host, lambda: self._left(until))
        except (OSError, InputError) as error:
            raise UnreachableError(f"cannot connect: {error}") from error

    def _serve(self, stream: Stream) -> None:
        """From the first packet to the end of the connection."""
        session = Session(self._subscriptions, keepalive=_KEEPALIVE, handshake=HANDSHAKE, now=time.monotonic())
        reader, outbox = Reader(), self._outbox
        outbox.attach(stream)
        outbox.say(self._hello)
        while not self._closed.is_set():
            now = time.monotonic()
            if packet := session.due(now, leaving=outbox.leaving):
                outbox.say(packet)
            stream.wait(session.patience(now, leaving=outbox.leaving), write=outbox.leaving)
            if outbox.leaving and outbox.advance():
                session.moved(time.monotonic())
            for event in self._received(stream, reader, session):
                self._note(event, session)
        self._leave(stream)

    def _received(self, stream: Stream, reader: Reader, session: Session) -> Iterator[Event]:
        """What has come by now, or the first of it: others want the thread, too."""
        for _ in range(_RECEIVES):
            count = stream.receive(reader.buffer())
            if count is None:
                return
            if not count:
                raise UnreachableError("the broker hung up")
            session.moved(time.monotonic())
            yield from reader.received(count)

    def _note(self, event: Event, session: Session) -> None:
        if isinstance(event, Publication):
            try:
                self._hear(event)
            except Exception:  # noqa: BLE001 - a defect met by one message must not end the connection that serves all
                _log.exception("%s: a message was not understood", self.address.name)
            return
        if isinstance(event, Passed):
            _log.info("%s: a publication with over %d bytes beside its payload was passed over", self.address.name, HEAD)
        was_open = session.open
        if answer := session.note(event):
            self._outbox.say(answer)
        if session.open and not was_open and not self._closed.is_set():
            self._tries = 0
            self._outbox.open(session.largest)
            self.up.set()
            _log.info("%s: connected", self.address.name)
            self._rise()

    def _leave(self, stream: Stream) -> None:
        """Closed: what the outbox still has goes out."""
        until = time.monotonic() + _FAREWELL
        while self._outbox.leaving and (left := until - time.monotonic()) > 0.0:
            stream.wait(left, write=True)
            self._outbox.advance()
        if self._patient and not self._outbox.leaving:
            with contextlib.suppress(OSError):
                stream.finish(lambda: _left(until))

    def _left(self, until: float) -> float:
        if self._closed.is_set():
            raise InterruptedError("closed")
        return _left(until)

    def _lose(self, why: str) -> None:
        if self._closed.is_set():
            return
        why = f"{self.address.name}: {why}"
        news = why != self.why
        self.up.clear()
        was_open = self._outbox.shut(why)
        if news:
            _log.warning("%s", why)
        if was_open:
            self._fall(why)

    def _pause(self) -> float:
        """Seconds until the next try to connect: random, for a broker that comes back is met by all at once."""
        first, longest = RECONNECT
        self._tries += 1
        return random.uniform(0.0, min(longest, first * 2.0 ** min(self._tries - 1, 32)))  # noqa: S311 - no secret


def _left(until: float) -> float:
    """Seconds that are left; TimeoutError when none are."""
    if (left := until - time.monotonic()) <= 0.0:
        raise TimeoutError("no answer in time")
    return left


def _tune(sock: socket.socket) -> None:
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED)


def _will(letter: Letter | None) -> Publication | None:
    if letter is None:
        return None
    return Publication(letter.topic, letter.message.body, pack(letter, time.monotonic()), letter.retain)

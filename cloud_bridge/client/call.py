"""A call over HTTP: carried out by one thread, waited for by another, given up by any."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import TypeAlias

from cloud_bridge.client.connection import Connection
from cloud_bridge.client.slot import Slot
from cloud_bridge.client.transfer import Transfer
from edge_runtime.errors import CancelledError, EdgeError, LateError, ProtocolError, RefusedError, RemoteError
from edge_runtime.remote import Reply

Work: TypeAlias = "Callable[[Connection, Transfer], Reply]"


class HttpCall:
    """A call under way: `edge_runtime.remote.Pending`."""

    def __init__(self, work: Work, deadline: float, name: str) -> None:
        self.transfer = Transfer(deadline)
        self._work: Work | None = work
        self._name = name
        self._slot = Slot[Reply | EdgeError]()
        self.done = self._slot.done
        self.add_done_callback = self._slot.add_done_callback

    def run(self, connection: Connection) -> None:
        """Carry the call out, unless it has been given up by now."""
        work = self._work
        if work is None:
            return
        try:
            if self.transfer.left() <= 0:
                raise LateError(f"the deadline passed before a connection to {self._name} was free")  # noqa: TRY301
            reply = work(connection, self.transfer)
            self._settle(self._late() if self.transfer.over else reply)
        except RefusedError as error:  # to a body that the deadline has cut short, too
            self._settle(self._late() if self.transfer.over else error)
        except EdgeError as error:
            self._settle(error)
        except Exception as error:  # noqa: BLE001 - a defect must end this one call, not leave its caller waiting
            self._settle(ProtocolError(f"the client failed in an unforeseen way: {error!r}"))
        finally:
            del self, work  # an error holds this frame, and this call the error

    def result(self, timeout: float) -> Reply:
        """The answer; see the port."""
        if not self._slot.wait(min(max(timeout, 0.0), self.transfer.left())):
            if self.transfer.left() > 0:
                raise LateError(f"no answer from {self._name} within {timeout * 1e3:.0f} ms")
            self.give_up(LateError(f"no answer from {self._name} before the deadline"))
        outcome = self._slot.outcome
        if isinstance(outcome, EdgeError):
            raise copy(outcome) from outcome.__cause__  # a raised error holds its caller's frames
        assert outcome is not None  # noqa: S101 - it is set before the event is
        return outcome

    def cancel(self) -> int:
        """Stop the bytes; see the port."""
        self.give_up(CancelledError("the call was cancelled"))
        return self.transfer.sent

    def give_up(self, error: RemoteError) -> None:
        """End the call with this error and stop its bytes, unless it has ended."""
        if self._settle(error):
            self.transfer.cut()

    def sever(self) -> None:
        """End its connection, and with it the call. Whoever runs it is free at once."""
        self.cancel()
        self.transfer.sever()

    def _late(self) -> LateError:
        return LateError(f"the answer from {self._name} came after the deadline")

    def _settle(self, outcome: Reply | EdgeError) -> bool:
        """Make this the outcome, unless there is one."""
        self._work = None  # and with it the inputs
        return self._slot.put(outcome)

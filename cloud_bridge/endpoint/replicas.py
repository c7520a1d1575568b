"""The replicas of an endpoint on a Ray cluster, as one service: each call within its budget.

A run changes nothing, so a call whose replica or node was lost is asked of another one, as long as its budget lasts.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from time import monotonic
from typing import Any

from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from cloud_bridge.endpoint.jobs import Answer, Form, defect
from cloud_bridge.endpoint.metrics import joined
from cloud_bridge.endpoint.room import Room
from cloud_bridge.endpoint.scale import BACK, BACK_SHARE, SecondTry
from cloud_bridge.endpoint.service import HELD, told, uncontrolled
from cloud_bridge.endpoint.statistics import merged
from cloud_bridge.protocol import oip
from cloud_bridge.protocol.message import LIMITS, Limits, Message, remaining
from cloud_bridge.protocol.repository import IndexEntry
from edge_runtime.errors import EdgeError, LateError, RefusedError

LONGEST = 60.0
"""Seconds that a call without a budget may take."""

PAUSE, LONGEST_PAUSE = 0.01, 0.32
"""Seconds before a call whose replica was lost is asked again: at first, doubled each time, at most."""

ASKED = 30.0
"""Seconds for what is no inference: a model may have to be opened."""

TOLD = 2.0
"""Seconds that replicas have to tell their figures, or that they are there: one that was just lost tells none."""

GRACE = 5.0
"""Seconds that calls under way get to end."""

_LOST = (RayError, RayServeException)


class Replicas:
    """Every method may be called from any thread, but only `submit` from one that runs an event loop."""

    def __init__(self, handle: DeploymentHandle[Any], *, limits: Limits = LIMITS, held: int = HELD) -> None:
        self.limits = limits
        self.room = Room(held)
        self._handle = handle
        self._second = SecondTry()
        self._closed = False
        self._under_way: set[asyncio.Task[Answer]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="replicas", daemon=True)
        self._thread.start()

    @property
    def statistics(self) -> Replicas:
        """`document` tells them."""
        return self

    @property
    def metrics(self) -> Replicas:
        """`text` tells them."""
        return self

    def submit(
        self, model: str, version: str | None, message: Message, *, received: float, form: Form = oip
    ) -> Future[Answer]:
        """As the service's. A budget in the body alone counts at the replica only."""
        return asyncio.run_coroutine_threadsafe(self._answer(model, version, message, received, form), self._loop)

    def server(self) -> oip.ServerMetadata:
        """As the service's."""
        return told(control=False)

    def check_ready(self) -> None:
        """As the service's: one replica says that it is there."""
        self._ask(self._handle.about.remote, within=TOLD)

    def load(self, model: str) -> None:
        """Raises RefusedError: replicas come and go, and a new one would know nothing of it."""
        raise uncontrolled()

    unload = load

    def metadata(self, model: str, version: str | None = None) -> oip.ModelMetadata:
        """As the service's."""
        return self._ask(self._handle.metadata.remote, model, version)  # type: ignore[no-any-return]

    def index(self) -> list[IndexEntry]:
        """As the service's, of one replica."""
        return self._ask(self._handle.index.remote)  # type: ignore[no-any-return]

    def open(self, model: str, version: str | None = None) -> None:
        """As the service's, on one replica; the others open it at its first call there."""
        self._ask(self._handle.open.remote, model, version)

    def about(self) -> tuple[str, tuple[str, ...]]:
        """The store's path on the replicas' machines, and the models that are open."""
        return self._ask(self._handle.about.remote)  # type: ignore[no-any-return]

    def preload(self) -> tuple[str, ...]:
        """A replica is there when its models are open: their names."""
        return self.about()[1]

    def document(self, model: str | None = None, version: str | None = None) -> dict[str, Any]:
        """The statistics of all replicas together."""
        return merged(self._told("statistics", model, version))

    def text(self) -> bytes:
        """The metrics of each replica, under a label."""
        return joined(dict(self._told("metrics")))

    def close(self) -> None:
        """Take no more calls, and let those under way end."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._closed = True
        if self._under_way:
            _, left = await asyncio.wait(self._under_way, timeout=GRACE)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _answer(self, model: str, version: str | None, message: Message, received: float, form: Form) -> Answer:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101
        self._under_way.add(task)
        try:
            self._check_open()
            budget = remaining(message)
            back = 0.0 if budget is None else min(BACK, BACK_SHARE * budget)
            until = received + (LONGEST if budget is None else budget) - back
            whole = Message(bytes(message.body), dict(message.headers))
            self._second.call()
            async with asyncio.timeout_at(self._loop.time() + until - monotonic()):
                return await self._tried(lambda: (model, version, whole, monotonic() - received + back, form))
        except EdgeError as error:
            return Answer(*oip.encode_error(error))
        except TimeoutError:
            return Answer(*oip.encode_error(_late(budget)))
        except Exception:  # noqa: BLE001 - a defect here is one caller's 500 and a line in the log
            return Answer(*oip.encode_error(defect(model)))
        finally:
            self._under_way.discard(task)

    def _check_open(self) -> None:
        if self._closed:
            raise RefusedError("the endpoint is shutting down", status=503, retry_after=1.0)

    async def _tried(self, call: Callable[[], tuple[Any, ...]]) -> Answer:
        """What a replica answers: another one where the first was lost, and maybe where it had no time."""
        pause, again = PAUSE, True
        while True:
            response = self._handle.infer.remote(*call())
            try:
                answer: Answer = await response
            except asyncio.CancelledError:
                response.cancel()  # type: ignore[no-untyped-call]
                raise
            except RayTaskError:
                return Answer(*oip.encode_error(defect(call()[0])))
            except _LOST:
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            if answer.status != 503 or not again or not self._second.take():
                return answer
            again = False

    def _ask(self, method: Callable[..., Any], *arguments: object, within: float = ASKED) -> Any:
        """What one replica says, in so many seconds."""
        try:
            return method(*arguments).result(timeout_s=within)
        except RayTaskError as error:
            if isinstance(error.cause, EdgeError):
                raise error.cause from None
            raise RefusedError("an internal error: see the replica's log", status=500) from error
        except (*_LOST, TimeoutError) as error:
            raise _unanswered() from error

    def _told(self, method: str, *arguments: object) -> list[Any]:
        """What all replicas say that say something in time."""
        try:
            told = self._handle.broadcast(method, *arguments).results(timeout_s=TOLD, return_exceptions=True)
        except (*_LOST, TimeoutError) as error:
            raise _unanswered() from error
        return [each for each in told if not isinstance(each, BaseException)]


def _unanswered() -> RefusedError:
    return RefusedError("no replica answers: try again later", status=503, retry_after=1.0)


def _late(budget: float | None) -> EdgeError:
    if budget is None:
        return RefusedError(f"no replica answered within {LONGEST:.0f} s", status=503, retry_after=1.0)
    return LateError("no replica answered within the call's budget")

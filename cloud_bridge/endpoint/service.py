"""The endpoint's core: messages in, answers out, whatever carried them. Models run through the device's own backends."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import metadata

import msgspec

from cloud_bridge.endpoint.room import Room
from cloud_bridge.protocol import oip
from cloud_bridge.protocol.message import LIMITS, Limits, Message, remaining
from edge_runtime.bundles.manifest import check_name, check_version
from edge_runtime.bundles.store import Bundle, Store
from edge_runtime.engines import Loaded, open_best
from edge_runtime.errors import EdgeError, InputError, LateError, ManifestError, NotInstalledError, RefusedError
from edge_runtime.signature import Check, Signature, input_check

SERVER = oip.ServerMetadata(
    "edge-runtime",
    metadata.version("edge-runtime"),
    (oip.BINARY_EXTENSION, oip.PROBE_EXTENSION, oip.CHUNKS_EXTENSION),
)
PLATFORM = "edge_runtime"

HELD = 512 << 20
"""Bytes that all requests may hold in memory, from their first byte to their answer."""

_log = logging.getLogger(__name__)


class Answer(msgspec.Struct, frozen=True):
    """What goes back: an HTTP status (over MQTT a user property), and the message."""

    status: int
    message: Message


class _Call(msgspec.Struct, frozen=True):
    model: str
    version: str | None
    message: Message
    received: float
    """When its first byte was here: its budget counts from then."""
    complete: float
    """When all of it was here."""
    deadline: float | None


class _Model(msgspec.Struct, frozen=True):
    loaded: Loaded
    signature: Signature
    check: Check
    outputs: frozenset[str]


class Service:
    """Runs the bundles of a store for whoever asks. Every method may be called from any thread.

    `workers` inferences run at once and `waiting` more wait for their turn; one more is refused at once (503). A call
    whose budget is over is refused at the door, and again when its turn comes, without being run (504). Models are opened
    when they are first asked for, by `opener`; the `models` that were used last are kept open. `room` is for what carries
    requests here: they take their bytes from it, `held` in all.
    """

    def __init__(
        self,
        store: Store,
        *,
        workers: int = 2,
        waiting: int = 64,
        models: int = 16,
        limits: Limits = LIMITS,
        held: int = HELD,
        opener: Callable[[Bundle], Loaded] = open_best,
    ) -> None:
        if min(workers, models) < 1 or waiting < 0:
            raise InputError("a service needs at least 1 worker, room for 1 model, and no less than 0 waiting calls")
        self.limits = limits
        self.room = Room(held)
        self._store = store
        self._opener = opener
        self._workers = ThreadPoolExecutor(workers, thread_name_prefix="endpoint")
        self._places = threading.BoundedSemaphore(workers + waiting)
        self._turns = (workers + waiting) / workers
        self._capacity = models
        self._open: OrderedDict[tuple[str, str], _Model] = OrderedDict()
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._seconds = 0.05  # one inference, as a running mean: what tells a refused client when to come back

    def submit(self, model: str, version: str | None, message: Message, *, received: float) -> Future[Answer]:
        """Start a call and return at once. `received` is the instant of `time.monotonic()` at which it began to arrive: its
        budget counts from there.

        The future gives an Answer and raises nothing; cancelling it before its turn comes drops the call.
        """
        try:
            budget = remaining(message)
            deadline = None if budget is None else received + budget
            _check_time(deadline)
        except EdgeError as error:
            return _done(error)
        if not self._places.acquire(blocking=False):
            after = self._seconds * self._turns
            return _done(RefusedError("the endpoint is overloaded: try again later", status=503, retry_after=after))
        try:
            future = self._workers.submit(
                self._answer, _Call(model, version, message, received, time.monotonic(), deadline)
            )
        except RuntimeError:  # the only one that submit raises: the pool is shut down
            self._places.release()
            return _done(RefusedError("the endpoint is shutting down", status=503, retry_after=1.0))
        future.add_done_callback(lambda _: self._places.release())
        return future

    def metadata(self, model: str, version: str | None = None) -> oip.ModelMetadata:
        """What a model takes and gives. Raises NotInstalledError."""
        bundle = self._bundle(model, version)
        return oip.describe(model, self._store.versions(model), PLATFORM, bundle.manifest.signature)

    def open(self, model: str, version: str | None = None) -> None:
        """Open a model now, rather than at its first call. Raises NotInstalledError or a BackendError."""
        self._model(model, version)

    def preload(self) -> tuple[str, ...]:
        """Open the active version of every model. Returns their names."""
        names = tuple(name for name in self._store.names() if self._store.active(name) is not None)
        for name in names:
            self.open(name)
        return names

    def close(self) -> None:
        """Let the inferences that run end, drop those that wait, and free the models."""
        self._workers.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            models = list(self._open.values())
            self._open.clear()
        for model in models:
            model.loaded.session.close()

    def _answer(self, call: _Call) -> Answer:
        try:
            _check_time(call.deadline)
            return Answer(200, self._run(call))
        except EdgeError as error:
            return Answer(*oip.encode_error(error))
        except Exception:  # noqa: BLE001 - a defect here is one caller's 500 and a line in the log, not a dead worker
            _log.exception("inference on %s failed in an unforeseen way", call.model)
            return Answer(*oip.encode_error(RefusedError("an internal error: see the endpoint's log", status=500)))

    def _run(self, call: _Call) -> Message:
        model = self._model(call.model, call.version)
        request = oip.decode_request(call.message, self.limits, model.signature)
        # Once more: the budget may stand in the body only, and opening a model takes its time.
        _check_time(None if request.budget is None else call.received + request.budget)
        model.check(request.inputs)
        oip.check_outputs(request, model.outputs)
        started = time.monotonic()
        outputs = model.loaded.session.run(request.inputs)
        ended = time.monotonic()
        self._seconds += 0.1 * (ended - started - self._seconds)
        device = model.loaded.session.device
        response = oip.InferResponse(
            call.model,
            outputs,
            version=model.loaded.bundle.manifest.version,
            engine=device.engine,
            device=device.name,
            variant=model.loaded.candidate.variant.name,
            seconds=ended - call.complete,
        )
        return oip.encode_response(response, request)

    def _model(self, name: str, version: str | None) -> _Model:
        wanted = version or self._active(name)
        model = self._find(name, wanted)
        if model is not None:
            return model
        with self._opening:  # one at a time, and the others that ask for the same one wait for it here
            return self._find(name, wanted) or self._load(name, wanted)

    def _find(self, name: str, version: str) -> _Model | None:
        with self._lock:
            model = self._open.get((name, version))
            if model is not None:
                self._open.move_to_end((name, version))
            return model

    def _load(self, name: str, version: str) -> _Model:
        loaded = self._opener(self._bundle(name, version))
        signature = loaded.session.signature
        outputs = frozenset(spec.name for spec in signature.outputs)
        model = _Model(loaded, signature, input_check(signature.inputs), outputs)
        with self._lock:
            self._open[name, version] = model
            # Not closed, only let go of: an inference may be running on it, and the engine frees it after that.
            while len(self._open) > self._capacity:
                self._open.popitem(last=False)
        return model

    def _active(self, name: str) -> str:
        return (_named(name, None) and self._store.active(name)) or self._bundle(name, None).manifest.version

    def _bundle(self, name: str, version: str | None) -> Bundle:
        _named(name, version)
        return self._store.bundle(name, version)


def _named(name: str, version: str | None) -> bool:
    """NotInstalledError for what cannot be the name or version of a model: to a caller, it is not here."""
    try:
        check_name(name)
        if version is not None:
            check_version(version)
    except ManifestError as error:
        raise NotInstalledError(f"there is no such model here: {error}") from error
    return True


def _check_time(deadline: float | None) -> None:
    late = 0.0 if deadline is None else time.monotonic() - deadline
    if deadline is not None and late >= 0:
        raise LateError(f"the call's budget ended {late * 1e3:.0f} ms ago: it was not run")


def _done(error: EdgeError) -> Future[Answer]:
    future: Future[Answer] = Future()
    future.set_result(Answer(*oip.encode_error(error)))
    return future

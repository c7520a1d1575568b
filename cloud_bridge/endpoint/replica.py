"""One replica of the endpoint: a service behind the methods that replicas are asked by. It knows nothing of who runs it."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec

from cloud_bridge.endpoint.jobs import Answer, Form
from cloud_bridge.endpoint.scale import BACK, BACK_SHARE, Load
from cloud_bridge.endpoint.service import Service
from cloud_bridge.malloc import keep_buffers
from cloud_bridge.protocol import oip
from cloud_bridge.protocol.message import Message, remaining
from cloud_bridge.protocol.repository import IndexEntry
from edge_runtime.bundles.store import Store

MISSES = (503, 504)
"""The statuses of calls that there was no time for."""


class Replica:
    """Runs the models of a store, which has to be at the same path on every machine. All are open once it is made."""

    def __init__(self, store: str, waiting: int) -> None:
        keep_buffers()
        self._name = secrets.token_hex(4)
        self._store = store
        self._service = Service(Store(Path(store)), waiting=waiting)
        self._models = self._service.preload()
        self._came = self._missed = 0
        self._seen = monotonic(), 0.0

    async def infer(self, model: str, version: str | None, message: Message, waited: float, form: Form) -> Answer:
        """Answer a call of whose budget `waited` seconds are gone. Cancelled before its turn, it is not run."""
        received = monotonic() - waited
        self._came += 1
        try:
            answer = await asyncio.wrap_future(self._service.submit(model, version, message, received=received, form=form))
        except asyncio.CancelledError:  # by who left, or because its budget was over
            budget = remaining(message)
            self._missed += budget is not None and monotonic() - received > budget - min(BACK, BACK_SHARE * budget)
            raise
        self._missed += answer.status in MISSES
        return Answer(answer.status, Message(bytes(answer.message.body), dict(answer.message.headers)))

    async def about(self) -> tuple[str, tuple[str, ...]]:
        """The store's path, and the models that are open."""
        return self._store, self._models

    async def metadata(self, model: str, version: str | None) -> oip.ModelMetadata:
        """As the service's."""
        return await asyncio.to_thread(self._service.metadata, model, version)

    async def index(self) -> list[IndexEntry]:
        """As the service's."""
        return await asyncio.to_thread(self._service.index)

    async def open(self, model: str, version: str | None) -> None:
        """As the service's."""
        await asyncio.to_thread(self._service.open, model, version)

    async def statistics(self, model: str | None, version: str | None) -> dict[str, Any]:
        """This replica's part of the document."""
        return self._service.statistics.document(model, version)

    async def metrics(self) -> tuple[str, bytes]:
        """This replica's name, and its own."""
        return self._name, self._service.metrics.text()

    def load(self) -> Load:
        """Since this was last asked."""
        now, ran = monotonic(), self._ran()
        (before, had), self._seen = self._seen, (now, ran)
        came, missed, self._came, self._missed = self._came, self._missed, 0, 0
        busy = (ran - had) / max(now - before, 1e-3) / self._service.at_once
        return Load(min(1.0, max(0.0, busy)), self._service.backlog(), missed / came if came else 0.0)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What Ray Serve asks for to hand it to the policy."""
        return msgspec.structs.asdict(self.load())

    async def __del__(self) -> None:
        """Ray Serve awaits this when the replica's calls have ended."""
        await asyncio.to_thread(self._service.close)

    def _ran(self) -> float:
        """Seconds that runs have taken, all together."""
        models = self._service.statistics.document()["model_stats"]
        ns: int = sum(batch["compute_infer"]["ns"] for model in models for batch in model["batch_stats"])
        return ns / 1e9

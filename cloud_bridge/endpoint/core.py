"""What a face (HTTP, MQTT) needs of what is behind it: a service in this process, or replicas on several machines."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, Protocol

from cloud_bridge.endpoint.jobs import Answer, Form
from cloud_bridge.endpoint.room import Room
from cloud_bridge.protocol import oip
from cloud_bridge.protocol.message import Limits, Message
from cloud_bridge.protocol.repository import IndexEntry


class Document(Protocol):
    """The statistics extension's document: of all models that have run, of one, or of one version."""

    def document(self, model: str | None = None, version: str | None = None) -> dict[str, Any]: ...


class Text(Protocol):
    """Metrics, in Prometheus's text format."""

    def text(self) -> bytes: ...


class Core(Protocol):
    """Every method may be called from any thread; all but `submit` may take their time. `Service` says what they do."""

    limits: Limits
    room: Room

    @property
    def statistics(self) -> Document: ...
    @property
    def metrics(self) -> Text: ...
    def submit(
        self, model: str, version: str | None, message: Message, *, received: float, form: Form = oip
    ) -> Future[Answer]: ...
    def metadata(self, model: str, version: str | None = None) -> oip.ModelMetadata: ...
    def index(self) -> list[IndexEntry]: ...
    def open(self, model: str, version: str | None = None) -> None: ...
    def server(self) -> oip.ServerMetadata: ...
    def check_ready(self) -> None: ...
    def load(self, model: str) -> None: ...
    def unload(self, model: str) -> None: ...
    def preload(self) -> tuple[str, ...]: ...
    def close(self) -> None: ...

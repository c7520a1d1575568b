"""What the endpoint answers over gRPC: KServe's and Triton's GRPCInferenceService.

Every method is served as if its requests were a stream, which on the wire is the same: so a call's time counts from its
beginning, and who has no key is answered before a message is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import monotonic
from typing import Any, TypeAlias

import grpc
from grpc import StatusCode

from cloud_bridge.endpoint.access import Keys
from cloud_bridge.endpoint.core import Core
from cloud_bridge.endpoint.jobs import Answer, defect
from cloud_bridge.endpoint.room import BODY_SECONDS
from cloud_bridge.protocol import grpc as form
from cloud_bridge.protocol import grpc_metadata as say
from cloud_bridge.protocol.failures import encode_error, reason
from cloud_bridge.protocol.message import BUDGET, TRACE, Message, budget_header, remaining
from edge_runtime.errors import BackendError, BundleError, EdgeError, ProtocolError, RefusedError

Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
Question: TypeAlias = Callable[[bytes], Awaitable[bytes]]
Method: TypeAlias = Callable[[bytes, Mapping[str, str], float], Awaitable[Answer]]
"""From a request's bytes, its headers, and when it began to come."""

AHEAD = 16
"""Requests of one stream that are under way; the next are read as these are answered."""

_LONGEST = 600
"""Characters of an error: clients take 8 kB of headers, in which each may become twelve bytes."""

_STATUS = {
    400: StatusCode.INVALID_ARGUMENT,
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.NOT_FOUND,
    408: StatusCode.DEADLINE_EXCEEDED,
    413: StatusCode.RESOURCE_EXHAUSTED,
    429: StatusCode.RESOURCE_EXHAUSTED,
    499: StatusCode.CANCELLED,
    501: StatusCode.UNIMPLEMENTED,
    503: StatusCode.UNAVAILABLE,
    504: StatusCode.DEADLINE_EXCEEDED,
}
"""HTTP's statuses in gRPC's words; all others are INTERNAL."""


class Face:
    """The methods, in front of a service."""

    def __init__(self, service: Core, keys: Sequence[str]) -> None:
        self._service = service
        self._keys = Keys(keys) if keys else None
        self._reading: set[asyncio.Task[None]] = set()
        self._stopped = False

    def methods(self) -> dict[str, grpc.RpcMethodHandler[bytes, bytes]]:
        questions: dict[str, Question] = {
            "ServerReady": self.whole,
            "ServerMetadata": self.server,
            "ModelReady": self.ready,
            "ModelMetadata": self.model,
            "ModelConfig": self.config,
            "ModelStatistics": self.statistics,
            "RepositoryIndex": self.index,
            "RepositoryModelLoad": self.load,
            "RepositoryModelUnload": self.unload,
        }
        return {
            **{name: self._unary(_told(question)) for name, question in questions.items()},
            "ServerLive": self._unary(_told(self.alive), open_to_all=True),
            "ModelInfer": self._unary(self._answer),
            "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(self.stream),
        }

    def stop(self) -> None:
        """Streams are read no further; what was read of them is answered."""
        self._stopped = True
        for reading in self._reading:
            reading.cancel()

    async def alive(self, body: bytes) -> bytes:
        return say.YES

    async def whole(self, body: bytes) -> bytes:
        try:
            await asyncio.to_thread(self._service.check_ready)
        except RefusedError:
            return b""
        return say.YES

    async def server(self, body: bytes) -> bytes:
        return say.encode_server(self._service.server())

    async def ready(self, body: bytes) -> bytes:
        try:
            await asyncio.to_thread(self._service.open, *_target(body))
        except (BundleError, BackendError):  # a question: Triton's clients take an error for no answer to it
            return b""
        return say.YES

    async def model(self, body: bytes) -> bytes:
        return say.encode_model(await asyncio.to_thread(self._service.metadata, *_target(body)))

    async def config(self, body: bytes) -> bytes:
        return say.encode_config(await asyncio.to_thread(self._service.metadata, *_target(body)))

    async def statistics(self, body: bytes) -> bytes:
        model, version = _target(body)
        if model:
            await asyncio.to_thread(self._service.metadata, model, version)  # NOT_FOUND for what is not here
        return say.encode_statistics(await asyncio.to_thread(self._service.statistics.document, model or None, version))

    async def index(self, body: bytes) -> bytes:
        ready = say.decode_index(body)
        entries = await asyncio.to_thread(self._service.index)
        return say.encode_index(entry for entry in entries if not ready or entry.state == "READY")

    async def load(self, body: bytes) -> bytes:
        await asyncio.to_thread(self._service.load, say.decode_order(body))
        return b""

    async def unload(self, body: bytes) -> bytes:
        await asyncio.to_thread(self._service.unload, say.decode_order(body))
        return b""

    async def stream(self, _: object, context: Context) -> None:
        """Each request is answered in its turn, and an error is one request's answer."""
        await self._admit(context)
        answers: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue()
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._take(context, answers, group))
            self._reading.add(reading)
            reading.add_done_callback(self._reading.discard)
            while (answer := await answers.get()) is not None:
                await context.write(await answer)
        if self._stopped:
            await context.abort(StatusCode.UNAVAILABLE, "the endpoint is shutting down")

    async def _take(
        self, context: Context, answers: asyncio.Queue[asyncio.Task[bytes] | None], group: asyncio.TaskGroup
    ) -> None:
        """Start to answer what a stream brings, so much ahead."""
        ahead = asyncio.Semaphore(AHEAD)
        try:
            while not self._stopped:
                await ahead.acquire()
                if (body := await _next(context)) is None:
                    return
                answer = group.create_task(self._streamed(body, context))
                answer.add_done_callback(lambda _: ahead.release())
                answers.put_nowait(answer)
        finally:
            answers.put_nowait(None)

    async def _streamed(self, body: bytes, context: Context) -> bytes:
        received, named = monotonic(), form.Named()
        try:
            named = form.decode_named(body)
            with self._service.room.holding(len(body)):
                answer = await self._called(named, body, _headers(context), received)
        except EdgeError as error:
            answer = Answer(*encode_error(error))
        except Exception:  # noqa: BLE001 - a defect is one request's, not its stream's
            answer = Answer(*encode_error(defect("a stream")))
        if answer.status == 200:
            return form.encode_streamed(answer.message)
        return form.encode_streamed_error(reason(answer.message), named.id, answer.message)

    async def _answer(self, body: bytes, headers: Mapping[str, str], received: float) -> Answer:
        return await self._called(form.decode_named(body), body, headers, received)

    async def _called(self, named: form.Named, body: bytes, headers: Mapping[str, str], received: float) -> Answer:
        message, version = Message(body, headers), named.version or None
        future = self._service.submit(named.name, version, message, received=received, form=form)
        return future.result() if future.done() else await asyncio.wrap_future(future)  # who leaves cancels the call

    def _unary(self, method: Method, *, open_to_all: bool = False) -> grpc.RpcMethodHandler[bytes, bytes]:
        async def handle(_: object, context: Context) -> bytes:
            received = monotonic()
            if not open_to_all:
                await self._admit(context)
            try:
                headers, body = _headers(context), await _read(context)
                with self._service.room.holding(len(body)):
                    answer = await method(body, headers, received)
            except EdgeError as error:
                answer = Answer(*encode_error(error))
            except Exception:  # noqa: BLE001 - a defect here is one caller's INTERNAL and a line in the log
                answer = Answer(*encode_error(defect("a call over gRPC")))
            context.set_trailing_metadata(tuple(form.beside(answer.message).items()))
            if answer.status != 200:
                code = _STATUS.get(answer.status, StatusCode.INTERNAL)
                await context.abort(code, reason(answer.message)[:_LONGEST])
            return bytes(answer.message.body)

        return grpc.stream_unary_rpc_method_handler(handle)

    async def _admit(self, context: Context) -> None:
        """End a call that has none of the keys, if any are needed."""
        if self._keys is None:
            return
        said = next((value for name, value in context.invocation_metadata() or () if name == "authorization"), "")
        if not self._keys.know(said.encode() if isinstance(said, str) else said):
            await context.abort(StatusCode.UNAUTHENTICATED, "this endpoint needs a key: authorization: Bearer KEY")


async def _read(context: Context) -> bytes:
    """A call's message, once it is complete."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await _next(context)
    except TimeoutError as error:
        raise RefusedError(f"the message did not arrive within {BODY_SECONDS:.0f} s", status=408) from error
    if body is None:
        raise ProtocolError("the call came without a message")
    return body


async def _next(context: Context) -> bytes | None:
    """The next message, if there is one."""
    body: Any = await context.read()
    return None if body is grpc.aio.EOF else bytes(body)


def _told(question: Question) -> Method:
    """The answer to a question that takes nothing but its message."""

    async def ask(body: bytes, headers: Mapping[str, str], received: float) -> Answer:
        return Answer(200, Message(await question(body)))

    return ask


def _target(body: bytes) -> tuple[str, str | None]:
    named = form.decode_named(body)
    return named.name, named.version or None


def _headers(context: Context) -> dict[str, str]:
    """What a call's metadata say to the protocol; and its budget: that of theirs or its deadline's, whichever is less."""
    said = {name: str(value) for name, value in context.invocation_metadata() or () if name in (BUDGET, *TRACE)}
    left = [remaining(Message(b"", said)), context.time_remaining()]
    return said | budget_header(min((each for each in left if each is not None), default=None))

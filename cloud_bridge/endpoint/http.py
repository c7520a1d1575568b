"""The endpoint's HTTP face: the protocol's routes, every answer in its form, and nothing read without a limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from cloud_bridge.endpoint import docs, openapi
from cloud_bridge.endpoint.core import Core
from cloud_bridge.endpoint.guard import LEAVING
from cloud_bridge.endpoint.jobs import Answer, Form
from cloud_bridge.endpoint.metrics import CONTENT_TYPE
from cloud_bridge.endpoint.room import BODY_SECONDS
from cloud_bridge.protocol import oip, tensorflow
from cloud_bridge.protocol.message import HEADERS, Message, upload_header
from cloud_bridge.protocol.repository import check_order, decode_index
from edge_runtime.errors import EdgeError, NotInstalledError, RefusedError

MODEL = ("/{model}", "/{model}/versions/{version}")
"""Where a model is, below its protocol's root."""

_RAW_HEADERS = {name.encode(): name for name in HEADERS}

_PROBED = oip.encode_response(oip.InferResponse("", {}), oip.InferRequest({}))


def app(service: Core) -> Starlette:
    """The ASGI application in front of a service."""
    face = _Face(service)
    routes = [Route(f"/v2/models{model}/infer", face.infer, methods=["POST"]) for model in MODEL]  # sought in this order
    routes += [
        Route("/v2", face.server),
        Route("/v2/health/live", face.alive),
        Route("/v2/health/ready", face.whole),
        Route("/v2/health/probe", face.probe, methods=["POST"]),
        Route("/v2/models/stats", face.statistics),
        Route("/metrics", face.metrics),
        Route("/openapi.json", face.openapi),
        Route("/docs", face.docs),
        Route("/v2/repository/index", face.index, methods=["POST"]),
        Route("/v2/repository/models/{model}/load", face.load, methods=["POST"]),
        Route("/v2/repository/models/{model}/unload", face.unload, methods=["POST"]),
    ]
    for model in MODEL:
        routes += [
            Route(f"/v1/models{model}:predict", face.predict, methods=["POST"]),
            Route(f"/v1/models{model}", face.status),
        ]
        model = f"/v2/models{model}"
        routes += [
            Route(model, face.model),
            Route(f"{model}/ready", face.ready),
            Route(f"{model}/stats", face.statistics),
        ]
    errors = {EdgeError: _edge_error, HTTPException: _http_error, Exception: _defect}
    application = Starlette(routes=routes, exception_handlers=errors)  # type: ignore[arg-type] # it narrows each handler's error
    application.router.redirect_slashes = False
    return application


class _Face:
    def __init__(self, service: Core) -> None:
        self._service = service

    async def server(self, request: Request) -> Response:
        return _response(200, oip.encode_metadata(self._service.server()))

    async def whole(self, request: Request) -> Response:
        # The models that a ready server was told to open are open before it listens.
        await run_in_threadpool(self._service.check_ready)
        return await self.alive(request)

    async def alive(self, request: Request) -> Response:
        return _response(200, Message(b'{"live":true,"ready":true}', {"content-type": "application/json"}))

    async def probe(self, request: Request) -> Response:
        started = time.monotonic()
        async with self._body(request):
            return _response(200, _PROBED, upload_header(time.monotonic() - started))

    async def model(self, request: Request) -> Response:
        found = await run_in_threadpool(self._service.metadata, *_target(request))
        return _response(200, oip.encode_metadata(found))

    async def statistics(self, request: Request) -> Response:
        model, version = request.path_params.get("model"), request.path_params.get("version")
        if model is not None:
            await run_in_threadpool(self._service.metadata, model, version)  # 404 for what is not here
        return _json(await run_in_threadpool(self._service.statistics.document, model, version))

    async def openapi(self, request: Request) -> Response:
        return _json(openapi.document())

    async def docs(self, request: Request) -> Response:
        headers = {"content-type": "text/html; charset=utf-8", "content-security-policy": docs.POLICY}
        return _response(200, Message(docs.page(str(request.base_url).rstrip("/")).encode(), headers))

    async def metrics(self, request: Request) -> Response:
        text = await run_in_threadpool(self._service.metrics.text)
        return _response(200, Message(text, {"content-type": CONTENT_TYPE}))

    async def index(self, request: Request) -> Response:
        async with self._body(request) as body:
            ready = decode_index(body)
        entries = await run_in_threadpool(self._service.index)
        return _json([entry for entry in entries if not ready or entry.state == "READY"])

    async def load(self, request: Request) -> Response:
        return await self._ordered(request, self._service.load)

    async def unload(self, request: Request) -> Response:
        return await self._ordered(request, self._service.unload)

    async def _ordered(self, request: Request, order: Callable[[str], None]) -> Response:
        async with self._body(request) as body:
            check_order(body)
        await run_in_threadpool(order, request.path_params["model"])
        return _json({})

    async def ready(self, request: Request) -> Response:
        await run_in_threadpool(self._service.open, *_target(request))
        return _response(200, Message(b'{"ready":true}', {"content-type": "application/json"}))

    async def infer(self, request: Request) -> Response:
        return await self._asked(request, oip)

    async def predict(self, request: Request) -> Response:
        return await self._asked(request, tensorflow)

    async def status(self, request: Request) -> Response:
        """TensorFlow Serving's: whether each version can be asked."""
        model, version = _target(request)
        found = await run_in_threadpool(self._service.metadata, model, version)
        fine = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        versions = found.versions if version is None else (version,)
        return _json({"model_version_status": [{"version": each, **fine} for each in versions]})

    async def _asked(self, request: Request, form: Form) -> Response:
        received = time.monotonic()
        async with self._body(request) as body:
            came = upload_header(time.monotonic() - received)
            return await self._infer(request, Message(body, _headers(request)), received, came, form)

    async def _infer(
        self, request: Request, message: Message, received: float, came: dict[str, str], form: Form
    ) -> Response:  # fmt: skip
        future = self._service.submit(*_target(request), message, received=received, form=form)
        if not future.done():
            # Where no server tells of those who leave (Ray Serve), this is cancelled instead, and the future by that.
            leaving: set[Callable[[], object]] = request.scope.get(LEAVING, set())
            leaving.add(future.cancel)  # and with it the call, if its turn has not come
            try:
                await asyncio.wrap_future(future)
            except asyncio.CancelledError:
                raise RefusedError(
                    "the call was dropped: its client left, or the endpoint is stopping", status=503
                ) from None
            finally:
                leaving.discard(future.cancel)
        given: Answer = future.result()
        return _response(given.status, given.message, came)

    @asynccontextmanager
    async def _body(self, request: Request) -> AsyncIterator[bytes]:
        """The whole body, which has its place among all requests while it is used."""
        parts: list[bytes] = []
        try:
            await _read(request, parts, self._service)
            parts[:] = [b"".join(parts)]
            yield parts[0]
        finally:
            self._service.room.give(sum(map(len, parts)))


async def _read(request: Request, parts: list[bytes], service: Core) -> None:
    """Read the body to its end. RefusedError as soon as it is known to be past the limit, or too slow."""
    limit = service.limits.body
    too_large = RefusedError(f"the body is larger than {limit} bytes", status=413)
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > limit:
        raise too_large
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise too_large
                service.room.take(len(chunk))
                parts.append(chunk)
    except TimeoutError as error:
        raise RefusedError(f"the body did not arrive within {BODY_SECONDS:.0f} s", status=408) from error
    except ClientDisconnect as error:
        raise RefusedError("the client left before its body was complete", status=400) from error


def _target(request: Request) -> tuple[str, str | None]:
    return request.path_params["model"], request.path_params.get("version")


def _json(document: object) -> Response:
    return _response(200, Message(msgspec.json.encode(document), {"content-type": "application/json"}))


def _headers(request: Request) -> dict[str, str]:
    """Those that mean something here; the first, of two of one name."""
    given = reversed(request.scope["headers"])
    return {_RAW_HEADERS[name]: value.decode("latin-1") for name, value in given if name in _RAW_HEADERS}


def _response(status: int, message: Message, more: Mapping[str, str] = {}) -> Response:
    headers = {**message.headers, **more}
    if status in {408, 413}:
        headers["connection"] = "close"  # the rest of the body is not going to be read
    return _Response(message, status, headers)


class _Response(Response):
    """A message, its parts as they lie in memory."""

    def __init__(self, message: Message, status: int, headers: Mapping[str, str]) -> None:
        self.status_code, self._message, self.background = status, message, None
        self.raw_headers = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        self.raw_headers.append((b"content-length", b"%d" % message.size))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        *first, last = self._message.parts
        for part in first:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": last})


async def _edge_error(request: Request, error: EdgeError) -> Response:
    return _response(*oip.encode_error(error))


async def _http_error(request: Request, error: HTTPException) -> Response:
    """What no route takes: 404 and 405."""
    trouble = NotInstalledError(f"there is nothing at {request.url.path}") if error.status_code == 404 else None
    refused = trouble or RefusedError(f"{request.method} {request.url.path}: {error.detail}", status=error.status_code)
    response = _response(*oip.encode_error(refused))
    response.headers.update(error.headers or {})
    return response


async def _defect(request: Request, error: Exception) -> Response:
    return _response(*oip.encode_error(RefusedError("an internal error: see the endpoint's log", status=500)))

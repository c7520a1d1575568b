"""The endpoint as a process: its faces started, its address announced, and an orderly end when it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloud_bridge.endpoint.access import Access
from cloud_bridge.endpoint.core import Core
from cloud_bridge.endpoint.mqtt import POOL, Worker
from cloud_bridge.endpoint.service import Service
from cloud_bridge.extra import required
from cloud_bridge.malloc import keep_buffers
from edge_runtime.bundles.store import Store
from edge_runtime.errors import InputError

if TYPE_CHECKING:
    import uvicorn

    from cloud_bridge.endpoint.grpc import Server
    from cloud_bridge.endpoint.tracing import Tracing

KEEP_ALIVE = 75
"""Seconds that an idle connection is kept: a device that asks now and then should not shake hands each time."""

GRACE = 5
"""Seconds that calls under way get to end."""


def serve(
    store: Path,
    *,
    http: str | None = None,
    grpc: str | None = None,
    mqtt: str | None = None,
    pool: str = POOL,
    access: Access = Access(),
    announce_json: bool = False,
    preload: bool = True,
    control: bool = False,
    trace: str | None = None,
    workers: int | None = None,
    waiting: int = 64,
    tune_malloc: bool = True,
    core: Callable[[], contextlib.AbstractContextManager[Core]] | None = None,
) -> int:
    """Serve a store until SIGTERM or SIGINT, and return 0.

    `http` and `grpc` are [HOST]:PORT (no host is 127.0.0.1, 0.0.0.0 is everywhere; port 0 takes a free one), `mqtt` a
    broker's URL, where all workers of a `pool` share the requests; one of them at least. When all is ready, one line on
    stdout says so; with `announce_json` it is, for who started this, {"http": "http://127.0.0.1:8000", "grpc": null,
    "mqtt": null, "models": ["text"]}. `preload` opens every active model before that. With `control` whoever may ask
    over HTTP or gRPC may also load and unload models. `access` says who may ask there; a broker has its own say. Spans
    of all calls go to the OpenTelemetry collector at `trace`. `core` opens what answers instead of a service in this
    process, which `control`, `trace`, `workers` and `waiting` are for. Raises InputError for an address that cannot be
    used, or that would let strangers ask.
    """
    import uvloop

    if http is None and grpc is None and mqtt is None:
        raise InputError("nothing to serve on: give an address for HTTP or gRPC, a broker's URL, or several")
    if tune_malloc:
        keep_buffers()
    with contextlib.ExitStack() as stack:
        for address in (http, grpc):
            if address is not None:
                access.check(address_of(address)[0])
        listener = None if http is None else stack.enter_context(listen(http))
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        tracing = None if trace is None else stack.enter_context(_tracing(trace))
        local = partial(_local, store, workers=workers, waiting=waiting, control=control, tracing=tracing)
        service = stack.enter_context((core or local)())
        calls = None if grpc is None else runner.run(_listen_grpc(service, grpc, access))
        models = service.preload() if preload else ()
        where: dict[str, object] = {
            "http": None if listener is None else _url(listener, access),
            "grpc": None if calls is None else calls.url,
            "mqtt": None,
            "models": models,
        }
        if mqtt is not None:
            worker = Worker(mqtt, service, pool=pool)
            stack.callback(worker.close)
            worker.start()
            where["mqtt"] = worker.name
        http_server = None if listener is None else _server(service, access)
        runner.run(_serve(http_server, listener, calls, lambda: _announce(where, announce_json)))
    return 0


@contextlib.contextmanager
def _local(store: Path, **options: Any) -> Iterator[Core]:
    service = Service(Store(store), **options)
    try:
        yield service
    finally:
        service.close()


def listen(address: str) -> socket.socket:
    """A listening socket at HOST:PORT."""
    host, port = address_of(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise InputError(f"cannot listen on {address}: {error.strerror or error}") from error


def address_of(address: str) -> tuple[str, int]:
    """The host and the port of [HOST]:PORT."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise InputError(f"{address!r} is no address to listen on: write HOST:PORT, like 127.0.0.1:8000")
    return host.strip("[]") or "127.0.0.1", int(port)


@contextlib.contextmanager
def _tracing(url: str) -> Iterator[Tracing]:
    with required("--trace"):
        from cloud_bridge.endpoint.tracing import exporting
    tracing = exporting(url)
    try:
        yield tracing
    finally:
        tracing.close()


def _announce(where: dict[str, object], as_json: bool) -> None:
    models = where["models"] or "no models yet"
    faces = " and ".join(str(face) for face in (where["http"], where["grpc"], where["mqtt"]) if face)
    print(json.dumps(where) if as_json else f"serving {models} on {faces}; Ctrl+C ends it", flush=True)


def _url(listener: socket.socket, access: Access) -> str:
    host, port = listener.getsockname()[:2]
    return f"http{'s' if access.tls else ''}://{f'[{host}]' if ':' in host else host}:{port}"


async def _listen_grpc(service: Core, address: str, access: Access) -> Server:
    from cloud_bridge.endpoint.grpc import Server  # here: serving HTTP alone needs no gRPC library

    return Server(service, *address_of(address), access)


async def _serve(
    http: uvicorn.Server | None, listener: socket.socket | None, calls: Server | None, ready: Callable[[], None]
) -> None:
    """Run the faces that live on this loop until a signal comes, and end them together."""
    stop = asyncio.Event()
    with _signals(stop.set):
        async with asyncio.TaskGroup() as faces:
            if calls is not None:
                await calls.start()
            if http is not None and listener is not None:
                faces.create_task(http.serve(sockets=[listener]))
            ready()
            await stop.wait()
            if http is not None:
                http.should_exit = True
            if calls is not None:
                await calls.stop(GRACE)


def _server(service: Core, access: Access) -> uvicorn.Server:
    import uvicorn

    from cloud_bridge.endpoint.access import Keyed
    from cloud_bridge.endpoint.guard import GuardedProtocol
    from cloud_bridge.endpoint.http import app

    class Server(uvicorn.Server):
        """uvicorn, without its own handling of signals: it ends the process before what surrounds it can close."""

        def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
            return contextlib.nullcontext()

    tls = access.tls
    config = uvicorn.Config(
        Keyed(app(service), access.keys) if access.keys else app(service),
        ssl_certfile=None if tls is None else tls.certificate,
        ssl_keyfile=None if tls is None else tls.key,
        ssl_ca_certs=None if tls is None or tls.clients is None else str(tls.clients),
        ssl_cert_reqs=ssl.CERT_NONE if tls is None or tls.clients is None else ssl.CERT_REQUIRED,
        http=GuardedProtocol,
        lifespan="off",
        ws="none",
        access_log=False,
        log_level="error",  # anybody can make it warn, line after line
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE,
    )
    try:
        config.load()
    except OSError as error:  # an ssl.SSLError, too
        raise InputError(f"the TLS files cannot be used: {error}") from error
    return Server(config)


@contextlib.contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

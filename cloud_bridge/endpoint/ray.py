"""The endpoint on Ray Serve: replicas of the service on the machines of a cluster, more of them when calls wait or are
missed. In front of them stand our own faces (`cloud-bridge serve --engine ray`), or Ray's proxies (`app`):

    serve run cloud_bridge.endpoint.ray:app store=/models replicas=2:8
"""

from __future__ import annotations

import contextlib
import io
import logging
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cloud_bridge.endpoint.ray_settings as settings  # isort: skip - before ray is imported
import ray
from ray import serve
from ray.serve.config import AutoscalingContext
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from cloud_bridge.endpoint.access import Keyed, read_keys
from cloud_bridge.endpoint.core import Core
from cloud_bridge.endpoint.http import app as face
from cloud_bridge.endpoint.replica import Replica
from cloud_bridge.endpoint.replicas import GRACE, Replicas
from cloud_bridge.endpoint.scale import Load, Range, wanted
from cloud_bridge.endpoint.serve import address_of
from edge_runtime.bundles.store import Store
from edge_runtime.errors import BackendError, InputError, UnreachableError

NAME = "edge-runtime"
"""Of the application, of which a cluster has one."""

WAITING = 64
"""Calls that wait at each replica."""

ONGOING = 256
"""Calls that Ray lets go to a replica: more than its service takes, which refuses at once what Ray would let wait."""

OBJECTS = 200 << 20
"""Bytes of shared memory for messages of over 100 kB, on a cluster of our own."""

THERE = ("DEPLOYING", "RUNNING", "UNHEALTHY")
"""What an application's status says that is there, or soon will be."""

REACH = 5.0
"""Seconds to connect to a cluster."""

UP, DOWN = 3.0, 300.0
"""Seconds for which more replicas, or fewer, must be wanted before it is done."""

_QUIET = {"log_level": "ERROR", "enable_access_log": False}


def app(arguments: Mapping[str, str]) -> serve.Application:
    """The endpoint behind Ray's own proxies, for `serve run`, `serve build` and `serve deploy`. Raises InputError.

    Arguments: `store`, the folder, at the same path on every machine; `replicas`, N or LEAST:MOST; `faces`, how many take
    requests from the proxies, one a machine at most; `keys`, a file of keys of those who may ask.
    """
    known = {"store", "replicas", "faces", "keys"}
    if "store" not in arguments or arguments.keys() - known:
        raise InputError(f"give store=DIR, and maybe some of {', '.join(sorted(known - {'store'}))}: key=value each")
    faces = Range.parse(arguments.get("faces", "1")).least
    keys = read_keys(Path(arguments["keys"])) if "keys" in arguments else ()
    front = serve.deployment(
        name="Face",
        num_replicas=faces,
        max_replicas_per_node=1,
        max_ongoing_requests=1000,
        ray_actor_options={"num_cpus": 0, "runtime_env": {"env_vars": {**settings.SOON, **settings.DIRECT}}},
        logging_config=_QUIET,
    )(serve.ingress()(Face))
    store = Store(Path(arguments["store"])).path
    return front.bind(_service(store, Range.parse(arguments.get("replicas", "1"))), keys)


class Face:
    """Our HTTP face, behind a proxy of Ray's."""

    def __init__(self, handle: DeploymentHandle[Any], keys: tuple[str, ...]) -> None:
        self._core = Replicas(handle)
        self._keys = keys

    def __serve_build_asgi_app__(self) -> Any:
        application = face(self._core)
        return Keyed(application, self._keys) if self._keys else application


@contextlib.contextmanager
def replicas(store: Path, *, address: str | None = None, within: Range | None = None) -> Iterator[Core]:
    """Replicas on the cluster at this address, or on one of this machine alone that ends with this. Those that are there
    already are used; who deployed them removes them. Raises InputError, UnreachableError or a BackendError."""
    Store(store)  # here, too: a wrong path is told at once
    with contextlib.ExitStack() as stack:
        with contextlib.redirect_stdout(sys.stderr):  # where Ray tells of its nodes; the first line there is ours
            stack.enter_context(_cluster(address))
            core = Replicas(stack.enter_context(_deployed(store.resolve(), within)))
        stack.callback(core.close)
        where, _ = core.about()
        if where != str(store.resolve()):
            raise InputError(f"the replicas on this cluster serve {where}: end those first, or serve the same store")
        yield core


def policy(context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
    """How many replicas there should be, by what they tell. Ray Serve asks this, and sees to delays."""
    told = context.aggregated_metrics or {}
    figures = {name: told.get(name, {}) for name in Load.__struct_fields__}
    reporting = set.intersection(*(set(each) for each in figures.values()))
    loads = [Load(*(figures[name][replica] for name in Load.__struct_fields__)) for replica in reporting]
    within = Range(context.capacity_adjusted_min_replicas, context.capacity_adjusted_max_replicas)
    return wanted(loads, max(0, context.target_num_replicas - len(loads)), within), {}


def _service(store: Path, within: Range) -> serve.Application:
    if within.least == within.most:
        size: dict[str, Any] = {"num_replicas": within.least}
    else:
        size = {
            "autoscaling_config": {
                "min_replicas": within.least,
                "max_replicas": within.most,
                "metrics_interval_s": 1.0,
                "look_back_period_s": 5.0,
                "upscale_delay_s": UP,
                "downscale_delay_s": DOWN,
                "policy": {"policy_function": policy},
            }
        }
    deployment = serve.deployment(
        name="Replica",
        max_ongoing_requests=ONGOING,
        max_queued_requests=1000,
        max_constructor_retry_count=3,
        health_check_period_s=2.0,
        health_check_timeout_s=5.0,
        graceful_shutdown_timeout_s=GRACE,
        ray_actor_options={"num_cpus": 1, "runtime_env": {"env_vars": settings.DIRECT}},
        logging_config=_QUIET,
        **size,
    )(Replica)
    return deployment.bind(str(store.resolve()), WAITING)


@contextlib.contextmanager
def _cluster(address: str | None) -> Iterator[None]:
    """Connected to the cluster at this address; without one, to one of our own, on loopback."""
    for name in ("ray", "ray.serve"):
        logging.getLogger(name).setLevel(logging.ERROR)
    common: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False, "namespace": NAME}
    with contextlib.ExitStack() as stack:
        if address is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True))
            common |= {"_temp_dir": folder, "_node_ip_address": "127.0.0.1", "include_dashboard": False}
            common |= {"object_store_memory": OBJECTS}
        else:
            _reach(address)
        try:
            ray.init(address or "local", **common)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UnreachableError(f"no Ray cluster at {address or 'this machine'}: {error}") from error
        try:
            serve.start(proxy_location="Disabled", logging_config=_QUIET)
            yield
        finally:
            with contextlib.redirect_stdout(io.StringIO()):  # where Ray tells that what is ended has ended
                if address is None:
                    serve.shutdown()  # type: ignore[no-untyped-call]
                ray.shutdown()


def _reach(address: str) -> None:
    """UnreachableError where nobody listens: Ray itself tries for many minutes."""
    host, port = address_of(address)
    try:
        socket.create_connection((host, port), REACH).close()
    except OSError as error:
        raise UnreachableError(f"no Ray cluster at {address}: {error.strerror or error}") from error


@contextlib.contextmanager
def _deployed(store: Path, within: Range | None) -> Iterator[DeploymentHandle[Any]]:
    found = serve.status().applications.get(NAME)
    if found is not None and found.status in THERE:
        if within is not None:
            raise InputError("the replicas run already: --replicas is said where they are deployed")
        yield serve.get_deployment_handle("Replica", NAME)
        return
    try:
        try:
            handle = serve.run(_service(store, within or Range(1, 1)), name=NAME, route_prefix=None)
        except (RayServeException, RuntimeError) as error:
            raise BackendError(f"Ray could not start the replicas: {_why() or error}") from error
        yield handle
    finally:
        serve.delete(NAME)


def _why() -> str:
    """A replica's own last word, where it could not be started."""
    found = serve.status().applications[NAME].deployments.get("Replica")
    return "" if found is None else found.message.strip().rpartition("\n")[2]

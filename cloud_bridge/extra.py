"""The packages of the extras of `cloud_bridge`: missing ones become an error that says what to install."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from edge_runtime.errors import InputError

PACKAGES = {
    "grpc": "grpc",
    "opentelemetry": "trace",
    "ray": "ray",
    "sqlalchemy": "control",
    **dict.fromkeys(("cryptography", "paho", "securesystemslib", "tuf"), "agent"),
    **dict.fromkeys(("httptools", "prometheus_client", "starlette", "uvicorn", "uvloop"), "cloud"),
}
"""Each package, and the extra that brings it."""


def check_installed(what: str, *packages: str) -> None:
    """As `required`, without importing them: for what is only needed later."""
    with required(what):
        for package in packages:
            if find_spec(package) is None:
                raise ModuleNotFoundError(name=package)


@contextmanager
def required(what: str) -> Iterator[None]:
    """Import in here what `what` needs of the extras. Raises InputError when one of its packages is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        extra = PACKAGES.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        told = f"{what} needs {error.name}, which is not installed: pip install 'edge-runtime[{extra}]'"
        raise InputError(told) from error

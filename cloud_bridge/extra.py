"""The packages of the extra `cloud`: missing ones become an error that says what to install."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edge_runtime.errors import InputError

PACKAGES = frozenset({"httptools", "prometheus_client", "starlette", "uvicorn", "uvloop"})


@contextmanager
def required(what: str) -> Iterator[None]:
    """Import in here what `what` needs of the extra. Raises InputError when one of its packages is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in PACKAGES:
            raise
        raise InputError(f"{what} needs {error.name}, which is not installed: pip install 'edge-runtime[cloud]'") from error

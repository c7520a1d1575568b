"""The packages of the extras `cloud` and `ray`: missing ones become an error that says what to install."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edge_runtime.errors import InputError

PACKAGES = frozenset(
    {"h11", "httpcore", "httptools", "paho", "prometheus_client", "starlette", "uvicorn", "uvloop", "ray"}
) | {"ray"}


@contextmanager
def required(what: str) -> Iterator[None]:
    """Import in here what `what` needs of the extra. Raises InputError when one of its packages is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in PACKAGES:
            raise
        brings = f"pip install 'edge-runtime[{'ray' if package == 'ray' else 'cloud'}]'"
        raise InputError(f"{what} needs {error.name}, which is not installed: {brings}") from error

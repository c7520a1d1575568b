"""A cloud's URL may hold a password, which is told to nobody but the cloud."""

from __future__ import annotations

import traceback

import pytest

from cloud_bridge.client import connect
from cloud_bridge.protocol.topics import Address
from edge_runtime import Runtime
from edge_runtime.errors import InputError

URLS = [
    "user:sesame@host",
    "user:sesame@host:1883/root",
    "://user:sesame@host",
    "http:/user:sesame@host",
    "http://user:sesame@host:port",
    "http://user:sesame/@host",
    "http://user:sesame@host?query",
    "http://user:sesame@[::1",
    "ftp://user:sesame@host",
    "mqtt://user:sesame@host:port",
    "mqtt://user:sesame/@host",
    "mqtt://user:sesame@host?option=1",
    "mqtt://user:sesame@host#fragment",
    "mqtt://user:sesame@host/a b",
    "mqtt://user:sesame@[::1",
]


@pytest.mark.parametrize("url", URLS)
def test_no_password_in_an_error(url: str) -> None:
    """However a URL is mistyped, the error and its traceback do not repeat the password."""
    for opened in (connect, Address.parse, lambda cloud: Runtime(None, cloud=cloud)):
        with pytest.raises(InputError) as caught:
            opened(url)
        told = "".join(traceback.format_exception_only(caught.value))
        assert "sesame" not in told
        assert caught.value.__cause__ is None


@pytest.mark.parametrize("scheme", ["http", "mqtt"])
def test_no_password_in_a_name(scheme: str) -> None:
    """What a remote is called in reasons, errors and reports is its URL without credentials."""
    remote = connect(f"{scheme}://user:sesame@127.0.0.1:9/root")
    try:
        assert "sesame" not in remote.name + repr(remote)
    finally:
        remote.close()

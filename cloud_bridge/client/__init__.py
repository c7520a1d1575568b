"""The clouds that a device can ask, by URL."""

from __future__ import annotations

from edge_runtime.errors import InputError
from edge_runtime.remote import Remote


def connect(url: str) -> Remote:
    """A remote for this URL: http://, https://, mqtt:// or mqtts://. It connects when it is first used.

    Raises InputError for any other URL. Only the library that the scheme needs is imported.
    """
    scheme, separator, _ = url.partition("://")
    if separator and scheme.lower() in {"http", "https"}:
        from cloud_bridge.client.http import HttpRemote

        return HttpRemote(url)
    if separator and scheme.lower() in {"mqtt", "mqtts"}:
        from cloud_bridge.client.mqtt import MqttRemote

        return MqttRemote(url)
    raise InputError(f"{scheme[:20]!r} is no scheme of a cloud's URL: use http://, https://, mqtt:// or mqtts://")

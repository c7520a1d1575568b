"""The clouds that a device can ask, by URL."""

from __future__ import annotations

from cloud_bridge.client.traced import Traced
from cloud_bridge.extra import required
from edge_runtime.errors import InputError
from edge_runtime.remote import Remote


def connect(url: str) -> Remote:
    """A remote for this URL: http://, https://, mqtt:// or mqtts://. It connects when it is first used.

    Raises InputError for any other URL, and when the library that its scheme needs (it alone is imported) is not installed.
    """
    scheme, separator, _ = url.partition("://")
    if separator and scheme.lower() in {"http", "https"}:
        with required("a cloud over HTTP"):
            from cloud_bridge.client.http import HttpRemote
        return Traced(HttpRemote(url))
    if separator and scheme.lower() in {"mqtt", "mqtts"}:
        from cloud_bridge.client.mqtt import MqttRemote

        return Traced(MqttRemote(url))
    told = repr(scheme[:20]) if separator else "what has no scheme"  # which may be a secret
    raise InputError(f"{told} is no cloud's URL: use http://, https://, mqtt:// or mqtts://")

"""Where things are said on an MQTT broker: its URL, and the topics below a root. Pure.

    {root}/infer/{model}/{thing}      device -> a worker     a request; workers take it from a shared subscription
    {root}/things/{thing}/infer-rsp   worker -> device       its answer: always this topic, whatever the request says
    {root}/cancel/{thing}             device -> all workers  the request with this correlation is not wanted any more
    {root}/workers/{worker}/status    worker -> all          retained: {"state": "ready" | "lost" | "disconnected"}

`thing` is the device's name on the broker. An access list can pin it to the user (`pattern write edge/v1/infer/+/%u`,
`pattern read edge/v1/things/%u/#`), which is why an answer's topic is made from the request's and not from a property.
A segment is 1 to 64 of A-Z a-z 0-9 _ and -: brokers, bridges and clouds disagree about everything else.
"""

from __future__ import annotations

import re
from typing import Self
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import msgspec

from edge_runtime.errors import InputError, ProtocolError

ROOT = "edge/v1"
PROBE = "-probe"
"""The model name of a request that asks for nothing. No model is called so: their names start with a letter or a digit."""

SEGMENT = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_PORTS = {"mqtt": 1883, "mqtts": 8883}
_FILES = ("ca", "cert", "key")
_ROOT_SEGMENTS = 5  # AWS IoT Core takes 7 slashes; the longest tail of ours has three segments
_ROOT_LENGTH = 100  # and 256 bytes


class Address(msgspec.Struct, frozen=True):
    """A broker, and what is ours on it:
    mqtt[s]://[user[:password]@]host[:port][/ROOT][?thing=NAME][&ca=FILE][&cert=FILE&key=FILE]."""

    host: str
    port: int
    tls: bool = False
    username: str | None = None
    password: str | None = None
    root: str = ROOT
    thing: str | None = None
    """The device's name on the broker; None lets each connection make one up."""
    ca: str | None = None
    """A PEM file with the authority to trust, instead of the system's."""
    cert: str | None = None
    """This client's own certificate, a PEM file."""
    key: str | None = None
    """And its key."""

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read a URL; InputError when it is none, with what to write instead."""
        try:
            parts = urlsplit(url)
            port = parts.port
            query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        except ValueError:  # its message may repeat a part of the password
            raise InputError(
                f"{_hide(url)!r} is no URL of an MQTT broker: write user, password and options with %, the port in digits"
            ) from None
        host = parts.hostname or ""
        if parts.scheme not in _PORTS or not _is_host(host) or port == 0 or parts.fragment:
            raise InputError(f"{_hide(url)!r} is no URL of an MQTT broker; write mqtt://host:1883/{ROOT} or mqtts://host")
        options = dict(query)
        unknown = sorted(options.keys() - {"thing", *_FILES})
        if unknown or len(options) < len(query):
            known = ", ".join(("thing", *_FILES))
            raise InputError(
                f"{_hide(url)!r}: {', '.join(unknown) or 'an option'} is unknown or given twice; known: {known}"
            )
        tls = parts.scheme == "mqtts"
        if not tls and (given := [each for each in _FILES if each in options]):
            raise InputError(f"{_hide(url)!r}: {', '.join(given)} is for mqtts://")
        if ("cert" in options) != ("key" in options):
            raise InputError(f"{_hide(url)!r}: a certificate and its key go together: give both, or neither")
        thing = options.get("thing")
        if thing is not None and not SEGMENT.fullmatch(thing):
            raise InputError(f"thing {thing!r}: use 1 to 64 of A-Z a-z 0-9 _ and -")
        return cls(
            host,
            port or _PORTS[parts.scheme],
            tls,
            None if parts.username is None else unquote(parts.username),
            None if parts.password is None else unquote(parts.password),
            check_root(unquote(parts.path).strip("/") or ROOT),
            thing,
            *(options.get(each) for each in _FILES),
        )

    @property
    def name(self) -> str:
        """The URL without credentials, for messages."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"mqtt{'s' if self.tls else ''}://{host}:{self.port}/{quote(self.root)}"

    def __repr__(self) -> str:
        return f"<Address {self.name}>"


class Topics(msgspec.Struct, frozen=True):
    """The topics below one root."""

    root: str = ROOT

    def request(self, model: str, thing: str) -> str:
        """Where `thing` asks for `model`. InputError when a topic can't hold the model's name."""
        if model != PROBE and not _MODEL.fullmatch(model):
            raise InputError(f"model {model[:80]!r} cannot be asked for over MQTT: use 1 to 64 of A-Z a-z 0-9 _ and -")
        return f"{self.root}/infer/{model}/{thing}"

    def reply(self, thing: str) -> str:
        """Where `thing` hears its answers."""
        return f"{self.root}/things/{thing}/infer-rsp"

    def cancel(self, thing: str) -> str:
        """Where `thing` takes back a request."""
        return f"{self.root}/cancel/{thing}"

    def status(self, worker: str) -> str:
        """Where a worker tells whether it takes requests."""
        return f"{self.root}/workers/{worker}/status"

    def requests(self, pool: str) -> str:
        """The filter by which the workers of a pool share all requests."""
        return f"$share/{pool}/{self.root}/infer/+/+"

    def parse_request(self, topic: str) -> tuple[str, str]:
        """The model and the thing of a request's topic. ProtocolError when it is none."""
        model, thing = self._tail(topic, "infer")
        if model != PROBE and not _MODEL.fullmatch(model):
            raise ProtocolError(f"{model[:80]!r} is no model's name")
        return model, thing

    def parse_cancel(self, topic: str) -> str | None:
        """The thing of a cancel's topic; None for any other topic."""
        head, _, thing = topic.rpartition("/")
        return thing if head == f"{self.root}/cancel" and SEGMENT.fullmatch(thing) else None

    def parse_status(self, topic: str) -> str:
        """The worker of a status topic. ProtocolError when it is none."""
        worker, last = self._tail(topic, "workers")
        if last != "status":
            raise ProtocolError(f"{topic[:300]!r} is no worker's status")
        return worker

    def _tail(self, topic: str, branch: str) -> tuple[str, str]:
        head = f"{self.root}/{branch}/"
        one, _, two = topic.removeprefix(head).partition("/")
        if not topic.startswith(head) or not SEGMENT.fullmatch(one) or not SEGMENT.fullmatch(two):
            raise ProtocolError(f"{topic[:300]!r} is no topic below {head}")
        return one, two


def check_root(root: str) -> str:
    """`root` itself when topics can start with it, else InputError."""
    segments = root.split("/")
    if len(segments) > _ROOT_SEGMENTS or len(root) > _ROOT_LENGTH or not all(map(SEGMENT.fullmatch, segments)):
        raise InputError(
            f"topic root {root[:200]!r}: write at most {_ROOT_SEGMENTS} segments of A-Z a-z 0-9 _ and -, like {ROOT}"
        )
    return root


def segment(text: str) -> str:
    """Any text as a topic's segment: what a segment can't hold becomes a dash."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", text)[:64] or "-"


def _is_host(host: str) -> bool:
    try:
        return bool(host) and bool(host.encode("idna")) and not re.search(r"[\s/?#@\0]", host)
    except UnicodeError:
        return False


def _hide(url: str) -> str:
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    return f"{scheme}{separator}{'...@' * ('@' in rest)}{rest.rpartition('@')[2]}"[:200]

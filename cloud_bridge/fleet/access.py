"""Who may say and hear what on a broker: one answer, from the tables of topics, in the words of several brokers. Pure.

A device says what is a device's, below its own name, and hears what is said to it. Its name is that in its certificate.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Literal, TypeAlias

import msgspec

from cloud_bridge.protocol.fleet import topics
from cloud_bridge.protocol.fleet.topics import KINDS, Tree
from cloud_bridge.protocol.fleet.wire import PACKET
from cloud_bridge.protocol.topics import ROOT, Topics

Role: TypeAlias = Literal["device", "controller", "operator", "worker"]
"""A worker answers inference; an operator asks and desires, by hand or by `cloud-bridge fleet`."""

STAFF: tuple[Role, ...] = ("controller", "operator", "worker")
"""Those who run the fleet: each has a name in the access list."""

OWN = "-" * 64
"""Stands for a client's own name in a filter, until a broker's word for it takes its place."""

BY_HAND = (topics.SHADOW_GET, topics.SHADOW_UPDATE, topics.RPC, topics.GROUP_NOTIFY)
"""What an operator says."""

INFLIGHT = 1000
QUEUED = 100_000
"""Messages that wait for one client, at most: as many as a fleet may say at once."""


class Listeners(msgspec.Struct, frozen=True):
    """A broker's two doors, and where it finds its files."""

    devices: int = 8883
    control: int = 8884
    """For those who run the fleet."""
    folder: str = "/etc/mosquitto/fleet"
    data: str = "/var/lib/mosquitto"


class Access(msgspec.Struct, frozen=True):
    """What somebody may say and hear: filters."""

    says: tuple[str, ...]
    hears: tuple[str, ...]

    def named(self, own: str) -> Access:
        """The same in a broker's words: `own` is how it calls the client's own name."""
        says, hears = (tuple(each.replace(OWN, own) for each in some) for some in (self.says, self.hears))
        return Access(says, hears)


def access(role: Role, root: str = ROOT, *, aws: bool = False) -> Access:
    """What a role may say and hear below a root. With `aws` jobs and shadows are AWS IoT Core's."""
    tree, asks = Tree(root, aws), Topics(root)
    requests = f"{root}/infer/+"
    match role:
        case "device":
            says = [tree.filter(kind, thing=OWN) for kind in KINDS if kind.sender == "device"]
            hears = [*tree.heard_by(OWN), tree.filter(topics.GROUP_NOTIFY)]
            says += [f"{requests}/{OWN}", asks.cancel(OWN)]
            hears += [asks.reply(OWN), asks.status("+")]
        case "controller":
            says = [tree.filter(kind) for kind in KINDS if kind.sender == "controller"]
            hears = list(tree.heard_from())
        case "operator":
            says = [tree.filter(kind) for kind in BY_HAND]
            hears = [*(tree.filter(kind) for kind in KINDS), asks.status("+")]
        case "worker":
            says = [asks.reply("+"), asks.status("+")]
            hears = [f"{requests}/+", asks.cancel("+")]
    return Access(tuple(says), tuple(hears))


def mosquitto_patterns(allowed: Access) -> str:
    """An access list of Mosquitto's for everybody who comes by a listener, each below its own name."""
    own = allowed.named("%u")
    lines = [*(f"pattern write {each}" for each in own.says), *(f"pattern read {each}" for each in own.hears)]
    return "\n".join(lines) + "\n"


def mosquitto_users(users: Iterable[tuple[str, Access]]) -> str:
    """An access list of Mosquitto's for these users and nobody else."""
    parts = []
    for name, allowed in sorted(users):
        own = allowed.named(name)
        parts.append(f"user {name}")
        parts += [*(f"topic write {each}" for each in own.says), *(f"topic read {each}" for each in own.hears), ""]
    return "\n".join(parts) or "# nobody yet\n"


def emqx(who: str, allowed: Access) -> str:
    """Lines of EMQX's acl.conf; `who` is `all`, or {user, "NAME"}."""
    own = allowed.named("${username}")
    return "".join(
        f"{{allow, {who}, {act}, [{', '.join(json.dumps(each) for each in some)}]}}.\n"
        for act, some in (("publish", own.says), ("subscribe", own.hears))
    )


def aws_policy(allowed: Access) -> str:
    """A policy of AWS IoT Core's for devices whose certificate is attached to the thing of their name, and who connect by
    that name. What is below a device's own name is one entry: a policy has at most 2048 characters."""
    own = "${iot:Connection.Thing.ThingName}"
    says, hears = (list(dict.fromkeys(map(_aws, some))) for some in (allowed.named(own).says, allowed.named(own).hears))
    statements = [
        {"Effect": "Allow", "Action": action, "Resource": [f"arn:aws:iot:*:*:{kind}/{name}" for name in names]}
        for action, kind, names in (
            ("iot:Connect", "client", [own]), (["iot:Publish", "iot:RetainPublish"], "topic", says),
            ("iot:Subscribe", "topicfilter", hears), ("iot:Receive", "topic", hears),
        )
    ]  # fmt: skip
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, indent=1) + "\n"


def _aws(place: str) -> str:
    """A filter in a policy's words, where a star spans any number of segments."""
    head, name, _ = place.partition("/${iot:Connection.Thing.ThingName}/")
    return f"{head}{name}*" if name else place.replace("+", "*")


def mosquitto_conf(told: Listeners) -> str:
    """mosquitto.conf of a fleet's broker: mutual TLS, and an access list for each of the two listeners."""
    head = f"""# Written by `cloud-bridge fleet enroll`. It is all of the broker's configuration: no other file is needed.
# What follows a listener is that listener's.
per_listener_settings true

# Sessions, and what waits in them, outlive a restart. What the last minute brought may be lost if the broker is killed:
# devices and controllers say again what was not answered.
persistence true
persistence_location {told.data.rstrip("/")}/
autosave_interval 60

# Without it a small message waits 40 ms for the acknowledgement of the one before.
set_tcp_nodelay true
# Of the fleet's messages none is larger. Raise it if tensors go over this broker too.
max_packet_size {PACKET}
# A controller hears the whole fleet at once: the defaults (20 and 1000) lose what is said meanwhile.
max_inflight_messages {INFLIGHT}
max_queued_messages {QUEUED}

log_dest stderr
log_type error
log_type warning
log_type notice
"""
    return "\n".join([head, *(_listener(told, each) for each in ("devices", "control"))])


def _listener(told: Listeners, who: str) -> str:
    folder = told.folder.rstrip("/")
    # A device's client id is the name in its certificate: nobody can end another's connection by taking its id.
    port, once = (told.devices, "use_username_as_clientid true\n") if who == "devices" else (told.control, "")
    return f"""listener {port}
cafile {folder}/{who}.pem
crlfile {folder}/{who}.crl
certfile {folder}/server.pem
keyfile {folder}/server.key
require_certificate true
use_identity_as_username true
{once}allow_anonymous false
acl_file {folder}/{who}.acl
"""

"""Who may say and hear what: what the tables of topics say, and no more, in every broker's words."""

from __future__ import annotations

import json
import re
from typing import get_args

import pytest
from paho.mqtt.client import topic_matches_sub

from cloud_bridge.fleet.access import (
    BY_HAND,
    Listeners,
    Role,
    access,
    aws_policy,
    emqx,
    mosquitto_conf,
    mosquitto_patterns,
    mosquitto_users,
)
from cloud_bridge.protocol.fleet import topics
from cloud_bridge.protocol.fleet.topics import KINDS, Kind, Tree
from cloud_bridge.protocol.fleet.wire import LIMIT, PACKET
from cloud_bridge.protocol.topics import Topics

TREE, ASKS = Tree("site/7"), Topics("site/7")
NAMES = {"job": "j1", "shadow": "config", "method": "ping", "name": "device", "group": "canary"}
ROLES: tuple[Role, ...] = get_args(Role)


def said(kind: Kind, thing: str) -> str:
    """A topic of this kind."""
    return TREE.topic(kind, **{name: thing if name == "thing" else NAMES[name] for name in kind.names})


def may(role: Role, act: str, topic: str, own: str = "press-17") -> bool:
    """Whether somebody of this name may."""
    allowed = access(role, "site/7").named(own)
    return any(topic_matches_sub(each, topic) for each in (allowed.says if act == "say" else allowed.hears))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.path)
def test_a_device_may_what_the_table_says_is_a_device_s(kind: Kind) -> None:
    """Below its own name; what controllers say to it, to its groups and to all, it hears."""
    own, other = said(kind, "press-17"), said(kind, "press-18")
    assert may("device", "say", own) == (kind.sender == "device")
    assert may("device", "hear", own) == (kind.sender == "controller")
    if "thing" in kind.names:
        assert not may("device", "say", other)
        assert not may("device", "hear", other)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.path)
def test_a_controller_and_an_operator_may_what_is_theirs(kind: Kind) -> None:
    """A controller says what is a controller's and hears what is a device's; an operator hears all, and says a part."""
    topic = said(kind, "press-18")
    assert may("controller", "say", topic) == (kind.sender == "controller")
    assert may("controller", "hear", topic) == (kind.sender == "device")
    assert may("operator", "hear", topic)
    assert may("operator", "say", topic) == (kind in BY_HAND)
    assert not may("worker", "say", topic)
    assert not may("worker", "hear", topic)


def test_inference_is_between_a_device_and_workers() -> None:
    """A device asks and takes back in its own name, and hears its own answers; a worker hears all, and answers any."""
    mine, others = ASKS.request("text-reader", "press-17"), ASKS.request("text-reader", "press-18")
    for topic, yes in ((mine, True), (others, False), (ASKS.cancel("press-17"), True), (ASKS.cancel("press-18"), False)):
        assert may("device", "say", topic) == yes
        assert may("worker", "hear", topic)
        assert not may("device", "hear", topic)
    assert may("device", "hear", ASKS.reply("press-17"))
    assert not may("device", "hear", ASKS.reply("press-18"))
    for topic in (ASKS.reply("press-18"), ASKS.status("worker-1")):
        assert may("worker", "say", topic)
        assert not may("device", "say", topic)
    assert may("device", "hear", ASKS.status("worker-1"))


def test_what_is_subscribed_to_is_granted_as_it_is_written() -> None:
    """Brokers that check filters and not messages compare them as text, or as topics."""
    device = access("device", "site/7").named("press-17").hears
    for each in TREE.heard_by("press-17", ["canary"]):
        assert any(topic_matches_sub(allowed, each) for allowed in device)
    assert {*TREE.heard_from()} <= {*access("controller", "site/7").hears}


def test_mosquitto_s_lists_say_the_same() -> None:
    """Patterns for devices, users by name for all others; nobody where there are none."""
    patterns = mosquitto_patterns(access("device")).splitlines()
    assert "pattern write edge/v1/things/%u/status" in patterns
    assert all(re.fullmatch(r"pattern (read|write) [\w/%+-]+", line) for line in patterns)
    users = mosquitto_users([("op", access("operator")), ("control-1", access("controller"))])
    assert (
        users.index("user control-1")
        < users.index("topic write edge/v1/things/+/jobs/notify-next")
        < users.index("user op")
    )
    assert "topic write edge/v1/things/+/jobs/notify-next" not in users.partition("user op")[2]
    assert "write" not in mosquitto_users([])


def test_mosquitto_listens_to_certificates_only() -> None:
    """By both doors; and only devices are held to their client id."""
    text = mosquitto_conf(Listeners(1, 2, "/etc/f/", "/var/d"))
    head, devices, control = re.split("^listener ", text, flags=re.M)
    for door, port, part in (("devices", "1", devices), ("control", "2", control)):
        assert part.startswith(f"{port}\n")
        for line in (
            "require_certificate true", "use_identity_as_username true", "allow_anonymous false",
            f"cafile /etc/f/{door}.pem", f"crlfile /etc/f/{door}.crl", f"acl_file /etc/f/{door}.acl",
        ):  # fmt: skip
            assert line in part.splitlines()
        assert ("use_username_as_clientid true" in part) == (door == "devices")
    assert "persistence_location /var/d/\n" in head
    assert f"max_packet_size {PACKET}\n" in head
    assert PACKET > LIMIT


def test_emqx_s_list_says_the_same() -> None:
    """As Erlang terms that each end with a point."""
    lines = emqx('{user, "op"}', access("operator")) + emqx("all", access("device"))
    assert lines.count("}.\n") == 4
    assert '{allow, {user, "op"}, publish, ["edge/v1/things/+/shadow/name/+/get", ' in lines
    assert '"edge/v1/things/${username}/jobs/start-next/+"' in lines


def test_aws_s_policy_fits_and_keeps_devices_apart() -> None:
    """It has at most 2048 characters; all that is a device's is below its own name."""
    for root, aws in (("edge", True), ("edge/v1", False), ("a" * 30, True)):
        text = aws_policy(access("device", root, aws=aws))
        assert len(re.sub(r"\s", "", text)) < 2048
        policy = json.loads(text)
        assert [each["Effect"] for each in policy["Statement"]] == ["Allow"] * 4
        for statement in policy["Statement"][:2]:
            assert all("${iot:Connection.Thing.ThingName}" in each for each in statement["Resource"])
        assert (
            any("$aws/things/${iot:Connection.Thing.ThingName}/*" in each for each in policy["Statement"][1]["Resource"])
            == aws
        )


def test_each_role_has_its_own() -> None:
    """No two may the same."""
    assert len({access(role) for role in ROLES}) == len(ROLES)
    assert topics.RPC in BY_HAND

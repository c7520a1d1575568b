"""The topics of a fleet."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_bridge.protocol.fleet.topics import (
    CONTROLLER_STATUS,
    GROUP_NOTIFY,
    JOB_UPDATE,
    KINDS,
    NOTIFY_NEXT,
    RPC_ANSWER,
    SHADOW_UPDATE_ACCEPTED,
    STATUS,
    Kind,
    Tree,
)
from edge_runtime.errors import InputError, ProtocolError

NAMES = ("thing", "job", "shadow", "method", "group", "name")
segments = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=64)
roots = st.lists(segments.map(lambda s: s[:16]), min_size=1, max_size=4).map("/".join)
trees = st.builds(Tree, roots, st.booleans())
kinds = st.sampled_from(KINDS)
names = st.fixed_dictionaries(dict.fromkeys(NAMES, segments))


def named(kind: Kind, names: dict[str, str]) -> dict[str, str]:
    return {name: names[name] for name in kind.names}


def fits(pattern: str, topic: str) -> bool:
    """Whether a broker would hold this topic to fit this filter, of which none here ends in #."""
    parts, given = pattern.split("/"), topic.split("/")
    return len(parts) == len(given) and all(part in ("+", other) for part, other in zip(parts, given, strict=True))


def test_as_they_are_written() -> None:
    """Below our own root, and below AWS's where jobs and shadows are its."""
    ours, aws = Tree("site-7"), Tree("site-7", aws=True)
    assert ours.topic(JOB_UPDATE, thing="press-17", job="j1") == "site-7/things/press-17/jobs/j1/update"
    assert aws.topic(JOB_UPDATE, thing="press-17", job="j1") == "$aws/things/press-17/jobs/j1/update"
    accepted = aws.topic(SHADOW_UPDATE_ACCEPTED, thing="press-17", shadow="config")
    assert accepted == "$aws/things/press-17/shadow/name/config/update/accepted"
    assert aws.topic(STATUS, thing="press-17") == "site-7/things/press-17/status"
    assert Tree().topic(CONTROLLER_STATUS) == "edge/v1/controller/status"


@given(trees, kinds, names)
def test_a_topic_comes_back(tree: Tree, kind: Kind, names: dict[str, str]) -> None:
    """Its kind and its names, and no other kind's."""
    topic = tree.topic(kind, **named(kind, names))
    assert tree.parse(topic) == (kind, named(kind, names))
    assert fits(tree.filter(kind), topic)


@given(trees.filter(lambda tree: tree.aws), kinds, names)
def test_aws_takes_each_topic(tree: Tree, kind: Kind, names: dict[str, str]) -> None:
    """At most seven slashes and 256 bytes."""
    topic = tree.topic(kind, **named(kind, names))
    assert topic.count("/") <= 7
    assert len(topic) <= 256


@given(trees, st.text(max_size=80) | st.lists(st.sampled_from(["things", "a", "jobs", "update", "get", ""])).map("/".join))
def test_other_topics_are_refused(tree: Tree, text: str) -> None:
    """Whatever a broker delivers is one of ours or a ProtocolError."""
    for topic in (text, f"{tree.root}/{text}", f"$aws/{text}", f"{tree.root}/things/{text}"):
        try:
            kind, found = tree.parse(topic)
        except ProtocolError:
            continue
        assert tree.topic(kind, **found) == topic


@pytest.mark.parametrize(
    "topic",
    [
        "", "edge/v1", "edge/v1/things/t", "edge/v1/things/a.b/status", "edge/v1/things/+/status", "edge/v1/things//status",
        "edge/v1/things/t/status/", f"edge/v1/things/{'t' * 65}/status", "edge/v1/things/t/jobs/j/delete",
        "edge/v1/things/t\n/status",
        "edge/v1/things/t/shadow/name/config/update/documents", "edge/v2/things/t/status", "/edge/v1/things/t/status",
    ],
)  # fmt: skip
@pytest.mark.parametrize("aws", [False, True])
def test_no_topic_of_ours(topic: str, aws: bool) -> None:
    """Nearly one."""
    with pytest.raises(ProtocolError, match="is no topic of a fleet below edge/v1"):
        Tree(aws=aws).parse(topic)


def test_each_message_has_one_place() -> None:
    """What is AWS's is not ours too, nor the other way round: an access list covers one."""
    ours, aws = Tree(), Tree(aws=True)
    job, status = ours.topic(JOB_UPDATE, thing="t", job="j"), ours.topic(STATUS, thing="t")
    for tree, topic in (
        (aws, job),
        (ours, aws.topic(JOB_UPDATE, thing="t", job="j")),
        (aws, status.replace("edge/v1", "$aws")),
    ):
        with pytest.raises(ProtocolError):
            tree.parse(topic)


@pytest.mark.parametrize("name", ["", "a/b", "+", "#", "a.b", "x" * 65, "ä", "a\0", "a\n", "$next"])
def test_names_that_no_topic_holds(name: str) -> None:
    """They would change its structure."""
    for make in (Tree().topic, Tree().filter):
        with pytest.raises(InputError, match="use 1 to 64 of A-Z"):
            make(NOTIFY_NEXT, thing=name)
    with pytest.raises(InputError, match="share"):
        Tree().filter(NOTIFY_NEXT, share=name)


def test_names_are_all_given() -> None:
    """And no others."""
    with pytest.raises(InputError, match="needs thing, job; given: thing"):
        Tree().topic(JOB_UPDATE, thing="t")
    with pytest.raises(InputError, match="needs no names; given: thing"):
        Tree().topic(CONTROLLER_STATUS, thing="t")


@pytest.mark.parametrize("root", ["", "/", "a/", "a//b", "$aws", "a/b/c/d/e/f", "a.b", "a+"])
def test_no_root(root: str) -> None:
    """That which no topic can start with."""
    with pytest.raises(InputError, match="topic root"):
        Tree(root)


def test_a_root_of_five_segments_is_too_long_on_aws_only() -> None:
    """It takes seven slashes."""
    Tree("a/b/c/d/e")
    with pytest.raises(InputError, match="AWS IoT Core"):
        Tree("a/b/c/d/e", aws=True)


@given(trees, kinds, names, st.lists(segments, max_size=3, unique=True))
def test_a_device_hears_what_is_said_to_it_once(tree: Tree, kind: Kind, names: dict[str, str], groups: list[str]) -> None:
    """Each message to it fits one of its filters; one to another device, or from itself, none."""
    filters = tree.heard_by("me", groups)
    assert len(set(filters)) == len(filters)
    to = {**named(kind, names), **({"thing": "me"} if "thing" in kind.names else {})}
    meant = kind.sender == "controller" and (kind is not GROUP_NOTIFY or to["group"] in groups)
    assert sum(fits(each, tree.topic(kind, **to)) for each in filters) == meant
    if "thing" in kind.names:
        assert not any(fits(each, tree.topic(kind, **{**to, "thing": "other"})) for each in filters)


def test_a_device_needs_few_subscriptions() -> None:
    """AWS IoT Core takes eight in one packet."""
    assert len(Tree(aws=True).heard_by("press-17", ("canary",))) == 9
    assert "$aws/things/press-17/shadow/name/+/update/+" in Tree(aws=True).heard_by("press-17")


@given(trees, kinds, names)
def test_controllers_hear_every_device_once(tree: Tree, kind: Kind, names: dict[str, str]) -> None:
    """And not what they say themselves."""
    topic = tree.topic(kind, **named(kind, names))
    assert sum(fits(each, topic) for each in tree.heard_from()) == (kind.sender == "device")
    for each in tree.heard_from("pool"):
        assert each.startswith("$share/pool/") == (each not in (tree.filter(STATUS), tree.filter(RPC_ANSWER)))

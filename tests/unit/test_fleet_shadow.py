"""A device's shadows: what is desired, what is reported, and what differs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_bridge.protocol.fleet.shadow import (
    DEPTH,
    LIMIT,
    Change,
    Config,
    Get,
    Models,
    Rejected,
    Section,
    Shadow,
    Update,
    apply,
    change,
    confirm,
    delta,
    describe,
    difference,
    merge,
    read,
    write,
)
from cloud_bridge.protocol.fleet.wire import decode, encode
from edge_runtime.errors import ProtocolError
from edge_runtime.routing.policy import Policy
from tests.messages import json_objects, policies

small = st.recursive(
    st.sampled_from([None, True, 1, 1.0, 2, "x", [1], [], [None]]),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(st.sampled_from("abc"), small, max_size=3)
states = objects.map(lambda found: merge({}, found))
"""Without nulls: they are never kept."""


def update(desired: Section | None = None, *, version: int | None = None, **reported: Any) -> Update:
    given = {} if desired is None else {"desired": desired}
    return Update(state=Change(**given, **({"reported": reported} if reported else {})), version=version)


def shadow(found: object) -> Shadow:
    assert isinstance(found, Shadow)
    return found


def test_the_examples_of_rfc_7396() -> None:
    """Objects into objects, null deletes, all else replaces."""
    assert merge({"a": "b"}, {"a": "c"}) == {"a": "c"}
    assert merge({"a": "b"}, {"b": "c"}) == {"a": "b", "b": "c"}
    assert merge({"a": "b", "b": "c"}, {"a": None}) == {"b": "c"}
    assert merge({"a": ["b"]}, {"a": "c"}) == {"a": "c"}
    assert merge({"a": "c"}, {"a": ["b"]}) == {"a": ["b"]}
    assert merge({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}) == {"a": {"b": "d"}}
    assert merge({"a": [{"b": "c"}]}, {"a": [1]}) == {"a": [1]}
    assert merge({"e": None}, {"a": 1}) == {"e": None, "a": 1}
    assert merge({}, {"a": {"bb": {"ccc": None}}}) == {"a": {"bb": {}}}


@given(states, objects)
def test_a_change_that_comes_twice_changes_nothing_more(base: Section, changed: Section) -> None:
    """And what it was merged into is as it was."""
    before = repr(base)
    once = merge(base, changed)
    assert merge(once, changed) == once
    assert repr(base) == before


@given(states, objects, objects)
def test_changes_of_different_things_may_come_in_any_order(base: Section, one: Section, other: Section) -> None:
    """Of the same, the last one holds."""
    other = {f"other {name}": value for name, value in other.items()}
    assert merge(merge(base, one), other) == merge(merge(base, other), one)


@given(states, states)
def test_the_change_from_one_to_another_leads_there(before: Section, after: Section) -> None:
    """And there is none where they are the same."""
    assert merge(before, change(before, after)) == after
    assert change(after, after) == {}


@given(states, states)
def test_a_device_that_does_as_it_is_told_is_told_nothing_more(desired: Section, reported: Section) -> None:
    """It reports what was asked of it, and may report more."""
    wanted = difference(desired, reported)
    assert difference(desired, merge(reported, wanted)) == {}
    assert difference(desired, {**desired, "more": 1}) == {}


def test_what_differs() -> None:
    """Inside of objects the part; a number is its value, and true is no number."""
    desired = {"budgets": {"text": 0.05, "face": 0.1}, "list": [1, 2], "on": True, "n": 1}
    assert difference(desired, {"budgets": {"text": 0.05, "more": 1}, "list": [1.0, 2], "on": 1, "n": 1.0}) == {
        "budgets": {"face": 0.1},
        "on": True,
    }


def test_from_nothing_to_converged() -> None:
    """An operator desires, the device is told, and reports; a version for each change."""
    one = shadow(apply(Shadow(), update({"budgets": {"text": 0.05}}), 1.0))
    told = delta(one, 2.0)
    assert told is not None
    assert (told.state, told.version) == ({"budgets": {"text": 0.05}}, 1)
    two = shadow(apply(one, update(budgets={"text": 0.05}), 3.0))
    assert two.version == 2
    assert delta(two, 4.0) is None
    assert apply(two, update(budgets={"text": 0.05}), 5.0) == two


def test_true_is_not_one() -> None:
    """As Python would have it."""
    one = shadow(apply(Shadow(), update({"a": 1}), 1.0))
    two = shadow(apply(one, update({"a": True}), 2.0))
    assert (two.version, two.desired["a"]) == (2, True)
    assert apply(two, update({"a": True}), 3.0) is two


def test_a_version_that_does_not_hold_is_a_conflict() -> None:
    """Of two who change the same version, one is told."""
    one = shadow(apply(Shadow(), update({"a": 1}, version=0), 1.0))
    two = shadow(apply(one, update({"a": 2}, version=1), 2.0))
    found = apply(two, update({"a": 3}, version=1), 3.0)
    assert isinstance(found, Rejected)
    assert (found.code, found.message) == (409, "version conflict: 1 was expected, and 2 holds")


def test_what_is_too_much_is_refused() -> None:
    """Too large, only as merged; too deep; not to be written."""
    half = "x" * (LIMIT // 2)
    one = shadow(apply(Shadow(), update({"a": half}), 1.0))
    found = apply(one, update({"b": half}), 2.0)
    assert isinstance(found, Rejected)
    assert found.code == 413
    deep: Any = 1
    for _ in range(DEPTH):
        deep = {"a": deep}
    shadow(apply(Shadow(), update(deep), 1.0))
    found = apply(Shadow(), update({"a": deep}), 1.0)
    assert isinstance(found, Rejected)
    assert found.code == 400
    found = apply(Shadow(), update({"a": "\ud800"}), 1.0)
    assert isinstance(found, Rejected)
    assert found.code == 400


def test_hundreds_of_levels_are_refused() -> None:
    """As many as a message's reader lets pass."""
    for levels in (50, 200, 400, 800):
        data = b'{"state":{"desired":' + b'{"a":' * levels + b"1" + b"}" * levels + b"}}"
        try:
            asked = decode(data, Update)
        except ProtocolError:
            continue
        assert isinstance(apply(Shadow(), asked, 1.0), Rejected)


def test_a_section_is_taken_away_whole() -> None:
    """By null in its place; by leaving it out it stays."""
    one = shadow(apply(Shadow({"a": 1}, {"b": 2}, 3), decode(b'{"state": {"desired": null}}', Update), 1.0))
    assert one == Shadow({}, {"b": 2}, 4)


def test_what_is_asked_for_is_told() -> None:
    """All of a shadow, with what differs; that there is none yet."""
    one = Shadow({"a": 1, "b": 2}, {"a": 1}, 3)
    told = describe(one, Get(client_token="t"), 9.0)
    assert not isinstance(told, Rejected)
    assert (told.state.delta, told.version, told.client_token) == ({"b": 2}, 3, "t")
    none = describe(Shadow(), Get(), 9.0)
    assert isinstance(none, Rejected)
    assert none.code == 404
    asked = Update(state=Change(desired={"a": None}), client_token="t")
    assert encode(confirm(one, asked, 9.0)) == (
        b'{"state":{"desired":{"a":null}},"version":3,"timestamp":9.0,"clientToken":"t"}'
    )


@given(json_objects, json_objects, st.none() | st.integers(0, 3))
def test_whatever_is_desired_is_kept_or_refused(desired: Section, reported: Section, version: int | None) -> None:
    """And what is kept can be told."""
    found = apply(Shadow(version=2), Update(state=Change(desired=desired, reported=reported), version=version), 1.0)
    if isinstance(found, Shadow):
        told = describe(found, Get(), 2.0)
        assert not isinstance(told, Rejected)
        assert decode(encode(told), type(told)) == told
        if (differs := delta(found, 3.0)) is not None:
            encode(differs)


@given(policies, st.dictionaries(st.sampled_from(["text", "face"]), st.floats(0.001, 10.0)))
def test_a_config_comes_back_from_its_shadow(policy: Policy, budgets: dict[str, float]) -> None:
    """Whatever it was before, once the change was reported; and then it is as desired, default or not."""
    config = Config(budgets=budgets, policy=policy)
    before = write(Config(budgets={"other": 1.0}, refused={"policy": "too bold"}))
    one = Shadow(write(config), before, 1)
    done = shadow(apply(one, update(**change(before, write(config))), 1.0))
    assert read(done.reported, Config) == config
    assert delta(done, 2.0) is None


def test_what_a_device_does_not_take_is_told_apart() -> None:
    """A budget of nothing, a policy that does not exist, a version that is none."""
    assert read({}, Config) == Config()
    assert read({"policy": {"quantile": 0.9}}, Config).policy == Policy(quantile=0.9)
    assert read({"active": {"text": "1.2"}}, Models) == Models(active={"text": "1.2"})
    for config in ({"budgets": {"text": 0}}, {"policy": {"quantile": 2.0}}, {"policy": {"boldness": 2.0}}):
        with pytest.raises(ProtocolError, match="this is no state of the shadow 'config'"):
            read(config, Config)
    with pytest.raises(ProtocolError, match="this is no state of the shadow 'models'"):
        read({"active": {"text": "../1"}}, Models)

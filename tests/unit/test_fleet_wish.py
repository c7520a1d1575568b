"""What is desired of devices, and what becomes of it; what is watched: messages in, words out."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from cloud_bridge.cli.fleet import settings, watch
from cloud_bridge.fleet.wish import Budget, Routing, Wish, Wishes
from cloud_bridge.protocol.fleet import shadow, topics
from cloud_bridge.protocol.fleet.jobs import JobExecution, Next, Update
from cloud_bridge.protocol.fleet.presence import Status
from cloud_bridge.protocol.fleet.shadow import Config, Shadow
from cloud_bridge.protocol.fleet.telemetry import Figures
from cloud_bridge.protocol.fleet.topics import Kind
from cloud_bridge.protocol.fleet.wire import encode
from edge_runtime.errors import ProtocolError
from edge_runtime.routing.policy import Policy

CHEAP = Policy(byte_price=1e-6, cloud_worth=0.9)


class Side:
    """A controller's and a device's side of one shadow, by the protocol's own functions."""

    def __init__(self, config: Config = Config()) -> None:
        self.shadow = Shadow(reported=shadow.write(config), version=1)

    def change(self, update: shadow.Update) -> bytes:
        """Carry it out: the answer."""
        after = shadow.apply(self.shadow, update, 0.0)
        assert isinstance(after, Shadow)
        self.shadow = after
        return encode(shadow.confirm(after, update, 0.0))

    def obey(self) -> bytes:
        """The device takes what is desired, and reports it: the answer to that."""
        held = shadow.write(shadow.read(self.shadow.desired, Config))
        return self.change(shadow.Update(state=shadow.Change(reported=shadow.change(self.shadow.reported, held))))

    def document(self) -> bytes:
        found = shadow.describe(self.shadow, shadow.Get(), 0.0)
        assert isinstance(found, shadow.Document)
        return encode(found)


WISHES: list[tuple[Wish, Config]] = [
    (Budget("net", 0.05), Config()), (Budget("net", None), Config(budgets={"net": 0.05})), (Routing(CHEAP), Config()),
    (Routing(Policy(byte_price=1e-7)), Config(policy=CHEAP)), (Routing(None), Config(policy=CHEAP)),
]  # fmt: skip


@pytest.mark.parametrize(("wish", "before"), WISHES, ids=range(len(WISHES)))
def test_a_wish_is_done_when_the_device_has_it(wish: Wish, before: Config) -> None:
    """And not when it is only desired."""
    side, wishes = Side(before), Wishes(wish, ["a"])
    side.change(shadow.Update(state=shadow.Change(desired=shadow.change({}, msgspec.to_builtins(before)))))
    ((kind, thing, update),) = wishes.begin()
    assert (kind, thing) == (topics.SHADOW_UPDATE, "a")
    assert isinstance(update, shadow.Update)
    ((asked, _, _),) = wishes.heard(topics.SHADOW_UPDATE_ACCEPTED, "a", side.change(update))
    assert asked == topics.SHADOW_GET
    assert wishes.at("accepted") == ("a",)
    wishes.heard(topics.SHADOW_GET_ACCEPTED, "a", side.document())
    if wish != Routing(None):  # by what a device routes where none is desired, it alone knows
        assert wishes.at("accepted") == ("a",)
    assert wishes.heard(topics.SHADOW_UPDATE_ACCEPTED, "a", side.obey()) or wish == Routing(None)
    wishes.heard(topics.SHADOW_GET_ACCEPTED, "a", side.document())
    assert wishes.at("reported") == ("a",)


def test_of_a_policy_only_what_differs_is_desired() -> None:
    """What is as by default is deleted, so that a release with other defaults has its own."""
    desired = Routing(CHEAP).desired()["policy"]
    assert {name: value for name, value in desired.items() if value is not None} == {"byte_price": 1e-6, "cloud_worth": 0.9}
    assert desired.keys() == {*Policy.__struct_fields__}


def test_who_says_no_and_who_is_away_are_told_apart() -> None:
    """Rejected by the controller; not taken by the device; not there."""
    wishes = Wishes(Budget("net", 0.05), ["no", "old", "away"])
    tokens = {thing: update.client_token for _, thing, update in wishes.begin() if isinstance(update, shadow.Update)}
    refusal = shadow.Rejected(code=413, message="too large", timestamp=0.0, client_token=tokens["no"])
    assert wishes.heard(topics.SHADOW_UPDATE_REJECTED, "no", encode(refusal)) == []
    other = msgspec.structs.replace(refusal, client_token="another's")
    wishes.heard(topics.SHADOW_UPDATE_REJECTED, "old", encode(other))
    for thing in ("old", "away"):
        accepted = shadow.Updated(state=shadow.Change(), version=2, timestamp=0.0, client_token=tokens[thing])
        assert wishes.heard(topics.SHADOW_UPDATE_ACCEPTED, thing, encode(accepted))
    refused = shadow.State(reported={"refused": {"net": "it takes\x07 none"}})
    wishes.heard(topics.SHADOW_GET_ACCEPTED, "old", encode(shadow.Document(state=refused, version=2, timestamp=0.0)))
    wishes.heard(topics.STATUS, "away", encode(Status(state="lost", session="s", bd_seq=1)))
    assert wishes.heard(topics.STATUS, "stranger", b"{") == []
    assert [tuple(settings.described(thing, fate).values()) for thing, fate in wishes.fates.items()] == [
        ("no", "rejected", "unknown", "too large"), ("old", "accepted", "unknown", "it takes  none"),
        ("away", "accepted", "lost", ""),
    ]  # fmt: skip
    with pytest.raises(ProtocolError):
        wishes.heard(topics.STATUS, "away", b"{")


EVENTS: list[tuple[Kind, dict[str, str], bytes, dict[str, Any], str]] = [
    (
        topics.STATUS, {"thing": "a"}, encode(Status(state="ready", session="s", bd_seq=1, models={"net": "1.2"})),
        {"about": "presence", "state": "ready", "models": {"net": "1.2"}, "before": False}, "became ready: net 1.2",
    ),
    (
        topics.CONTROLLER_STATUS, {}, encode(Status(state="lost", session="controller-1", bd_seq=1)),
        {"thing": None, "controller": "controller-1"}, "controller-1      became lost",
    ),
    (
        topics.NOTIFY_NEXT, {"thing": "a"},
        encode(Next(timestamp=1.0, execution=JobExecution(
            job_id="j1", status="QUEUED", queued_at=1.0, last_updated_at=1.0, version_number=1, execution_number=1
        ))),
        {"about": "jobs", "job": "j1", "status": "QUEUED"}, "j1 QUEUED",
    ),
    (
        topics.JOB_UPDATE, {"thing": "a", "job": "j1"},
        encode(Update(status="FAILED", status_details={"step": "check", "reason": "it is\x1b slow"})),
        {"job": "j1", "status": "FAILED"}, "j1 FAILED at check: it is  slow",
    ),
    (
        topics.JOB_UPDATE, {"thing": "a", "job": "j1"},
        encode(Update(status="SUCCEEDED", status_details={"active": "1.2"})),
        {"status": "SUCCEEDED"}, "j1 SUCCEEDED: active 1.2",
    ),
    (
        topics.SHADOW_UPDATE, {"thing": "a", "shadow": "models"},
        encode(shadow.Update(state=shadow.Change(reported={"active": {"net": "1.2"}}))),
        {"about": "shadows", "reported": {"active": {"net": "1.2"}}}, 'shadow models: reported {"active": {"net": "1.2"}}',
    ),
    (
        topics.TELEMETRY, {"thing": "a", "name": "device"},
        encode(Figures(timestamp=1.0, uptime=9.0, load=0.5, free=2 << 30, temperature=51.5)),
        {"about": "figures"}, "load 0.50, 2.00 GiB of disk, 52 °C",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "names", "payload", "event", "told"), EVENTS, ids=range(len(EVENTS)))
def test_what_happens_is_told(kind: Kind, names: dict[str, str], payload: bytes, event: dict[str, Any], told: str) -> None:
    """To a script all of it, to a person in a line, in which nothing commands the terminal."""
    found = watch.read(kind, names, payload, 1000.0)
    assert found is not None
    assert json.loads(json.dumps(found)) == found
    assert {name: found[name] for name in event} == event
    line = watch.words(found)
    assert line.endswith(told)
    assert line.isprintable()


def test_nothing_is_told_where_nothing_is_next() -> None:
    """A notice without a job; and what is no message is refused."""
    assert watch.read(topics.NOTIFY_NEXT, {"thing": "a"}, encode(Next(timestamp=1.0)), 1000.0) is None
    with pytest.raises(ProtocolError):
        watch.read(topics.STATUS, {"thing": "a"}, b"{}", 1000.0)


def test_only_what_is_asked_for_is_listened_to() -> None:
    """Of all, or of some things, of which controllers are none."""
    assert [kind for kind, _ in watch.filters((), watch.ABOUT)] == [*watch.HEARD]
    assert watch.filters(("a", "b"), ("presence",)) == [(topics.STATUS, {"thing": "a"}), (topics.STATUS, {"thing": "b"})]
    assert watch.filters((), ("presence",)) == [(topics.STATUS, {}), (topics.CONTROLLER_STATUS, {})]

"""The simulated fleet of `python -m benchmarks.fleet`, small: it measures what it says, and finds what went wrong."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from benchmarks.fleet import deploys, idle, rounds
from benchmarks.fleet.wire import Wire
from cloud_bridge import broker
from cloud_bridge.control.link import Event, Heard, Said, Taken, Up
from tests.system.mqtt_parts import WAIT, need


@pytest.fixture(autouse=True)
def _mosquitto() -> None:
    need("mosquitto")


def test_a_command_reaches_all_and_every_word_is_counted_once(tmp_path: Path) -> None:
    """And the bare conversation has the same messages."""
    found = rounds.hold(tmp_path, 12, 2, lambda: None)
    assert [(each.lost, each.twice) for each in found.real] == [(0, 0)] * 2
    for each in found.real:
        assert 0.0 < each.heard <= each.accepted
        assert each.acknowledged <= each.ended <= each.over
        assert {"broker", "controller", "devices", "bare controller"} == each.usage.keys()
    assert [each.wrong for each in (*found.bare, *found.short)] == [0] * 4
    tails = [line.tail.rpartition("/")[2] for line in found.script]
    assert tails == ["notify-next", "update", "accepted", "update", "accepted", "start-next", "accepted"]


def test_a_version_comes_to_all_and_bad_ones_to_nobody(tmp_path: Path) -> None:
    """On real files; and both rollouts of bad ones stop."""
    found = deploys.hold(tmp_path, 20, 20, lambda: None)
    assert found.deployed.states == {"SUCCEEDED": 20}
    assert found.deployed.active == {deploys.NEW: 20}
    for stopped in found.stopped:
        assert stopped.phase == "aborted"
        assert stopped.active == {deploys.NEW: 20}
        assert (stopped.activated, stopped.trials) == (0, 0)
        assert 0 < stopped.states["FAILED"] <= stopped.most
    wrong, slow = (stopped.reasons[0] for stopped in found.stopped)
    assert "golden" in wrong
    assert "budget" in slow


def test_an_idle_agent_is_weighed(tmp_path: Path) -> None:
    """Its own pages are some of what is resident."""
    found = idle.hold(tmp_path, 0.5)
    assert 1e6 < found.unique <= found.proportional <= found.resident
    assert 0.0 <= found.cpu < found.seconds


def test_the_wire_speaks_both_ways_at_qos_1() -> None:
    """More messages than may be under way at once: each arrives, and is taken, once, in order."""
    events: list[Event] = []

    async def talk(host: str, port: int) -> None:
        hearer = Wire("hearer", ["a/+"], lambda event: events.append(event) if isinstance(event, Heard) else None)
        speaker = Wire("speaker", [], events.append, window=4)
        await hearer.open(host, port)
        await speaker.open(host, port)
        for number in range(50):
            speaker.say(Said(topic=f"a/{number}", payload=b"x" * number, expiry=60.0, status="200", correlation=b"c"))
        acknowledged = 0
        async with asyncio.timeout(WAIT):
            while acknowledged < 50:
                heard = [event for event in events if isinstance(event, Heard)]
                for event in heard[acknowledged:]:
                    hearer.ack(event)
                acknowledged = len(heard)
                await asyncio.sleep(0.01)
            while sum(isinstance(event, Taken) for event in events) < 50:
                await asyncio.sleep(0.01)
        hearer.close()
        speaker.close()

    with broker.start(kind="mosquitto") as running:
        asyncio.run(talk(running.host, running.port))
    heard = [event for event in events if isinstance(event, Heard)]
    assert [(event.topic, event.payload) for event in heard] == [(f"a/{n}", b"x" * n) for n in range(50)]
    assert {(event.status, event.correlation, event.retained) for event in heard} == {("200", b"c", False)}
    assert [event for event in events if isinstance(event, Taken) and event.refused] == []
    assert Up() in events

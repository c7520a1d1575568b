"""The emulated link's one direction: packets leave at the link's pace, arrive after the delay, and are lost when the queue
is full."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.link.emulator import Way

RATE, DELAY = 1000.0, 0.5


def way(queue: float) -> Way:
    return Way(lambda at, size: at + size / RATE, lambda _: DELAY, queue)


def test_a_packet_takes_its_time() -> None:
    """A packet arrives when the link has carried it and the delay has passed; the next one behind it."""
    link = way(1e6)
    link.put(b"a" * 100, 0.0)
    link.put(b"b" * 200, 0.0)
    assert list(link.due(0.59)) == []
    assert list(link.due(0.61)) == [b"a" * 100]
    assert abs(link.next - 0.8) < 1e-9
    assert list(link.due(0.81)) == [b"b" * 200]
    assert link.next == float("inf")
    assert (link.carried, link.lost) == (300, 0)


def test_a_full_queue_loses_packets() -> None:
    """What finds no room is lost; room comes as packets leave."""
    link = way(250.0)
    for _ in range(4):
        link.put(b"a" * 100, 0.0)
    assert (link.carried, link.lost) == (200, 2)
    link.put(b"a" * 100, 0.101)
    assert (link.carried, link.lost) == (300, 2)


@given(st.lists(st.tuples(st.integers(1, 1500), st.floats(0.0, 0.2)), max_size=60), st.floats(100.0, 1e4))
def test_nothing_comes_twice_or_out_of_turn(packets: list[tuple[int, float]], queue: float) -> None:
    """What was not lost arrives once, in its order, no sooner than the link's pace and its delay allow."""
    link, now, sent, arrived = way(queue), 0.0, [], []
    for number, (size, gap) in enumerate(packets):
        now += gap
        lost = link.lost
        link.put(number.to_bytes(2, "big") * size, now)
        if link.lost == lost:
            sent.append((number, now + 2 * size / RATE + DELAY))
    while link.next < float("inf"):
        now = link.next
        arrived += [(int.from_bytes(packet[:2], "big"), now) for packet in link.due(now)]
    assert [number for number, _ in arrived] == [number for number, _ in sent]
    assert all(at >= soonest - 1e-9 for (_, at), (_, soonest) in zip(arrived, sent, strict=True))

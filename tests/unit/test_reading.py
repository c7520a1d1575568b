"""What is read as values by many threads."""

from __future__ import annotations

import threading
import time

import msgspec

from edge_runtime.reading import convert, decoder

inside: list[int] = []
most: list[int] = []


def looked_at() -> type[int]:
    """An annotation that takes its time, as those of a large struct do, and counts who looks at it at once."""
    inside.append(1)
    most.append(len(inside))
    time.sleep(0.05)
    inside.pop()
    return int


class Slow(msgspec.Struct):
    """A struct whose first use lets other threads run."""

    number: "looked_at()" = 0  # type: ignore[valid-type]  # noqa: UP037


def test_one_thread_at_a_time_makes_what_is_known_of_a_struct() -> None:
    """Two at once crash the interpreter."""
    found: list[Slow] = []
    together = threading.Barrier(4)

    def read() -> None:
        together.wait(10.0)
        found.append(decoder(Slow).decode(b'{"number": 3}'))
        found.append(convert({"number": 3}, Slow))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each.number for each in found] == [3] * 8
    assert most == [1]

"""An HTTP answer in any number of parts: what it says, where its body lies, and when its connection can be used again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_bridge.client.answer import HEAD, Answer
from edge_runtime.errors import ProtocolError

LIMIT = 1 << 20


def read(data: bytes, cuts: Sequence[int] = (), limit: int = LIMIT) -> Answer:
    """The answer in these bytes when they come in parts, cut at these places; then the connection ends."""
    answer = Answer(memoryview(bytearray(HEAD)), lambda: limit)
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for start, end in pairwise(edges):
        while start < end and not answer.complete:
            room = answer.buffer()
            count = min(len(room), end - start)
            room[:count] = data[start : start + count]
            answer.received(count)
            start += count
    if not answer.complete:
        answer.received(0)
    return answer


def chunks(body: bytes, size: int) -> bytes:
    """A body in chunks of this size."""
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n"
FORMS: dict[str, Callable[[bytes], bytes]] = {
    "length": lambda body: b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX: y\r\n\r\n" % len(body) + body,
    "chunks": lambda body: CHUNKED + chunks(body, 7),
    "end": lambda body: b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n" + body,
    "after-100": lambda body: b"HTTP/1.1 100 Continue\r\nX: z\r\n\r\n" + FORMS["length"](body),
}


@pytest.mark.parametrize("form", FORMS)
@given(body=st.binary(max_size=200), cuts=st.lists(st.integers(0, 500), max_size=8))
def test_an_answer_in_parts(form: str, body: bytes, cuts: list[int]) -> None:
    """However it is cut and however its length is told, status, headers and body are the same."""
    answer = read(FORMS[form](body), cuts)
    assert answer.status == 200
    assert answer.message.headers["x"] == "y"
    assert bytes(answer.message.body) == body
    assert answer.reusable == (form != "end")


@pytest.mark.parametrize("size", [1, HEAD - 100, HEAD, 600_000])
def test_a_body_lands_where_its_tensors_can_be_used(size: int) -> None:
    """It is whole, can be written to, and begins at an address at which every dtype can."""
    body = np.random.default_rng(0).bytes(size)
    answer = read(FORMS["length"](body), [90, 1000])
    assert bytes(answer.message.body) == body
    found = np.frombuffer(answer.message.body, np.uint8)
    assert found.flags.writeable
    assert found.ctypes.data % 16 == 0


WRONG = {
    "no-http": (b"hello\r\n\r\n", "no HTTP"),
    "two-lengths": (b"HTTP/1.1 200 X\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", "no HTTP"),
    "half": (FORMS["length"](b"abc")[:-1], "in the middle"),
    "half-a-chunk": (FORMS["chunks"](b"abc")[:-8], "in the middle"),
    "head": (b"HTTP/1.1 200 X\r\n" + b"a: b\r\n" * 20_000, "beside its body"),
    "sizes": (CHUNKED + b"1;" + b"x" * HEAD + b"\r\na\r\n0\r\n\r\n", "beside"),
    "large": (FORMS["length"](bytes(LIMIT + 1)), "larger than"),
    "large-chunks": (CHUNKED + chunks(bytes(LIMIT + 1), 9999), "larger"),
    "endless": (FORMS["end"](bytes(LIMIT + 1)), "larger than"),
    "upgrade": (b"HTTP/1.1 101 X\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n", "something else"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "words"), WRONG.values(), ids=WRONG)
def test_what_is_no_answer(data: bytes, words: str) -> None:
    """Each is a ProtocolError that says why."""
    with pytest.raises(ProtocolError, match=words):
        read(data)


@pytest.mark.parametrize(
    "data",
    [
        FORMS["length"](b"abc") + b"more",
        FORMS["length"](b"") + FORMS["length"](b"abc"),
        FORMS["length"](b"abc").replace(b"X: y", b"Connection: close"),
        b"HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nabc",
    ],
    ids=["rest", "two", "close", "http-1.0"],
)
def test_a_connection_that_ends_with_its_answer(data: bytes) -> None:
    """The answer counts; another exchange gets another connection."""
    answer = read(data)
    assert answer.status == 200
    assert bytes(answer.message.body) in {b"abc", b""}
    assert not answer.reusable


@given(data=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200), max_size=4))
def test_any_bytes(data: bytes, cuts: list[int]) -> None:
    """Rubbish is refused, and nothing else happens."""
    try:
        read(data, cuts)
    except ProtocolError:
        return


@given(at=st.integers(0, 200), byte=st.integers(0, 255), form=st.sampled_from(sorted(FORMS)))
def test_damaged_answers(at: int, byte: int, form: str) -> None:
    """One wrong byte is refused or makes another answer, and nothing else happens."""
    data = bytearray(FORMS[form](b"some body"))
    data[at % len(data)] = byte
    try:
        read(bytes(data))
    except ProtocolError:
        return

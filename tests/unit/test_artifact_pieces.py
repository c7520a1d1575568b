"""A file that comes in pieces: whatever is cut, wherever, by servers with ranges or without, its bytes are the file's."""

from __future__ import annotations

import hashlib
import io
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_bridge.artifacts.http import parse
from cloud_bridge.artifacts.pieces import Head, Pace, Part, backoff, begins, check_small
from edge_runtime.errors import EdgeError, InputError, ProtocolError, RefusedError, UntrustedError


def part_of(data: bytes, have: bytes = b"") -> tuple[Part, io.BytesIO]:
    """What has come of a file, and where it lies."""
    file = io.BytesIO(have)
    return Part(file, len(data), hashlib.sha256(data).hexdigest()), file


def answer(data: bytes, start: int, *, ranges: bool, told: bool) -> tuple[Head, bytes]:
    """What a server says and gives."""
    if not (start and ranges):
        return Head(200, len(data) if told else None), data
    rest = data[start:]
    return Head(206, len(rest) if told else None, f"bytes {start}-{len(data) - 1}/{len(data)}"), rest


@given(
    st.binary(min_size=1, max_size=300),
    st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 300), st.integers(1, 64)), max_size=30),
)
def test_any_cuts_and_ranges_give_the_same_bytes(data: bytes, connections: list[tuple[bool, bool, int, int]]) -> None:
    """Connection after connection, with ranges and lengths or without, each cut somewhere; the last one is not."""
    part, file = part_of(data)
    for ranges, told, cut, step in [*connections, (False, False, len(data), 7)]:
        if part.whole:
            break
        head, body = answer(data, part.have, ranges=ranges, told=told)
        start = begins(head, part.have, part.size)
        assert start is not None
        part.restart(start)
        body = body[:cut]
        for at in range(0, len(body), step):
            part.write(body[at : at + step])
        assert file.getvalue() == data[: part.have]
    assert part.whole
    assert part.right
    assert file.getvalue() == data


@given(st.binary(min_size=1, max_size=100), st.binary(max_size=120))
def test_what_an_earlier_try_left_is_not_believed(data: bytes, left: bytes) -> None:
    """More than the file has is dropped at once; other bytes are found out by the digest, and known to be doubtful."""
    part, file = part_of(data, left)
    assert part.have == (len(left) if len(left) <= len(data) else 0)
    part.write(data[part.have :])
    assert part.right == (file.getvalue() == data)
    assert part.joined == (0 < len(left) <= len(data))
    part.restart(0)
    part.write(data)
    assert part.right
    assert not part.joined


def test_more_bytes_than_were_signed_are_refused() -> None:
    """At the first that is too many, and not written."""
    part, file = part_of(b"abc")
    part.write(b"ab")
    with pytest.raises(UntrustedError, match="at least 4 bytes; the one that was signed has 3") as caught:
        part.write(b"cd")
    assert caught.value.trouble == "length"
    assert file.getvalue() == b"ab"


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (Head(404), RefusedError),
        (Head(304), RefusedError),
        (Head(416), None),
        (Head(200, 11), UntrustedError),
        (Head(200, 9), UntrustedError),
        (Head(200, 10, encoding="gzip"), ProtocolError),
        (Head(206, 6), ProtocolError),
        (Head(206, 6, "bytes 4-9/11"), UntrustedError),
        (Head(206, 6, "bytes 3-8/10"), ProtocolError),
        (Head(206, 5, "bytes 4-9/10"), ProtocolError),
        (Head(206, 9, "bytes 4-12/10"), ProtocolError),
        (Head(206, None, "bytes 4-3/10"), ProtocolError),
        (Head(206, 6, "lines 4-9/10"), ProtocolError),
        (Head(206, 6, "bytes 4-9/" + "9" * 4000), ProtocolError),
        (Head(206, 6, "bytes \u0664-9/10"), ProtocolError),
    ],
)
def test_odd_answers(head: Head, kind: type[EdgeError] | None) -> None:
    """Each is refused for what it is; the one without such a range only means that the whole is to be asked for."""
    if kind is None:
        assert begins(head, 4, 10) is None
        kind = RefusedError  # who asked for the whole cannot be told so
        with pytest.raises(kind):
            begins(head, 0, 10)
        return
    with pytest.raises(kind):
        begins(head, 4, 10)


@given(
    st.builds(
        Head, st.integers(0, 999), st.none() | st.integers(0, 30), st.none() | st.text(max_size=20)
        | st.builds("bytes {}-{}/{}".format, st.integers(0, 20), st.integers(0, 20), st.integers(0, 20) | st.just("*")),
        st.sampled_from(["identity", "gzip"]),
    ),
    st.integers(0, 20), st.integers(0, 20),
)  # fmt: skip
def test_no_answer_leads_astray(head: Head, have: int, size: int) -> None:
    """Whatever a server says: it begins where the last ended or at the beginning, or it is an error of the tree."""
    with suppress(EdgeError):
        assert begins(head, have, size) in {0, have, None}


def test_small_files_are_bounded_by_their_heads() -> None:
    """A length that is too long, a status, an encoding."""
    check_small(Head(200, 10), 10)
    check_small(Head(200), 10)
    with pytest.raises(UntrustedError, match="more than the 10 bytes"):
        check_small(Head(200, 11), 10)
    with pytest.raises(RefusedError):
        check_small(Head(206, 5), 10)
    with pytest.raises(ProtocolError, match="br"):
        check_small(Head(200, 5, encoding="br"), 10)


@given(st.floats(1.0, 1e9), st.lists(st.tuples(st.integers(0, 1 << 16), st.floats(0.0, 10.0)), max_size=50))
def test_the_rate_is_never_exceeded(rate: float, chunks: list[tuple[int, float]]) -> None:
    """Over any stretch: who takes what may be taken when it may be has had at most a chunk more than the rate allows, and
    idle time is not caught up on."""
    pace, now, history = Pace(rate), 0.0, []
    for wanted, idle in chunks:
        count = min(wanted, pace.most)
        history.append((now, count))
        now += pace.rest(count, now) + idle
    for first, (begin, _) in enumerate(history):
        total = 0
        for when, count in history[first:]:
            assert total <= rate * (when - begin) * (1 + 1e-6) + 1e-3 * rate
            total += count


def test_without_a_rate_nobody_rests() -> None:
    """And chunks are of a fair size."""
    assert Pace(None).rest(1 << 20, 0.0) == 0.0
    assert Pace(None).most == 1 << 16
    assert Pace(0.5).most == 1


def test_backing_off() -> None:
    """Longer and longer, never long."""
    waits = [backoff(failures) for failures in range(2000)]
    assert waits[0] == 0.1
    assert waits == sorted(waits)
    assert waits[-1] == 10.0


@pytest.mark.parametrize(
    "url",
    [
        "",
        "file:///etc/passwd",
        "ftp://x/y",
        "http://",
        "http://x:99999/",
        "http://[::1",
        "http://u:p@x/y",
        "//x/y",
        "http://x\x00y/",
    ],
)
def test_urls_of_no_server(url: str) -> None:
    """Refused before anything is asked."""
    with pytest.raises(InputError):
        parse(url)


@given(st.text(max_size=60))
def test_any_url(text: str) -> None:
    """Is a place whose path is fit for a request, or an InputError."""
    try:
        place = parse(f"http://host/{text}")
    except InputError:
        return
    assert place.path.isascii()
    assert place.path.isprintable()
    assert " " not in place.path

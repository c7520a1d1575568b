"""Which versions of a model are served, and how calls are shared among them."""

from __future__ import annotations

import contextlib
import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_bridge.endpoint.followed import Followed
from cloud_bridge.endpoint.versions import ANY, FILE, Rule, Rules, Split, parse_serve, parse_traffic, read, write
from edge_runtime.errors import InputError

INSTALLED = ("1.0", "1.1", "2.0")

weights = st.dictionaries(st.sampled_from("abcdef"), st.floats(0.01, 100.0), min_size=1)


@pytest.mark.parametrize(
    ("rule", "served"),
    [
        (Rule(), INSTALLED),
        (Rule(1), ("1.0", "2.0")),
        (Rule(2), INSTALLED),
        (Rule(("1.1", "9")), ("1.0", "1.1")),
        (Rule(("2.0",), {"1.1": 1.0}), INSTALLED),
    ],
)
def test_served(rule: Rule, served: tuple[str, ...]) -> None:
    """All, the latest, or those that are named; always the active one (here 1.0) and those with a share."""
    assert rule.served(INSTALLED, "1.0") == served


@given(weights, st.integers(1, 400))
def test_shares_are_exact(shares: dict[str, float], calls: int) -> None:
    """After any number of calls each version has had its share of them, to within a few; of two, to within one."""
    split, had = Split(), dict.fromkeys(shares, 0)
    for _ in range(calls):
        had[split.next(shares)] += 1
    total = sum(shares.values())
    for name, weight in shares.items():
        assert abs(had[name] - calls * weight / total) < max(1.0 + 1e-6, len(shares) / 2)


def test_shares_that_change() -> None:
    """A version that has a share no more gets no call, and the others all of them."""
    split = Split()
    for _ in range(7):
        split.next({"a": 1.0, "b": 1.0})
    assert {split.next({"b": 3.0}) for _ in range(5)} == {"b"}


@pytest.mark.parametrize(
    ("text", "serve"), [("all", "all"), ("latest", 1), ("latest:3", 3), ("1.0", ("1.0",)), ("1.0,1.1,1.0", ("1.0", "1.1"))]
)
def test_serve_in_words(text: str, serve: object) -> None:
    """What an operator writes."""
    assert parse_serve(text) == serve


@pytest.mark.parametrize("text", ["", "latest:0", "latest:x", "none", "1.0,", "../1"])
def test_serve_in_wrong_words(text: str) -> None:
    """Is told."""
    with pytest.raises(InputError):
        parse_serve(text)


def test_traffic_in_words() -> None:
    """What an operator writes; "active" takes all shares back."""
    assert parse_traffic(["1.0=90", "1.1=10"]) == {"1.0": 90.0, "1.1": 10.0}
    assert parse_traffic(["active"]) == {}


@pytest.mark.parametrize(
    "parts", [["1.0"], ["1.0=0"], ["1.0=-1"], ["1.0=nan"], ["1.0=1", "1.0=2"], ["x=1"], ["active", "1.0=1"]]
)
def test_traffic_in_wrong_words(parts: list[str]) -> None:
    """Is told."""
    with pytest.raises(InputError):
        parse_traffic(parts)


def test_rules_are_kept(tmp_path: Path) -> None:
    """What was written is read again; what is the same as nothing is not written."""
    rules = {"text": Rule(2, {"1.0": 90.0, "1.1": 10.0}), "one": Rule(("1.0",))}
    write(tmp_path / FILE, {**rules, "plain": Rule()})
    assert read(tmp_path / FILE) == rules
    assert json.loads((tmp_path / FILE).read_bytes())["text"] == {"serve": 2, "traffic": {"1.0": 90.0, "1.1": 10.0}}


@given(st.binary(max_size=60))
def test_any_file(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    """Is rules, or refused."""
    path = tmp_path_factory.mktemp("rules") / FILE
    path.write_bytes(junk)
    with contextlib.suppress(InputError):
        assert all(isinstance(rule, Rule) for rule in read(path).values())


@pytest.mark.parametrize("text", ['{"m": {"serve": 0}}', '{"m": {"traffic": {"../x": 1}}}', '{"m": {"odd": 1}}', "[]"])
def test_damaged_rules_change_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str) -> None:
    """The last good ones hold, and the log says so once."""
    rules = Followed[Rules](tmp_path / FILE, read, {})

    def of(name: str) -> Rule:
        return rules.now.get(name, ANY)

    assert of("m") == Rule()
    write(tmp_path / FILE, {"m": Rule(1)})
    assert of("m") == Rule(1)
    (tmp_path / FILE).unlink()
    (tmp_path / FILE).write_text(text)
    with caplog.at_level(logging.ERROR):
        assert of("m") == of("m") == Rule(1)
    assert len(caplog.records) == 1

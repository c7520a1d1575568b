"""What is made of the figures of our endpoint and of servers that are not ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import pytest

from benchmarks.endpoint.bare import Loaded
from benchmarks.endpoint.minilm import sentences
from benchmarks.peers.__main__ import Found, Rate, Round, bars, rows
from benchmarks.peers.answers import ASKED, cosines
from benchmarks.peers.contenders import Contender
from benchmarks.peers.ways import Ask
from edge_runtime.errors import RunError
from edge_runtime.values import Array, Tensors

RATES = (
    Rate("ours", "HTTP, binary", 100.0, 200.0, 0.01),
    Rate("pytriton", "HTTP, binary", 70.0, 125.0, 0.01),
    Rate("MLServer", "HTTP, JSON", 60.0, 80.0, 0.01),
    Rate("MLServer", "gRPC, raw", 50.0, 100.0, 0.01),
    Rate("Ray Serve", "HTTP, bytes", 30.0, 50.0, 0.01),
)


def found(*more: Rate) -> Found:
    return Found((Round({1: 120.0, 8: 210.0, 32: 190.0}, (*RATES, *more)),) * 5, {}, (0.5, 0.5, 0.5))


def test_aims_are_held_against_the_best_way_to_ask_each_server() -> None:
    """A server that is faster over gRPC than in JSON is compared by gRPC, and the engine by its best batch."""
    values = {bar.name: bar.value for bar in bars(found())}
    assert values["sixteen clients over the engine's best batch"] == pytest.approx(200 / 210)
    assert values["sixteen clients over pytriton"] == pytest.approx(1.6)
    assert values["sixteen clients over MLServer"] == pytest.approx(2.0)
    assert values["sixteen clients over Ray Serve"] == pytest.approx(4.0)


def test_tuned_has_an_aim_where_it_took_part() -> None:
    """There is nothing said of a tuned variant unless there was one."""
    assert "tuned over pytriton" not in [bar.name for bar in bars(found())]
    tuned = {bar.name: bar for bar in bars(found(Rate("ours, tuned", "HTTP, binary", 300.0, 375.0, 0.01)))}
    assert tuned["tuned over pytriton"].value == pytest.approx(3.0)
    assert tuned["tuned over pytriton"].met


def test_every_way_has_a_row() -> None:
    """What is printed names the load, and each server by each way with its figures."""
    printed = "\n".join(rows(found()))
    assert "load average as it began: 0.5" in printed
    for rate in RATES:
        assert f"{rate.server}, {rate.way}: one client {rate.one:.0f}/s, sixteen {rate.many:.0f}/s at 10.0 ms" in printed


class Held:
    """A server that is always there."""

    @contextmanager
    def awake(self) -> Iterator[None]:
        yield

    def worked(self) -> float:
        return 0.0


class Given:
    """A way on which these answers come."""

    name = "made up"

    def __init__(self, ask: Ask) -> None:
        self.clients: Mapping[str, Ask] = {"nobody": ask}

    def load(self, clients: int, seconds: float) -> Loaded:
        raise AssertionError("nothing is timed here")


def right() -> list[Array]:
    return [embedded(sentences(1, seed)) for seed in range(ASKED)]


def embedded(inputs: Tensors) -> Array:
    return np.asarray(np.sin(inputs["ids"][..., None] * np.arange(1.0, 9.0)), np.float32)


def test_right_answers_are_let_through() -> None:
    """Small differences, such as a batch makes, do not count."""
    way = Given(lambda inputs: embedded(inputs) + np.float32(1e-3))
    assert cosines(Contender("peer", Held(), way), right())["nobody"] > 0.99


def test_another_sentence_s_answer_is_found_out() -> None:
    """A server that mixes up the rows of a batch is not timed."""
    way = Given(lambda inputs: embedded({"ids": inputs["ids"] + 1}))
    with pytest.raises(RunError, match="nothing was timed"):
        cosines(Contender("peer", Held(), way), right())

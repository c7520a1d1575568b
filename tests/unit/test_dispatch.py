"""Routing in time: threads that wait for their turn, clouds that come and go, a log that is written meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from edge_runtime.decisions import Began, DecisionLog, Lost, read
from edge_runtime.dispatch import Dispatch
from edge_runtime.errors import BudgetError, UnreachableError
from edge_runtime.model import Model
from edge_runtime.routing.events import Event, Planned, Probed
from edge_runtime.routing.policy import Policy
from edge_runtime.routing.replay import replay
from edge_runtime.values import Result
from tests.doubles import PythonSession, ScriptedRemote, at_once, loaded, manifest
from tests.endpoint import eventually

X = {"x": np.ones((1, 2), np.float32)}
AMPLE = 20.0
"""Seconds within which something must be seen on a machine that does other things too."""

Make = Callable[..., Model]


class Named(ScriptedRemote):
    """One of several clouds."""

    def __init__(self, name: str, delay: float = 0.0) -> None:
        super().__init__(delay)
        self.name = name


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes a model of a session and clouds; its routing ends with the test."""
    made: list[Dispatch] = []

    def one(
        session: PythonSession | None, *remotes: ScriptedRemote, policy: Policy = Policy(), log: DecisionLog | None = None
    ) -> Model:
        described = manifest(variants=0 if session is None else 1)
        dispatch = Dispatch(remotes, policy, log)
        made.append(dispatch)
        model = Model(described, None if session is None else loaded(session, described), dispatch, at_once)
        dispatch.know(model.key, None if session is None else 0.7, 0.8, model.warm_up(X, 3))
        return model

    yield one
    for dispatch in made:
        dispatch.close()


def until(model: Model, right: Callable[[Result], bool], budget: float = 5.0) -> Result:
    """Ask until an answer is as it should be; every one on the way is in time."""
    deadline = time.monotonic() + AMPLE
    while True:
        result = model.infer(X, budget=budget)
        assert result.met
        if right(result):
            return result
        assert time.monotonic() < deadline, result.reason
        time.sleep(0.01)


def test_calls_that_overlap_take_turns_on_the_device(make: Make) -> None:
    """Four at once, with a cloud that hangs: each run by itself, all in time."""
    running, most = 0, 0

    class Counting(PythonSession):
        def run(self, inputs):  # type: ignore[no-untyped-def]
            nonlocal running, most
            running += 1
            most = max(most, running)
            found = super().run(inputs)
            running -= 1
            return found

    model = make(Counting(delay=0.05), ScriptedRemote(delay=60.0))
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: model.infer(X, budget=3.0), range(4)))
    assert all(result.met and result.target == "local" for result in results), results
    assert most == 1


def test_a_call_that_would_be_late_is_shed_while_others_wait(make: Make) -> None:
    """Of six calls of 0.2 s within half a second the device answers those that it can, and says of the others that it
    cannot."""
    remote = ScriptedRemote(failure=UnreachableError("no link"), at_once=True)
    model = make(PythonSession(delay=0.2), remote)
    model.infer(X, budget=5.0)

    def ask(_: int) -> bool:
        try:
            return model.infer(X, budget=0.5).met
        except BudgetError as error:
            return "others wait" not in str(error) and "had no turn" not in str(error)

    with ThreadPoolExecutor(6) as pool:
        met = list(pool.map(ask, range(6)))
    assert 1 <= sum(met) <= 2


def test_a_cloud_that_comes_back_is_noticed_by_a_probe(make: Make) -> None:
    """No call is spent on it while it is away."""
    remote = ScriptedRemote(failure=UnreachableError("no link"), at_once=True)
    model = make(PythonSession(), remote)
    model.infer(X, budget=5.0)
    asked = len(remote.calls)
    for _ in range(50):
        assert model.infer(X, budget=5.0).target == "local"
        time.sleep(0.01)
    assert len(remote.calls) - asked <= 1
    remote.failure = None
    until(model, lambda result: result.target == "cloud")


def test_of_two_clouds_the_one_that_dies_is_left_for_the_other(make: Make) -> None:
    """And every call on the way is answered."""
    one, other = Named("test://one"), Named("test://other", delay=0.05)
    model = make(PythonSession(), one, other)
    until(model, lambda _: bool(one.calls) and bool(other.calls))
    until(model, lambda result: "test://one" in result.reason)
    one.failure = UnreachableError("gone")
    until(model, lambda result: result.target == "cloud" and "test://other" in result.reason)


def test_probes_end_when_they_are_closed_as_they_begin() -> None:
    """The thread that probes has just been started, and has nothing to wait for but its end."""
    for _ in range(20):
        dispatch = Dispatch([ScriptedRemote()], Policy())
        closing = threading.Thread(target=dispatch.close, daemon=True)
        with dispatch._lock:  # both stand before it, the one that closes first
            closing.start()
            time.sleep(0.005)
            dispatch._wake_prober()
            time.sleep(0.005)
        closing.join(AMPLE)
        assert not closing.is_alive()


def test_remotes_of_the_same_name_are_told_apart() -> None:
    """Two connections to one broker, for one."""
    dispatch = Dispatch([ScriptedRemote(), ScriptedRemote()], Policy())
    assert len(dispatch.remotes) == 2
    dispatch.close()


def test_another_policy_rules_at_once(make: Make) -> None:
    """Bytes that cost more than any answer is worth are not sent."""
    remote = ScriptedRemote()
    model = make(PythonSession(), remote)
    until(model, lambda result: result.target == "cloud")
    assert model._dispatch is not None
    model._dispatch.policy = Policy(byte_price=1.0)
    assert model.infer(X, budget=5.0).target == "local"


def test_without_a_local_variant_a_hopeless_call_is_told_at_once(make: Make) -> None:
    """With the time predicted; with best effort the answer comes late, and says so."""
    remote = ScriptedRemote(delay=0.8)
    model = make(None, remote)
    assert model.infer(X, budget=30.0).target == "cloud"
    start = time.monotonic()
    with pytest.raises(BudgetError, match=r"needs about 8.. of 20 ms"):
        model.infer(X, budget=0.02)
    assert time.monotonic() - start < 0.5
    late = model.infer(X, budget=0.02, best_effort=True)
    assert late.target == "cloud"
    assert not late.met


def test_what_was_decided_is_logged_and_can_be_replayed(make: Make, tmp_path: Path) -> None:
    """Calls from several threads, a cloud that fails in between, probes: the log gives the same plans again."""
    log = DecisionLog(tmp_path / "log.jsonl")
    remote = ScriptedRemote(delay=0.005)
    model = make(PythonSession(delay=0.002), remote, policy=Policy(probe_after=0.05), log=log)
    with ThreadPoolExecutor(3) as pool:
        for failure in (None, UnreachableError("no link"), None):
            remote.failure = failure
            list(pool.map(lambda _: model.infer(X, budget=0.5), range(40)))
    before = remote.probes
    eventually(lambda: remote.probes >= before + 2, "a probe leaves when the one before has come back", AMPLE)
    until(model, lambda result: result.target == "cloud")
    assert model._dispatch is not None
    model._dispatch.close()
    began, *rest = read(log.path)
    assert isinstance(began, Began)
    events: list[Event] = [line for line in rest if not isinstance(line, Began | Lost)]
    assert len(events) == len(rest)
    assert any(isinstance(event, Probed) for event in events)
    found = replay(began.state, events, {})
    assert found.plans == sum(isinstance(event, Planned) for event in events) > 120
    assert found.same == found.plans

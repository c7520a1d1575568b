"""One call, carried out: local, cloud, and the cloud with the local run held back."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from edge_runtime.dispatch import Dispatch
from edge_runtime.errors import BudgetError, InputError, LateError, RefusedError, RemoteError, RunError, UnreachableError
from edge_runtime.model import Model
from edge_runtime.remote import Call
from edge_runtime.routing.policy import Policy
from edge_runtime.tally import Tally
from edge_runtime.values import Array, Result, Tensors
from tests.doubles import COUNTER, PythonSession, ScriptedRemote, at_once, loaded, manifest

Make = Callable[..., Model]
X = {"x": np.ones((1, 2), np.float32)}


@pytest.fixture
def model() -> Iterator[Make]:
    """Makes a model of a session, a remote, or both; its routing ends with the test."""
    made: list[Dispatch] = []

    def make(session: PythonSession | None, remote: ScriptedRemote | None, policy: Policy = Policy()) -> Model:
        described = manifest(variants=0 if session is None else 1)
        here = None if session is None else loaded(session, described)
        dispatch = None if remote is None else Dispatch([remote], policy)
        asked = Model(described, here, dispatch, at_once)
        if dispatch is not None:
            made.append(dispatch)
            dispatch.know(asked.key, None if session is None else 0.7, 0.8, asked.warm_up(X, 2))
        if session is not None:
            session.runs = 0
        return asked

    yield make
    for dispatch in made:
        dispatch.close()


def test_without_a_cloud_the_answer_is_local(model: Make) -> None:
    """And it tells engine, device, variant, time and why."""
    result = model(PythonSession(), None).infer(X, budget=5.0)
    assert result.outputs["y"].tolist() == [[2.0, 2.0]]
    assert (result.target, result.engine, result.device, result.variant) == ("local", "python", "CPU", "v0")
    assert result.met
    assert 0 < result.elapsed < 5
    assert [a.outcome for a in result.attempts] == ["answered"]
    assert result.reason


class Brittle(PythonSession):
    """A session that breaks over the first number below zero."""

    def run(self, inputs: Tensors) -> dict[str, Array]:
        if inputs["x"].flat[0] < 0:
            raise RunError("below zero")
        return super().run(inputs)


def test_calls_are_counted_while_somebody_watches(model: Make) -> None:
    """Those that were answered and those that failed, however they were made; not those that were asked wrongly."""
    asked = model(Brittle(), None)
    bad = {"x": -X["x"]}
    asked.infer(X)
    tally = asked.tally = Tally()
    asked.infer(X)
    asked.submit(X).result()
    for call in (lambda: asked.infer(bad), lambda: asked.submit(bad)):
        with pytest.raises(RunError):
            call()
    with pytest.raises(InputError):
        asked.infer({"z": X["x"]})
    assert (tally.calls, tally.failures, tally.last) == (4, 2, "RunError: below zero")
    asked.tally = None
    asked.infer(X)
    assert tally.calls == 4


def test_steps_of_a_stream_are_counted_too(model: Make) -> None:
    """As long as they are steps of the version that is watched."""
    described = manifest(COUNTER, partner=None)
    asked = Model(described, loaded(Brittle(COUNTER), described), None, at_once)
    stream, step = asked.stream(), {"x": np.ones(1, np.float32)}
    stream.infer(step)
    tally = asked.tally = Tally()
    stream.infer(step)
    with pytest.raises(RunError):
        stream.infer({"x": -step["x"]})
    with pytest.raises(InputError):
        stream.infer({})
    assert (tally.calls, tally.failures) == (2, 1)


def test_a_cloud_that_fits_answers_and_the_local_model_does_not_run(model: Make) -> None:
    """The held-back run costs nothing when it is not needed."""
    session, remote = PythonSession(), ScriptedRemote()
    result = model(session, remote).infer(X, budget=5.0)
    assert (result.target, result.engine) == ("cloud", "test 1")
    assert result.outputs["y"].tolist() == [[3.0, 3.0]]
    assert session.runs == 0
    assert result.met


def test_a_cloud_that_hangs_is_given_up_in_time_for_the_local_model(model: Make) -> None:
    """The answer is the local one, inside the budget, and the call is cancelled."""
    session, remote = PythonSession(), ScriptedRemote(delay=60.0)
    result = model(session, remote, Policy(guard=0.3)).infer(X, budget=1.0)
    assert result.target == "local"
    assert result.outputs["y"].tolist() == [[2.0, 2.0]]
    assert result.met
    assert remote.cancelled == 1
    assert [a.target for a in result.attempts] == ["cloud", "local"]
    assert "LateError" in result.attempts[0].outcome
    assert "the local model answered" in result.reason


@pytest.mark.parametrize("at_send", [True, False])
@pytest.mark.parametrize("failure", [UnreachableError("no link"), RefusedError("busy", status=503), LateError("too late")])
def test_a_cloud_that_fails_hands_over_at_once(model: Make, failure: RemoteError, at_send: bool) -> None:
    """Whatever the error and whenever it comes, the local model answers inside the budget."""
    result = model(PythonSession(), ScriptedRemote(failure=failure, at_once=at_send)).infer(X, budget=2.0)
    assert result.target == "local"
    assert result.met
    assert type(failure).__name__ in result.reason


def test_a_cloud_that_failed_is_left_alone_and_then_tried_again(model: Make) -> None:
    """The pause is the policy's; after it one call tries, and an answer ends it."""
    remote = ScriptedRemote(failure=UnreachableError("no link"), at_once=True)
    asked = model(PythonSession(), remote, Policy(backoff=0.5))
    asked.infer(X, budget=2.0)
    assert "is asked again" in asked.infer(X, budget=2.0).reason
    assert len(remote.calls) == 1
    remote.failure = None
    results: list[Result] = []
    while not results or results[-1].target == "local":
        results.append(asked.infer(X, budget=2.0))
        assert len(results) < 1_000_000
    assert results[-1].target == "cloud"


def test_an_answer_that_comes_while_the_local_model_runs_still_wins(model: Make) -> None:
    """It is the better one, and it is there before the deadline."""
    session, remote = PythonSession(delay=0.4), ScriptedRemote(delay=0.9)
    result = model(session, remote).infer(X, budget=1.2)
    assert result.target == "cloud"
    assert session.runs == 1
    assert [attempt.target for attempt in result.attempts] == ["cloud", "local"]


def test_a_call_that_waited_for_a_thread_is_planned_with_what_is_left_of_its_budget(model: Make) -> None:
    """A cloud that cannot make that is not asked, and not blamed."""
    remote = ScriptedRemote(delay=0.5)
    asked = model(PythonSession(), remote)
    asked.infer(X, budget=30.0)
    with ThreadPoolExecutor(1) as pool:
        asked._submit = pool.submit
        pool.submit(time.sleep, 0.4)
        result = asked.submit(X, budget=0.45).result()
    assert result.target == "local"
    assert len(remote.calls) == 1
    assert asked.infer(X, budget=30.0).target == "cloud"


def test_one_slow_local_run_does_not_leave_a_later_call_without_an_answer(model: Make) -> None:
    """The cloud answers until it stalls; the local model is still there, quick again as it mostly is."""
    session, remote = PythonSession(), ScriptedRemote()
    asked = model(session, remote, Policy(backoff=0.0, guard=0.3))
    session.delay, remote.failure = 1.2, UnreachableError("no link")
    assert asked.infer(X, budget=5.0).target == "local"
    session.delay, remote.failure = 0.0, None
    while asked.infer(X, budget=30.0).target == "local":
        pass  # a probe is on its way to see whether the cloud is back
    remote.delay = 60.0
    result = asked.infer(X, budget=1.0)
    assert result.target == "local"
    assert result.met


class BrokenSession(PythonSession):
    """An engine that fails on every run but the warm-up's."""

    broken = False

    def run(self, inputs: Tensors) -> dict[str, Array]:
        if self.broken:
            raise RunError("the engine failed")
        return super().run(inputs)


def test_where_the_local_engine_fails_the_cloud_still_has_until_the_deadline(model: Make) -> None:
    """A late answer of the cloud is better than an error."""
    session = BrokenSession(delay=0.1)
    asked = model(session, ScriptedRemote(delay=0.4))
    session.broken = True
    assert asked.infer(X, budget=0.45).target == "cloud"


def test_where_both_fail_the_engine_s_error_is_raised(model: Make) -> None:
    """It is the one that somebody can mend."""
    session = BrokenSession()
    asked = model(session, ScriptedRemote(failure=UnreachableError("no link")))
    session.broken = True
    with pytest.raises(RunError, match="the engine failed"):
        asked.infer(X, budget=0.5)


def test_without_a_local_variant_a_late_cloud_is_a_budget_error_in_time(model: Make) -> None:
    """The caller learns it at the deadline, with the attempt."""
    with pytest.raises(BudgetError) as caught:
        model(None, ScriptedRemote(delay=60.0)).infer(X, budget=0.1)
    assert caught.value.attempts[0].target == "cloud"
    assert caught.value.attempts[0].seconds < 5.0


def test_without_a_local_variant_a_good_cloud_answers(model: Make) -> None:
    """A device may know a model only by its manifest."""
    assert model(None, ScriptedRemote()).infer(X, budget=2.0).target == "cloud"


def test_neither_variant_nor_cloud_is_refused_when_the_model_is_made(model: Make) -> None:
    """Not at the first call."""
    with pytest.raises(InputError, match="neither"):
        model(None, None)


@pytest.mark.parametrize(
    "answer",
    [
        lambda call: {},
        lambda call: {"y": np.ones((1, 3), np.float32)},
        lambda call: {"y": np.ones((1, 2), np.float64)},
        lambda call: {"y": np.ones(2, np.float32)},
    ],
)
def test_a_cloud_answer_that_breaks_the_signature_is_not_delivered(model: Make, answer: Callable[[Call], Tensors]) -> None:
    """Missing output, wrong shape, wrong dtype, wrong rank: the local model answers."""
    remote = ScriptedRemote()
    remote.answer = answer
    result = model(PythonSession(), remote).infer(X, budget=2.0)
    assert result.target == "local"
    assert "ProtocolError" in result.reason


@pytest.mark.parametrize("budget", [0.0, -1.0, math.nan, math.inf])
def test_a_budget_that_is_no_duration_is_refused(model: Make, budget: float) -> None:
    """Zero, negative, NaN and infinite ones are mistakes of the caller."""
    with pytest.raises(InputError, match="budget"):
        model(PythonSession(), None).infer(X, budget=budget)


def test_a_budget_that_is_missed_is_told(model: Make) -> None:
    """The local model is slower than the budget: the answer comes, and says that it came late."""
    result = model(PythonSession(delay=0.05), None).infer(X, budget=0.001)
    assert not result.met


def test_the_future_and_the_awaited_answer_are_the_same(model: Make) -> None:
    """`submit` and `ainfer` are `infer` on another thread."""
    asked = model(PythonSession(), None)
    assert asked.submit(X).result().outputs["y"].tolist() == [[2.0, 2.0]]
    assert asyncio.run(asked.ainfer(X)).outputs["y"].tolist() == [[2.0, 2.0]]


def test_streams_carry_their_own_state() -> None:
    """Two streams of one model do not mix, a state can be moved, and reset begins again."""
    described = manifest(COUNTER, partner=None)
    made = Model(described, loaded(PythonSession(COUNTER), described), None, at_once)
    one, two = made.stream(), made.stream()
    step = {"x": np.ones(1, np.float32)}
    for _ in range(3):
        assert one.infer(step).outputs.keys() == {"y"}
    two.infer(step)
    assert (one.state["s"].tolist(), two.state["s"].tolist()) == ([3.0], [1.0])
    two.state = one.state
    two.infer(step)
    assert (one.state["s"].tolist(), two.state["s"].tolist()) == ([3.0], [4.0])
    one.reset()
    assert one.state["s"].tolist() == [0.0]
    with pytest.raises(InputError):
        one.infer({"x": np.ones(1, np.float32), "s": np.zeros(1, np.float32)})

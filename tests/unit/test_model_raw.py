"""A sound handed to a model as it is: one call or many, on the device, in the cloud and as a stream."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge_runtime.bundles.bundle import Bundle
from edge_runtime.dispatch import Dispatch
from edge_runtime.engines import Candidate, Loaded
from edge_runtime.errors import BudgetError, InputError
from edge_runtime.model import Model
from edge_runtime.processing import answers, steps
from edge_runtime.processing.steps import Processing
from edge_runtime.routing.policy import Policy
from edge_runtime.signature import Signature, StatePair, TensorSpec
from edge_runtime.values import Result
from tests.doubles import COUNTER, DOUBLE, HERE, PythonSession, ScriptedRemote, at_once, manifest

ROWS = Signature(
    inputs=(TensorSpec("x", "float32", (1, 1)), TensorSpec("s", "float32", (1, 1))),
    outputs=(TensorSpec("y", "float32", (1, 1)), TensorSpec("t", "float32", (1, 1))),
    state=(StatePair("s", "t"),),
)
SOUND = np.array([0.1, 0.2, 0.3, 0.4, 0.4, 0.0], np.float32)
PAIRS = Processing("audio", "x", (steps.Windows(2), steps.Batch()), steps.Sound("y"))
"""Two samples a call, and the doubled ones joined."""
ONES = Processing("audio", "x", (steps.Windows(1),), steps.Sound("y"))
"""One sample a call."""


def model(
    processing: Processing | None, session: PythonSession | None = None, remote: ScriptedRemote | None = None
) -> Model:
    """A model with this processing; its session and its remote are what is given."""
    signature = DOUBLE if session is None else session.signature
    described = manifest(signature, variants=0 if session is None else 1, partner=None if signature.state else "double")
    described = msgspec.structs.replace(described, processing=processing)
    bundle = Bundle(described, Path("nowhere"))
    loaded = None if session is None else Loaded(bundle, Candidate(described.variants[0], HERE), session, "a test")
    dispatch = None if remote is None else Dispatch([remote], Policy())
    made = Model(described, loaded, dispatch, at_once, bundle)
    if dispatch is not None:
        dispatch.know(made.key, None, 0.8, None)
    return made


def doubled(result: Result) -> list[float]:
    """The sound that the answer is."""
    assert isinstance(result.answer, answers.Sound)
    return [round(float(sample), 3) for sample in result.answer.samples]


def test_a_sound_is_taken_window_by_window() -> None:
    """Three calls: the outputs joined, an attempt of each in its order, and one answer of all."""
    result = model(PAIRS, PythonSession()).infer(SOUND, budget=30.0)
    assert doubled(result) == [0.2, 0.4, 0.6, 0.8, 0.8, 0.0]
    assert result.outputs["y"].shape == (3, 2)
    assert [attempt.outcome for attempt in result.attempts] == ["answered"] * 3
    starts = [attempt.started for attempt in result.attempts]
    assert starts == sorted(starts)
    assert starts[-1] <= result.elapsed
    assert (result.target, result.budget, result.met) == ("local", 30.0, True)
    assert "the last of 3 calls" in result.reason


def test_one_window_is_one_call() -> None:
    """Nothing is said of many."""
    result = model(PAIRS, PythonSession()).infer(SOUND[:2])
    assert (doubled(result), len(result.attempts)) == ([0.2, 0.4], 1)
    assert "calls" not in result.reason


def test_tensors_have_no_answer() -> None:
    """They are taken as they are, with processing or without."""
    result = model(PAIRS, PythonSession()).infer({"x": SOUND[None, :2]})
    assert result.answer is None


def test_the_future_and_the_awaited_answer_are_the_same() -> None:
    """`submit` and `ainfer` take what `infer` takes."""
    asked = model(PAIRS, PythonSession())
    assert doubled(asked.submit(SOUND[:2], budget=30.0).result()) == [0.2, 0.4]
    assert doubled(asyncio.run(asked.ainfer(SOUND[:2]))) == [0.2, 0.4]


def test_a_cloud_answers_each_call() -> None:
    """A device that has only the manifest takes a sound all the same."""
    remote = ScriptedRemote()
    result = model(PAIRS, None, remote).infer(SOUND, budget=30.0)
    assert doubled(result) == [0.3, 0.6, 0.9, 1.2, 1.2, 0.0]
    assert (result.target, len(remote.calls)) == ("cloud", 3)


def test_all_calls_share_the_budget() -> None:
    """The second one has what the first has left: not enough here, and no local model to take over."""
    remote = ScriptedRemote(delay=0.6)
    with pytest.raises(BudgetError):
        model(PAIRS, None, remote).infer(SOUND, budget=1.0)
    assert 1 <= len(remote.calls) <= 2


def test_a_model_with_state_gets_the_windows_as_one_new_stream() -> None:
    """Each call of `infer` begins anew; the state is not among the outputs."""
    session = PythonSession(COUNTER)
    asked = model(ONES, session)
    for _ in range(2):
        result = asked.infer(SOUND, budget=30.0)
        assert doubled(result) == [0.2, 0.4, 0.6, 0.8, 0.8, 0.0]
        assert (set(result.outputs), len(result.attempts), result.budget) == ({"y"}, 6, 30.0)
        starts = [attempt.started for attempt in result.attempts]
        assert starts == sorted(starts)
    stream = asked.stream()
    for sample in SOUND:
        assert stream.infer(np.array([sample])).answer is not None
    assert stream.state["s"].tolist() == pytest.approx([1.4])
    with pytest.raises(InputError, match="1 new samples at a time; these are 6"):
        stream.infer(SOUND)


def test_a_stream_counts_time_from_its_beginning_until_it_is_reset() -> None:
    """And takes tensors between."""
    heard = Processing("audio", "x", (steps.Windows(1), steps.Batch()), steps.Events("y", 0.5), 2)
    stream = model(heard, PythonSession(ROWS)).stream()
    loud = np.ones(1, np.float32)

    def start() -> float:
        found = stream.infer(loud, budget=30.0).answer
        assert isinstance(found, answers.Events)
        return found.events[0].start

    assert [start(), start()] == [0.0, 0.5]
    stream.infer({"x": loud[None]})
    stream.reset()
    assert (start(), stream.state["s"].tolist()) == (0.0, [[1.0]])


@pytest.mark.parametrize("raw", [None, [1.0], "text", b"bytes", 3, np.zeros((2, 2), np.float32), np.array(["a"])])
def test_what_the_model_does_not_take_is_refused(raw: Any) -> None:
    """With processing the message says what it takes; without, that tensors are wanted, and which."""
    session = PythonSession()
    with pytest.raises(InputError, match=r"takes a sound: float32 \[samples\]"):
        model(PAIRS, session).infer(raw)
    with pytest.raises(InputError, match=r"double has no processing: give tensors by name.*x float32 \[N, 2\]"):
        model(None, session).infer(raw)
    assert session.runs == 0


def test_a_budget_is_checked_before_anything_is_processed() -> None:
    """A wrong budget is told, whatever was handed over."""
    with pytest.raises(InputError, match="budget"):
        model(PAIRS, PythonSession()).infer(SOUND, budget=-1.0)


def test_what_a_step_makes_is_held_against_the_signature() -> None:
    """A manifest whose steps make another shape than the model takes is found at the call."""
    odd = Processing("audio", "x", (steps.Windows(3), steps.Batch()), steps.Sound("y"))
    with pytest.raises(InputError, match=r"input 'x' has shape \[1, 3\]"):
        model(odd, PythonSession()).infer(SOUND)

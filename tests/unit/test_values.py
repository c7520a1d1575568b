"""What every value must bear: going to another process, being printed, being looked for in a list."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from edge_runtime import Attempt, BudgetError, Call, EdgeError, LateError, RefusedError, Reply, Result

ATTEMPT = Attempt("cloud", 0.0, 0.1, "LateError: no answer")


@pytest.mark.parametrize(
    "error",
    [
        RefusedError("busy", status=503, retry_after=2.0),
        BudgetError("nobody answered", (ATTEMPT,)),
        LateError("too late"),
    ],
)
def test_an_error_survives_being_sent_to_another_process(error: EdgeError) -> None:
    """With all that it tells: one that cannot be unpickled would end the pool that it came through."""
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301 - our own bytes
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)


def test_values_that_hold_arrays_are_compared_by_identity() -> None:
    """Arrays have no truth as a whole, so nothing else could be said of two of them."""
    arrays = {"y": np.ones(2, np.float32)}
    result = Result(arrays, "local", "engine", "CPU", "fp32", 0.1, None, (), "a test")
    for value in (result, Call("model", arrays), Reply(arrays)):
        again = pickle.loads(pickle.dumps(value))  # noqa: S301 - our own bytes
        assert again != value
        assert value in [again, value]
        assert len({value, again}) == 2
        assert type(value).__name__ in repr(value)

"""The local run by itself: which budgets it takes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from edge_runtime.errors import InputError
from edge_runtime.local import check_budget
from edge_runtime.model import Model
from tests.doubles import PythonSession, at_once, loaded, manifest

X = {"x": np.ones((1, 2), np.float32)}


@pytest.mark.parametrize(
    "budget", [0, -1, math.nan, math.inf, 1e300, 10**400, True, "0.5", b"1", 1j, [1], {}, np.ones(2), object], ids=repr
)
def test_what_is_no_budget(budget: Any) -> None:
    """Whatever is no positive number of seconds, or more of them than can be waited for, is an InputError."""
    with pytest.raises(InputError, match="budget"):
        check_budget(budget)


@pytest.mark.parametrize("budget", [None, 1e-9, 1, 1e9, np.float32(0.5), np.int64(2)], ids=repr)
def test_budgets(budget: Any) -> None:
    """Seconds, as any kind of number, or none: the call is answered, and tells what it was allowed."""
    described = manifest()
    alone = Model(described, loaded(PythonSession(), described), None, at_once)
    assert alone.infer(X, budget=budget).budget == budget

"""A fixed piece of work that no engine has a part in, measured in turns with the candidates: how fast the machine was then.

The same machine is up to 1.6 times slower on another day, or in another minute. What a candidate took, over what the
yardstick took in the same round, is a figure that two reports can share.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

NAME = "yardstick 1"
"""Changes with the work: another piece of work is another yardstick, and reports of different ones do not share it."""
SIDE = 48
"""Rows of the matrices: so small that no BLAS wakes a second thread for them (of 128 rows, one does, and then the yardstick
itself varies by a factor), and that all of them stay in the first cache of a small core."""
LENGTH = 2048
PRODUCTS, PASSES, STEPS = 40, 60, 400
PAGE = 4096


def yardstick() -> Callable[[], float]:
    """The work, ready to be called: matrix products, elementwise work and a little plain Python, a fraction of a
    millisecond on one thread. The same numbers every time, at the same places within a page: where memory lies makes a
    difference."""
    random = np.random.default_rng(0)
    room = np.empty(64 * PAGE, np.uint8)
    start = -room.ctypes.data % PAGE
    floats = room[start : start + 63 * PAGE].view(np.float32)
    one, two, product = (floats[n : n + SIDE * SIDE].reshape(SIDE, SIDE) for n in (0, 3 * PAGE, 6 * PAGE))
    vector, scratch = (floats[n : n + LENGTH] for n in (9 * PAGE, 12 * PAGE + 64))
    one[:], two[:] = random.standard_normal((2, SIDE, SIDE)) / SIDE**0.5
    vector[:] = random.standard_normal(LENGTH)

    def work() -> float:
        for _ in range(PRODUCTS):
            np.matmul(one, two, out=product)
        for _ in range(PASSES):
            np.multiply(vector, vector, out=scratch)
            np.maximum(scratch, 0.5, out=scratch)
        total = 0
        for number in range(STEPS):
            total += number & 7
        return total + float(product[0, 0]) + float(scratch[0])

    return work

"""What OpenVINO compiled, as a session: infer requests that take and give arrays, and how many of them may run at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import cycle
from threading import Lock
from typing import Any, TypeAlias

import numpy as np

from edge_runtime.backends import base
from edge_runtime.errors import RunError
from edge_runtime.signature import Signature
from edge_runtime.values import Array, Device, Tensors

Row: TypeAlias = tuple[str, int]
"""The signature's name of a tensor, and the engine's index."""
Rows: TypeAlias = tuple[list[Row], list[Row]]
"""Those of the inputs, and those of the outputs."""


class OpenvinoSession:
    """A loaded model. With one stream, runs from several threads wait for each other, as they would inside the engine:
    asked for low latency it runs one at a time.

    A model that was compiled for `fixed` sizes has a second program, for all the other calls. Where `resident` makes them,
    it makes the streams.
    """

    def __init__(
        self,
        signature: Signature,
        device: Device,
        program: Program,
        *,
        other: Program | None = None,
        fixed: Mapping[str, int] | None = None,
        resident: Callable[[OpenvinoSession], base.Stream] | None = None,
    ) -> None:
        self.signature = signature
        self.device = device
        self._program = program
        self._other = other
        self._sizes = [
            (spec.name, axis, (fixed or {})[size])
            for spec in signature.inputs
            for axis, size in enumerate(spec.shape)
            if isinstance(size, str) and size in (fixed or {})
        ]
        self._resident = resident
        self._closed = False

    def run(self, inputs: Tensors) -> dict[str, Array]:
        if self._closed:
            raise base.closed_error(self.device)
        try:
            program = self._program
            if self._other is not None and any(
                inputs[name].shape[axis : axis + 1] != (n,) for name, axis, n in self._sizes
            ):
                program = self._other
            return program.run(inputs)
        except Exception as error:
            raise base.closed_error(self.device) if self._closed else base.run_error(self.device, error) from error

    def stream(self) -> base.Stream:
        return base.StateStream(self) if self._resident is None else self._resident(self)

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True
        self._resident = None  # a stream of a closed session may be had, and says so when it runs
        for program in (self._program, self._other):
            if program is not None:
                program.close()


class Program:
    """A compiled model, and as many infer requests as may run at once: who finds none free waits for one.

    A program with dynamic shapes that has failed is thrown away and compiled again: the engine (2026.4) keeps shapes of the
    failed run inside, and then fails the next run too, or gives it the failed run's batch size.
    """

    def __init__(self, compile: Callable[[], Any], rows: Rows, *, first: Any = None, streams: int = 1) -> None:
        self._compile = compile
        self._rows = rows
        self._lock = Lock()
        self._compiled = first
        self._closed = False
        self._places = [Place(None if first is None or i else Request(first, *rows)) for i in range(streams)]
        self._turns = cycle(self._places)

    def run(self, inputs: Tensors) -> dict[str, Array]:
        place = self._taken()
        try:
            request = place.request
            if request is None or request.compiled is not self._compiled:
                place.request = None  # of what was thrown away: given back before the next is made
                place.request = request = Request(self._ready(), *self._rows)
            return request.run(inputs)
        except Exception:
            if place.request is not None and place.request.dynamic:
                failed, place.request = place.request.compiled, None
                with suppress(Exception):  # if it cannot be compiled now, the next run tries again and tells
                    place.request = Request(self._ready(instead_of=failed), *self._rows)
            raise
        finally:
            place.lock.release()

    def _taken(self) -> Place:
        """A free place, or, once it is free, the next in turn. (A lock each, for who waits in a queue needs Python's own
        lock to take what was put there: where others run without a pause it never gets it.)"""
        for place in self._places:
            if place.lock.acquire(blocking=False):
                return place
        place = next(self._turns)
        place.lock.acquire()
        return place

    def _ready(self, instead_of: Any = None) -> Any:
        with self._lock:
            if self._closed:
                raise RunError("it was closed meanwhile")
            if self._compiled is instead_of:
                self._compiled = None
            if self._compiled is None:
                self._compiled = self._compile()
            return self._compiled

    def close(self) -> None:
        with self._lock:
            self._closed, self._compiled = True, None
        for place in self._places:
            with place.lock:
                place.request = None


class Place:
    """Room for one run at a time, with the infer request that it takes."""

    def __init__(self, request: Request | None) -> None:
        self.lock = Lock()
        self.request = request


class Request:
    """An infer request of a compiled model, and views of the tensors that the request owns.

    Copying into and out of those views takes half the time of the engine's other ways for small tensors, and about 1 % of
    a run for large ones. It takes any strides, and the engine never holds the caller's memory.
    """

    def __init__(self, compiled: Any, inputs: list[Row], outputs: list[Row]) -> None:
        request = compiled.create_infer_request()
        self.compiled = compiled
        self.dynamic = not all(port.partial_shape.is_static for port in compiled.inputs)
        self.own = request
        self._inputs = inputs
        self._views = [request.get_input_tensor(index).data for _, index in inputs]
        self._wide = [row[0] for row, view in zip(inputs, self._views, strict=True) if view.dtype in (np.int64, np.uint64)]
        self._outputs: list[tuple[str, Array | None, int]] = [
            (
                name,
                request.get_output_tensor(index).data if compiled.outputs[index].partial_shape.is_static else None,
                index,
            )
            for name, index in outputs
        ]

    def run(self, inputs: Tensors) -> dict[str, Array]:
        request, views = self.own, self._views
        for name in self._wide:
            check_narrow(name, inputs[name])
        for i, (name, index) in enumerate(self._inputs):
            array = inputs[name]
            if views[i].shape != array.shape:
                tensor = request.get_input_tensor(index)
                tensor.shape = array.shape
                views[i] = tensor.data
            np.copyto(views[i], array, casting="no")
        request.infer(share_outputs=True)
        return {
            name: (request.get_output_tensor(index).data if view is None else view).copy()
            for name, view, index in self._outputs
        }


_INT32 = np.iinfo(np.int32)


def check_narrow(name: str, array: Array) -> None:
    """The engine computes 64-bit integers in 32 bits, and would cut larger values off without a word."""
    if array.size and (array.max() > _INT32.max or array.min() < _INT32.min):
        raise OverflowError(f"input {name!r} has values past 32 bits, and openvino computes integers in 32 bits")

"""A stream of ONNX Runtime whose recurrent state stays in the engine's memory from step to step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edge_runtime.backends import base
from edge_runtime.signature import Signature, input_check, sizes_of
from edge_runtime.values import Array, Device, Tensors


class ResidentStream:
    """Two sets of state tensors that change places: each step reads one and writes the other, and Python touches neither.

    A step that fails has written into the set that is not the state, which is then still that of before.
    """

    def __init__(
        self, value: Any, engine: Callable[[], Any], signature: Signature, names: Mapping[str, str] | None, device: Device
    ) -> None:
        self._value = value
        self._engine = engine
        self._signature = signature
        self._device = device
        own = dict(base.own_names(signature.inputs + signature.outputs, names))
        carried = {pair.output for pair in signature.state}
        self._pairs = [(pair.input, own[pair.input], own[pair.output]) for pair in signature.state]
        self._inputs = base.own_names(signature.stateless_inputs, names)
        self._outputs = [spec.name for spec in signature.outputs if spec.name not in carried]
        self._fetch = [own[name] for name in self._outputs]
        states = {pair.input for pair in signature.state}
        self._check = input_check(spec for spec in signature.inputs if spec.name in states)
        self._sets: list[dict[str, Any]] = []
        self._bindings: list[Any] = []
        self._now = 0

    def run(self, inputs: Tensors) -> dict[str, Array]:
        engine = self._engine()
        if not self._sets:
            self._place(self._signature.zeros(sizes_of(self._signature.stateless_inputs, inputs)))
        try:
            binding = self._bindings[self._now]
            # The engine reads these arrays where they lie, so they are held here until it is done.
            held = [(own, np.asarray(inputs[name], order="C")) for name, own in self._inputs]
            for own, array in held:
                binding.bind_cpu_input(own, array)
            engine.run_with_iobinding(binding)
            given = binding.get_outputs_as_ortvaluevector()
            # The engine writes the next outputs into the same memory.
            values = [given[i].numpy().copy() for i in range(len(self._outputs))]
        except Exception as error:
            raise base.run_error(self._device, error) from error
        self._now = 1 - self._now
        return dict(zip(self._outputs, values, strict=True))

    @property
    def state(self) -> dict[str, Array]:
        if not self._sets:
            return self._signature.zeros({})
        return {name: value.numpy().copy() for name, value in self._sets[self._now].items()}

    @state.setter
    def state(self, state: Tensors) -> None:
        self._check(state)
        self._place(state)

    def reset(self) -> None:
        self._sets, self._bindings = [], []

    def _place(self, state: Tensors) -> None:
        """Make room for a state of these shapes, twice, with these numbers in it. A stream that has such room keeps it."""
        if not self._sets or any(self._sets[0][name].shape() != list(array.shape) for name, array in state.items()):
            self._make_room(state)
        for name, array in state.items():
            self._sets[self._now][name].update_inplace(np.asarray(array, order="C"))

    def _make_room(self, state: Tensors) -> None:
        engine, make = self._engine(), self._value.ortvalue_from_shape_and_type
        sets = [{name: make(array.shape, array.dtype) for name, array in state.items()} for _ in range(2)]
        bindings = []
        for before, after in (sets, reversed(sets)):
            binding = engine.io_binding()
            for name in self._fetch:
                binding.bind_output(name)
            for name, own, sink in self._pairs:
                binding.bind_ortvalue_input(own, before[name])
                binding.bind_ortvalue_output(sink, after[name])
            bindings.append(binding)
        self._sets, self._bindings, self._now = sets, bindings, 0

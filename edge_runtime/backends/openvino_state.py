"""Streams of OpenVINO whose recurrent state stays in the engine's memory: the model made stateful, a request per stream."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_runtime.backends import base
from edge_runtime.backends.openvino_session import OpenvinoSession, Request, Row, Rows, check_narrow
from edge_runtime.errors import BackendError
from edge_runtime.signature import Signature, input_check
from edge_runtime.values import Array, Tensors

STEPS = 3
"""How many steps are compared when a model with resident state is loaded."""


def make_stateful(model: Any, signature: Signature, rows: Rows) -> Rows:
    """Turn a model's pairs of state tensors into variables inside it, and tell where the other tensors are then. Raises
    BackendError where that cannot be."""
    if any(port.partial_shape.is_dynamic for port in model.inputs):
        raise BackendError("resident=True: openvino keeps the state of models with fixed shapes only, and this one's vary")
    inputs, outputs = dict(rows[0]), dict(rows[1])
    try:
        _make_stateful(model, [(pair.input, inputs[pair.input], outputs[pair.output]) for pair in signature.state])
    except Exception as error:
        raise BackendError(f"resident=True: openvino cannot keep this model's state: {base.one_line(error)}") from error
    return (
        _remaining(rows[0], {pair.input for pair in signature.state}),
        _remaining(rows[1], {pair.output for pair in signature.state}),
    )


def _remaining(rows: list[Row], gone: set[str]) -> list[Row]:
    taken = [index for name, index in rows if name in gone]
    return [(name, index - sum(i < index for i in taken)) for name, index in rows if name not in gone]


def _make_stateful(model: Any, pairs: list[tuple[str, int, int]]) -> None:
    from openvino import opset13
    from openvino.passes import MakeStateful, Manager

    nodes = []
    for name, source, sink in pairs:
        parameter, result = model.inputs[source].get_node(), model.outputs[sink].get_node()
        parameter.set_friendly_name(f"{name}:")  # the variable's name will begin with it
        value = result.input_value(0)
        dtype = value.get_element_type().to_dtype()
        if dtype.kind in "fiu":
            # Left alone, the engine (2026.4) joins a state's parts in memory that is not the state's: with a window of
            # samples that moves on (Slice, Concat) the state becomes garbage. Not so where a value is computed last.
            least = -np.inf if dtype.kind == "f" else np.iinfo(dtype).min
            value = opset13.maximum(value, opset13.constant(np.array(least, dtype))).output(0)
            result.input(0).replace_source_output(value)
        nodes.append((parameter, result))
    manager = Manager()
    manager.register_pass(MakeStateful(nodes))
    manager.run_passes(model)


class ResidentStream:
    """One infer request of a stateful model: its variables are the state."""

    def __init__(self, session: OpenvinoSession, compiled: Any, rows: Rows) -> None:
        self._session = session
        self._request = Request(compiled, *rows)
        specs = {spec.name: spec for spec in session.signature.inputs}
        states = [specs[pair.input] for pair in session.signature.state]
        variables = {variable.name: variable for variable in self._request.own.query_state()}
        self._variables = {
            spec.name: next(found for name, found in variables.items() if name.startswith(f"{spec.name}:"))
            for spec in states
        }
        self._check = input_check(states)

    def run(self, inputs: Tensors) -> dict[str, Array]:
        if self._session.closed:
            raise base.closed_error(self._session.device)
        try:
            return self._request.run(inputs)
        except Exception as error:
            raise base.run_error(self._session.device, error) from error

    @property
    def state(self) -> dict[str, Array]:
        return {name: variable.state.data.copy() for name, variable in self._variables.items()}

    @state.setter
    def state(self, state: Tensors) -> None:
        from openvino import Tensor

        self._check(state)
        try:
            for name, array in state.items():
                if array.dtype in (np.int64, np.uint64):
                    check_narrow(name, array)
            for name, array in state.items():
                self._variables[name].state = Tensor(np.array(array, order="C"))
        except Exception as error:
            raise base.run_error(self._session.device, error) from error

    def reset(self) -> None:
        for variable in self._variables.values():
            variable.reset()


def check_stream(session: OpenvinoSession) -> None:
    """Raise BackendError unless a stream of this session gives, for a few steps of noise, what its runs give."""
    signature, noise = session.signature, np.random.default_rng(0)
    resident, explicit = session.stream(), base.StateStream(session)
    for _ in range(STEPS):
        given = {
            spec.name: (noise.random(spec.sized({})) * (np.dtype(spec.dtype).kind == "f")).astype(spec.dtype)
            for spec in signature.stateless_inputs
        }
        found, wanted = resident.run(given), explicit.run(given)
        found, wanted = found | resident.state, wanted | explicit.state
        for name, array in wanted.items():
            near = 1e-2 * float(np.abs(array.astype(np.float64)).max(initial=1e-2))
            if not np.allclose(found[name], array, rtol=1e-2, atol=near, equal_nan=True):
                raise BackendError(f"resident=True: openvino's {name!r} is not what it is with the state handed over")

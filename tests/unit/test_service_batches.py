"""Calls that run together in the endpoint's service, and those that are not let in."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from pathlib import Path

import numpy as np
import pytest

from cloud_bridge.endpoint.jobs import Answer
from cloud_bridge.endpoint.rows import joinable, split
from cloud_bridge.endpoint.service import Service
from cloud_bridge.protocol import oip
from cloud_bridge.protocol.message import Message, waiting
from edge_runtime.bundles.store import Bundle, Store
from edge_runtime.engines import Candidate, Loaded
from edge_runtime.errors import RunError
from edge_runtime.remote import Call
from edge_runtime.signature import Signature, TensorSpec
from edge_runtime.values import Array, Tensors
from tests.bundles import write_bundle
from tests.doubles import HERE, PythonSession
from tests.endpoint import GatedSession, eventually

AMPLE = 30.0


class Counting(GatedSession):
    """Keeps how many rows each run had; fails on rows that are below zero."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[int] = []
        self.gate.set()

    def run(self, inputs: Tensors) -> dict[str, Array]:
        outputs = super().run(inputs)
        self.rows.append(len(inputs["x"]))
        if self.rows and (inputs["x"] == -1).any():
            raise RunError("a row that the engine does not like")
        return outputs


class Mixing(PythonSession):
    """Looks over all rows."""

    def run(self, inputs: Tensors) -> dict[str, Array]:
        return {"y": super().run(inputs)["y"] - inputs["x"].mean()}


Start = Callable[..., Service]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts services that run every model as the session given."""
    store = Store(tmp_path / "store", create=True)
    store.install(write_bundle(tmp_path / "double", "1.0"))
    services: list[Service] = []

    def start(session: PythonSession, **settings: float) -> Service:
        def opener(bundle: Bundle) -> Loaded:
            return Loaded(bundle, Candidate(bundle.manifest.variants[0], HERE), session, "a test")

        services.append(Service(store, opener=opener, **{"workers": 1, **settings}))  # type: ignore[arg-type]
        services[-1].preload()
        return services[-1]

    yield start
    for service in services:
        service.close()


def request(*rows: float, budget: float | None = None) -> Message:
    return oip.encode_request(Call("double", {"x": np.array([[row, row] for row in rows], np.float32)}), budget=budget)


def submit(service: Service, *rows: float, budget: float | None = None) -> Future[Answer]:
    return service.submit("double", None, request(*rows, budget=budget), received=time.monotonic())


def outputs(future: Future[Answer]) -> list[float]:
    answer = future.result(AMPLE)
    assert answer.status == 200
    return [row[0] for row in oip.decode_reply(answer.message).outputs["y"].tolist()]


@pytest.fixture
def gated(start: Start) -> Callable[..., tuple[Counting, Service, Future[Answer]]]:
    """A service with one call that runs until the gate is opened."""

    def gated(**settings: int) -> tuple[Counting, Service, Future[Answer]]:
        session = Counting()
        service = start(session, **settings)
        session.rows.clear()
        session.gate.clear()
        session.begun.clear()
        first = submit(service, 0.0)
        assert session.begun.wait(AMPLE)
        return session, service, first

    return gated


Gated = Callable[..., tuple[Counting, Service, Future[Answer]]]


def test_what_waits_runs_together(gated: Gated) -> None:
    """Calls of one row and of more; each gets its own rows back."""
    session, service, first = gated()
    waiting = [submit(service, *rows) for rows in ((1,), (2, 3), (4,), (5, 6, 7))]
    session.gate.set()
    assert [outputs(future) for future in waiting] == [[2], [4, 6], [8], [10, 12, 14]]
    assert outputs(first) == [0]
    assert session.rows == [1, 7]


def test_no_more_rows_than_may(gated: Gated) -> None:
    """The rest runs after it; a call that has more by itself runs by itself."""
    session, service, _ = gated(rows=4)
    waiting = [submit(service, *rows) for rows in ((1,), (2, 3), (4, 5), (6, 7, 8, 9, 10))]
    session.gate.set()
    assert [outputs(future) for future in waiting] == [[2], [4, 6], [8, 10], [12, 14, 16, 18, 20]]
    assert session.rows == [1, 3, 2, 5]


def test_one_that_fails_does_not_take_others_with_it(gated: Gated) -> None:
    """They run again, each by itself."""
    session, service, _ = gated()
    waiting = [submit(service, row) for row in (1, -1, 3)]
    session.gate.set()
    assert [future.result(AMPLE).status for future in waiting] == [200, 500, 200]
    assert outputs(waiting[2]) == [6]


def test_one_that_leaves_does_not_run(gated: Gated) -> None:
    """Its rows are not among those that run."""
    session, service, _ = gated()
    waiting = [submit(service, row) for row in (1, 2, 3)]
    assert waiting[1].cancel()
    session.gate.set()
    assert outputs(waiting[0]) == [2]
    assert outputs(waiting[2]) == [6]
    assert session.rows == [1, 2]


def test_rows_that_look_at_each_other_do_not_run_together(start: Start) -> None:
    """A trial as the model is opened shows it, whatever its signature says."""
    service = start(Mixing())
    calls = [submit(service, row) for row in (1, 2, 3)]
    assert [outputs(future) for future in calls] == [[1], [2], [3]]
    signature = Signature((TensorSpec("x", "float32", ("N", 2)),), (TensorSpec("y", "float32", ("N", 2)),))
    assert not joinable(Mixing().run, signature, {"N": 1}, None)
    assert joinable(PythonSession().run, signature, {"N": 1}, None)


@pytest.mark.parametrize(
    "shapes", [((2,), ("N",)), (("N",), (2,)), (("N",), ("M",)), ((), ("N",))], ids=["input", "output", "names", "scalar"]
)
def test_only_what_has_rows_throughout_is_tried(shapes: tuple[tuple[int | str, ...], tuple[int | str, ...]]) -> None:
    """Another signature has no rows."""
    signature = Signature((TensorSpec("x", "float32", shapes[0]),), (TensorSpec("y", "float32", shapes[1]),))
    session = PythonSession()
    assert not joinable(session.run, signature, {"N": 1, "M": 1}, None)
    assert session.runs == 0


def test_outputs_without_rows_are_told() -> None:
    """Rather than given to the wrong caller."""
    with pytest.raises(RunError, match="rows"):
        split({"y": np.zeros((3, 2))}, [1, 1])


def test_a_call_that_cannot_make_it_is_refused_at_the_door(start: Start) -> None:
    """503, with what it would have taken; it is not run."""
    session = PythonSession(delay=0.6)
    service = start(session, rows=1)
    assert submit(service, 1).result(AMPLE).status == 200
    running = submit(service, 1)
    eventually(lambda: session.runs == 2, "it runs")
    answer = submit(service, 1, budget=0.7).result(AMPLE)
    assert answer.status == 503
    assert "past its budget" in json.loads(bytes(answer.message.body))["error"]
    assert answer.message.headers["retry-after"] == "1"
    assert running.result(AMPLE).status == 200
    assert session.runs == 2


def test_an_answer_tells_what_the_next_call_would_wait(start: Start) -> None:
    """Nothing when nobody waits; else what those take that do."""
    session = Counting()
    session.gate.clear()
    service = start(session, rows=1)
    running = [submit(service, 1)]
    assert session.begun.wait(AMPLE)
    running += [submit(service, 1) for _ in range(3)]
    threading.Timer(0.05, session.gate.set).start()
    told = [waiting(future.result(AMPLE).message) for future in running]
    assert told[0] is not None
    assert told[0] > 0.0
    assert told[-1] == 0.0


def test_a_quick_call_runs_on_the_thread_that_brings_it(start: Start) -> None:
    """Once it is known to be quick, and only when nothing else runs."""
    session = Counting()
    service = start(session, quick=AMPLE)
    eventually(lambda: submit(service, 1).done(), "a call is done as it is brought")
    session.gate.clear()
    session.begun.clear()
    running = threading.Thread(target=submit, args=(service, 1))
    running.start()
    assert session.begun.wait(AMPLE)
    waiting = submit(service, 1)
    assert not waiting.done()
    session.gate.set()
    running.join(AMPLE)
    assert outputs(waiting) == [2]


def test_priority(gated: Gated) -> None:
    """1 goes before 2, and 2 before those that say nothing."""
    session, service, _ = gated(rows=1)
    order: list[str] = []

    def ask(name: str, priority: int) -> Future[Answer]:
        entry = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
        document = {"inputs": [entry], "parameters": {"priority": priority}}
        future = service.submit("double", None, Message(json.dumps(document).encode()), received=time.monotonic())
        future.add_done_callback(lambda _: order.append(name))
        return future

    futures = [ask("unsaid", 0), ask("second", 2), ask("first", 1), ask("far", 10**9)]
    session.gate.set()
    assert {future.result(AMPLE).status for future in futures} == {200}
    assert order == ["first", "second", "far", "unsaid"]


def test_many_at_once_and_some_that_leave(start: Start) -> None:
    """Each ends once: with its own rows, or cancelled."""
    service = start(PythonSession(delay=0.001), workers=2, waiting=10_000)
    futures: dict[int, Future[Answer]] = {}

    def ask(first: int) -> None:
        chance = random.Random(first)
        for number in range(first, first + 100):
            futures[number] = submit(service, number, budget=AMPLE)
            if chance.random() < 0.2:
                futures[number].cancel()

    threads = [threading.Thread(target=ask, args=(1000 * n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait(futures.values(), AMPLE)
    assert len(futures) == 800
    for number, future in futures.items():
        assert future.cancelled() or outputs(future) == [2 * number]

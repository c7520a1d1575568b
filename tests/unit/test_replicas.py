"""Calls to replicas that are lost, refuse, or say nothing: each is answered or refused within its budget."""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from cloud_bridge.endpoint.grpc_face import Face
from cloud_bridge.endpoint.jobs import Answer
from cloud_bridge.endpoint.metrics import Metrics, joined
from cloud_bridge.endpoint.statistics import Statistics, merged
from cloud_bridge.protocol.grpc_metadata import YES
from cloud_bridge.protocol.message import BUDGET, Message
from edge_runtime.errors import RefusedError
from tests.endpoint import eventually

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray's own
    from ray.exceptions import ActorUnavailableError

    from cloud_bridge.endpoint.replicas import Replicas

ANSWER = Answer(200, Message(b"yes"))
REFUSED = Answer(503, Message(b"no"))
LOST = ActorUnavailableError("gone", None)
AMPLE = 30.0


class Response:
    """What a handle gives for a call."""

    def __init__(self, come: Callable[[], Awaitable[Answer]]) -> None:
        self._come = come
        self.cancelled = False

    def __await__(self) -> Any:
        return self._come().__await__()

    def cancel(self) -> None:
        self.cancelled = True


class Handle:
    """Replicas that answer calls with these, one after another: an Answer, an error to raise, or None for silence."""

    def __init__(self, *answers: Answer | Exception | None) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[Any, ...]] = []
        self.responses: list[Response] = []
        self.infer = SimpleNamespace(remote=self._remote)

    def _remote(self, *call: Any) -> Response:
        self.asked.append(call)
        given = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        self.responses.append(Response(lambda: _come(given)))
        return self.responses[-1]


async def _come(given: Answer | Exception | None) -> Answer:
    if given is None:
        await asyncio.Event().wait()
    if isinstance(given, Exception):
        raise given
    assert given is not None
    return given


@contextmanager
def replicas(handle: Handle) -> Iterator[Replicas]:
    core = Replicas(handle)  # type: ignore[arg-type]
    try:
        yield core
    finally:
        core.close()


def asked(core: Replicas, budget: float | None = None) -> Answer:
    headers = {} if budget is None else {BUDGET: f"{budget * 1e3:.0f}"}
    return core.submit("m", None, Message(b"x", headers), received=time.monotonic()).result(AMPLE)


def test_a_lost_call_is_asked_again() -> None:
    """A replica that dies under a call costs a try, not the answer; what it waited is told to the next."""
    handle = Handle(LOST, LOST, ANSWER)
    with replicas(handle) as core:
        assert asked(core, AMPLE) == ANSWER
    waited = [call[3] for call in handle.asked]
    assert waited == sorted(waited)
    assert len(waited) == 3


def test_without_replicas_the_budget_ends_it() -> None:
    """Where all are lost, the call is refused as late when its budget is over, and it's not asked any more."""
    handle = Handle(LOST)
    with replicas(handle) as core:
        answer = asked(core, 0.2)
        tries = len(handle.asked)
    assert answer.status == 504
    assert 1 < tries < 20
    assert len(handle.asked) == tries


def test_a_silent_replica_is_given_up() -> None:
    """A replica that neither answers nor hangs up is told that nobody waits, when the budget is over."""
    handle = Handle(None)
    with replicas(handle) as core:
        assert asked(core, 0.1).status == 504
        assert handle.responses[0].cancelled


def test_a_call_that_is_given_up_is_cancelled_there() -> None:
    """A client that leaves takes its call from the replica, too."""
    handle = Handle(None)
    with replicas(handle) as core:
        future = core.submit("m", None, Message(b""), received=time.monotonic())
        eventually(lambda: bool(handle.responses), "the replica is asked")
        assert future.cancel()
    assert handle.responses[0].cancelled


def test_a_refusal_is_asked_again_once() -> None:
    """A replica without time may stand beside one that has some; a second refusal is the answer."""
    handle = Handle(REFUSED, ANSWER)
    with replicas(handle) as core:
        assert asked(core, AMPLE) == ANSWER
    handle = Handle(REFUSED)
    with replicas(handle) as core:
        assert asked(core, AMPLE) == REFUSED
        assert len(handle.asked) == 2


def test_where_all_refuse_few_are_asked_again() -> None:
    """An overloaded cluster is not asked everything twice."""
    handle = Handle(REFUSED)
    with replicas(handle) as core:
        for _ in range(100):
            assert asked(core, AMPLE) == REFUSED
    assert len(handle.asked) <= 125


def test_a_defect_is_one_answer(caplog: pytest.LogCaptureFixture) -> None:
    """What nobody foresaw is one caller's 500, and a line in the log."""
    with replicas(Handle(KeyError("what"))) as core:
        assert asked(core, AMPLE).status == 500
    assert "unforeseen" in caplog.text


def test_a_closed_one_refuses() -> None:
    """A budget that is none is told to its caller; after the end calls are refused, not lost."""
    handle = Handle(ANSWER)
    with replicas(handle) as core:
        bad = core.submit("m", None, Message(b"", {BUDGET: "soon"}), received=time.monotonic())
        assert bad.result(AMPLE).status == 400
        core._loop.call_soon_threadsafe(setattr, core, "_closed", True)
        assert asked(core).status == 503
    assert not handle.asked


def test_statistics_of_several_add_up() -> None:
    """The document of replicas is one: counts and times added, runs of as many rows together, the last call's time."""
    both, one, other = Statistics(), Statistics(), Statistics()
    for rows, part in ((1, one), (4, one), (4, other)):
        for each in (both, part):
            each.ran("m", "1", rows=rows, seconds=0.5, waited=[0.25] * rows, failed=0)
    other.ran("n", "1", rows=1, seconds=1.0, waited=[0.0], failed=1)
    both.ran("n", "1", rows=1, seconds=1.0, waited=[0.0], failed=1)
    found, right = merged([one.document(), other.document()]), both.document()
    for document in (found, right):
        for model in document["model_stats"]:
            del model["last_inference"]
    assert found == right
    assert merged([Statistics().document("m"), one.document("m")]) == one.document("m")
    assert merged([Statistics().document("m")] * 2)["model_stats"][0]["inference_count"] == 0


def test_metrics_of_several_are_told_apart() -> None:
    """One text for Prometheus, each family once, each sample with its replica."""
    one, other = Metrics(lambda: 1.0, lambda: 0.5), Metrics(lambda: 0.0, lambda: 0.0)
    one.ended(200)
    other.ended(503)
    text = joined({"0": one.text(), "1": other.text()}).decode()
    assert 'edge_answers_total{replica="0",status="200"} 1.0' in text
    assert 'edge_answers_total{replica="1",status="503"} 1.0' in text
    assert text.count("# TYPE edge_answers_total") == 1


@pytest.mark.parametrize("trouble", [None, LOST, TimeoutError()], ids=["there", "lost", "silent"])
def test_an_endpoint_without_replicas_is_not_ready(trouble: Exception | None) -> None:
    """Load balancers ask: it is ready while a replica says that it is there."""

    def about(timeout_s: float) -> tuple[str, tuple[str, ...]]:
        assert timeout_s <= 2.0
        if trouble is not None:
            raise trouble
        return "/store", ()

    handle = Handle(ANSWER)
    handle.about = SimpleNamespace(remote=lambda: SimpleNamespace(result=about))  # type: ignore[attr-defined]
    with replicas(handle) as core:
        assert asyncio.run(Face(core, ()).whole(b"")) == (b"" if trouble else YES)
        if trouble is None:
            core.check_ready()
            return
        with pytest.raises(RefusedError, match="no replica answers") as refused:
            core.check_ready()
        assert refused.value.status == 503

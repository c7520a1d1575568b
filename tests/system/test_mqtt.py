"""The MQTT client and the endpoint's worker over real brokers: right answers, and one clear error for each failure."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import pytest

from cloud_bridge import broker
from cloud_bridge.client.mqtt import MqttRemote
from cloud_bridge.endpoint.jobs import Answer
from cloud_bridge.endpoint.mqtt import Worker
from cloud_bridge.endpoint.service import Service
from cloud_bridge.protocol.message import Message
from cloud_bridge.protocol.oip import InferRequest, InferResponse, encode_request, encode_response
from edge_runtime.bundles.store import Store
from edge_runtime.errors import (
    CancelledError,
    InputError,
    LateError,
    ProtocolError,
    RefusedError,
    UnreachableError,
)  # fmt: skip
from edge_runtime.remote import Call
from tests.endpoint import eventually
from tests.system.mqtt_parts import (
    WAIT,
    HeldService,
    Stranger,
    call,
    make_store,
    need,
    soon,
    worker_process,
)  # fmt: skip

ROOT = "site-7/lab"


@pytest.fixture(params=get_args(broker.Kind))
def running(request: pytest.FixtureRequest) -> Iterator[broker.Broker]:
    with broker.start(kind=need(request.param)) as started:
        yield started


@pytest.fixture
def mosquitto() -> Iterator[broker.Broker]:
    with broker.start(kind=need("mosquitto")) as started:
        yield started


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("store"))


@pytest.fixture
def service(store: Path) -> Iterator[Service]:
    started = Service(Store(store))
    started.preload()
    yield started
    started.close()


def url_of(running: broker.Broker, query: str = "") -> str:
    return f"{running.url}/{ROOT}{query}"


@pytest.fixture
def worker(running: broker.Broker, service: Service) -> Iterator[Worker]:
    started = Worker(url_of(running), service)
    started.start(WAIT)
    yield started
    started.close()


@pytest.fixture
def remote(running: broker.Broker) -> Iterator[MqttRemote]:
    made = MqttRemote(url_of(running))
    eventually(made.up, "the client is not connected")
    yield made
    made.close()


@pytest.mark.parametrize("elements", [1, 300, 150_000, 1_000_000], ids=["4B", "1kB", "600kB", "4MB"])
def test_round_trip(worker: Worker, remote: MqttRemote, elements: int) -> None:
    """Tensors come back doubled, bit for bit, with what ran them, whatever their size."""
    asked = call(elements)
    reply = remote.send(asked, deadline=soon()).result(WAIT)
    assert list(reply.outputs) == ["y"]
    np.testing.assert_array_equal(reply.outputs["y"], asked.inputs["x"] * 2)
    assert reply.outputs["y"].dtype == np.float32
    assert reply.engine
    assert reply.device
    assert reply.variant == "fp32-onnx"
    assert reply.seconds is not None
    assert reply.seconds >= 0


def test_many_at_once(worker: Worker, remote: MqttRemote) -> None:
    """Each of many calls that cross gets its own answer."""
    asked = [Call("double", {"x": np.full((1, 3), i, np.float32)}) for i in range(40)]
    pending = [remote.send(each, deadline=soon()) for each in asked]
    for i, each in enumerate(pending):
        assert each.result(WAIT).outputs["y"][0, 0] == 2 * i


def test_probe_and_health(worker: Worker, remote: MqttRemote) -> None:
    """A probe of any size is answered without outputs, and a worker that answers is healthy."""
    assert remote.health(WAIT)
    for size in (0, 1, 100_000):
        assert remote.probe(size).result(WAIT).outputs == {}


def test_a_certain_version(worker: Worker, remote: MqttRemote) -> None:
    """The version travels: the one that is there answers, another is refused as not found."""
    asked = call()
    right = Call("double", asked.inputs, version="1.2")
    assert remote.send(right, deadline=soon()).result(WAIT).variant == "fp32-onnx"
    with pytest.raises(RefusedError, match="404") as caught:
        remote.send(Call("double", asked.inputs, version="9"), deadline=soon()).result(WAIT)
    assert caught.value.status == 404
    with pytest.raises(InputError):
        remote.send(Call("double", asked.inputs, version="1\n2"), deadline=soon())


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        (Call("nothing", {"x": np.zeros((1, 2), np.float32)}), 404),
        (Call("double", {"z": np.zeros((1, 2), np.float32)}), 400),
        (Call("double", {"x": np.zeros((1, 2), np.float64)}), 400),
        (Call("double", {"x": np.zeros((2,), np.float32)}), 400),
    ],
    ids=["model", "name", "dtype", "rank"],
)
def test_a_wrong_call(worker: Worker, remote: MqttRemote, wrong: Call, status: int) -> None:
    """The endpoint's no arrives as RefusedError with its status and its reason."""
    with pytest.raises(RefusedError, match=str(status)) as caught:
        remote.send(wrong, deadline=soon()).result(WAIT)
    assert caught.value.status == status
    assert remote.send(call(), deadline=soon()).result(WAIT)


def test_a_name_that_no_topic_holds(remote: MqttRemote) -> None:
    """A model's name that would change the topic is refused before anything leaves."""
    with pytest.raises(InputError, match="over MQTT"):
        remote.send(Call("../things/+", call().inputs), deadline=soon())


def test_no_broker() -> None:
    """Without a broker a client is made at once, and tells at once why it cannot send."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    remote = MqttRemote(f"mqtt://127.0.0.1:{port}")
    try:
        eventually(lambda: "refused" in _why(remote), "the reason is not told")
        assert not remote.health(0.2)
    finally:
        remote.close()


def _why(remote: MqttRemote) -> str:
    with pytest.raises(UnreachableError) as caught:
        remote.send(call(), deadline=soon())
    return str(caught.value)


def test_the_broker_is_killed_in_the_middle_of_a_call(running: broker.Broker, remote: MqttRemote, store: Path) -> None:
    """Calls under way fail at once, new ones at the door; with the broker back, client and worker find each other."""
    with worker_process(store, url_of(running)) as process:
        assert remote.health(WAIT)
        process.send_signal(signal.SIGSTOP)
        pending = remote.send(call(), deadline=soon(300))
        started = time.monotonic()
        running.kill()
        with pytest.raises(UnreachableError):
            pending.result(300)
        assert time.monotonic() - started < WAIT
        with pytest.raises(UnreachableError):
            remote.send(call(), deadline=soon())
        process.send_signal(signal.SIGCONT)
        with broker.start(port=running.port, kind=running.kind):
            assert remote.health(2 * WAIT)
            assert remote.send(call(), deadline=soon()).result(WAIT)


def test_the_worker_is_killed_in_the_middle_of_a_call(running: broker.Broker, remote: MqttRemote, store: Path) -> None:
    """The broker's word that the last worker was lost ends the calls under way; a new worker takes over."""
    with worker_process(store, url_of(running)) as process:
        assert remote.health(WAIT)
        process.send_signal(signal.SIGSTOP)
        pending = remote.send(call(), deadline=soon(300))
        process.send_signal(signal.SIGKILL)
        with pytest.raises(UnreachableError, match="worker"):
            pending.result(300)
        with pytest.raises(UnreachableError, match="worker"):
            remote.send(call(), deadline=soon())
        assert not remote.health(0.2)
    with worker_process(store, url_of(running)):
        assert remote.health(WAIT)
        assert remote.send(call(), deadline=soon()).result(WAIT)


def test_a_worker_says_goodbye(running: broker.Broker, remote: MqttRemote, service: Service) -> None:
    """A worker that is closed in order is known to be gone as well, and only when it was the last."""
    workers = [Worker(url_of(running), service) for _ in range(2)]
    for each in workers:
        each.start(WAIT)
    assert remote.health(WAIT)
    workers[0].close()
    assert remote.health(WAIT)
    workers[1].close()
    eventually(lambda: not remote.health(0.01), "the client has not heard of it")
    assert "worker" in _why(remote)


def test_a_worker_answers_what_it_took_before_it_goes(running: broker.Broker, remote: MqttRemote) -> None:
    """Closing a worker waits for the calls under way, and their answers arrive."""
    service = HeldService()
    worker = Worker(url_of(running), cast("Service", service))
    worker.start(WAIT)
    pending = remote.send(call(), deadline=soon())
    future = service.asked.get(timeout=WAIT)[3]
    closing = threading.Thread(target=worker.close)
    closing.start()
    with pytest.raises(LateError, match="goes on"):
        pending.result(0.05)
    future.set_result(Answer(200, encode_response(InferResponse("double", call().inputs), InferRequest({}, binary=True))))
    assert pending.result(WAIT).outputs["x"].shape == (1, 4)
    closing.join(WAIT)
    assert not closing.is_alive()


def test_two_workers_share(running: broker.Broker, remote: MqttRemote) -> None:
    """Each request goes to one worker, and both get some."""
    services = [HeldService(), HeldService()]
    workers = [Worker(url_of(running), cast("Service", each)) for each in services]
    for started in workers:
        started.start(WAIT)
    pending = [remote.send(call(), deadline=soon()) for _ in range(20)]
    eventually(lambda: sum(each.asked.qsize() for each in services) >= 20, "requests were lost")
    answer = Answer(200, encode_response(InferResponse("double", call().inputs), InferRequest({}, binary=True)))
    taken = [each.asked.qsize() for each in services]
    for each in services:
        while not each.asked.empty():
            each.asked.get()[3].set_result(answer)
    for one in pending:
        assert one.result(WAIT)
    assert sum(taken) == 20
    assert min(taken) > 0
    for started in workers:
        started.close()


def test_two_clients_of_one_name(running: broker.Broker, worker: Worker) -> None:
    """Two clients that are given the same thing neither cut each other off nor take each other's answers."""
    remotes = [MqttRemote(url_of(running, "?thing=camera")) for _ in range(2)]
    for each in remotes:
        eventually(each.up, "not connected")
    for i in range(10):
        pending = [
            each.send(Call("double", {"x": np.full((1, 1), i + k, np.float32)}), deadline=soon())
            for k, each in enumerate(remotes)
        ]
        assert [each.result(WAIT).outputs["y"][0, 0] for each in pending] == [2 * i, 2 * i + 2]
    for each in remotes:
        each.close()


def test_the_deadline_holds(running: broker.Broker, remote: MqttRemote) -> None:
    """A call that nobody answers ends at its deadline, however long its caller would wait."""
    started = time.monotonic()
    pending = remote.send(call(), deadline=started + 0.5)
    with pytest.raises(LateError, match="goes on"):
        pending.result(0.05)
    with pytest.raises(LateError, match="deadline"):
        pending.result(300)
    assert 0.5 <= time.monotonic() - started < WAIT
    with pytest.raises(LateError, match="deadline"):
        pending.result(0)


def test_a_deadline_in_the_past(running: broker.Broker, remote: MqttRemote) -> None:
    """Nothing is sent for a call whose time is over already."""
    with Stranger(running, f"{ROOT}/infer/#") as stranger:
        pending = remote.send(call(), deadline=time.monotonic() - 0.001)
        with pytest.raises(LateError):
            pending.result(1)
        assert pending.cancel() == 0
        remote.send(call(9), deadline=soon())
        assert len(stranger.hear().payload) > 36
        assert stranger.heard.empty()


def test_what_a_request_says(running: broker.Broker, remote: MqttRemote) -> None:
    """A request tells its answer's topic, a correlation, the time left (twice), and how to read it."""
    with Stranger(running, f"{ROOT}/infer/#") as stranger:
        remote.send(Call("double", call().inputs, version="1.2"), deadline=soon(1.5))
        said = stranger.hear()
    assert said.topic == f"{ROOT}/infer/double/{remote.thing}"
    assert said.qos == 0
    assert said.reply_to == f"{ROOT}/things/{remote.thing}/infer-rsp"
    assert len(said.correlation or b"") == 16
    assert said.expiry in (1, 2)
    told = said.told
    assert 0 < float(told["budget-ms"]) <= 1500
    assert told["model-version"] == "1.2"
    assert said.payload[: int(told["inference-header-content-length"])].startswith(b"{")
    assert said.content_type == told["content-type"] == "application/octet-stream"


def test_closing(running: broker.Broker) -> None:
    """Closing cancels what is under way; what is asked after it fails; closing again does nothing."""
    remote = MqttRemote(url_of(running))
    eventually(remote.up, "not connected")
    pending = remote.send(call(), deadline=soon())
    remote.close()
    with pytest.raises(CancelledError):
        pending.result(WAIT)
    assert "closed" in _why(remote)
    assert not remote.health(0.1)
    remote.close()


def test_cancelling(running: broker.Broker, remote: MqttRemote) -> None:
    """A cancelled call raises CancelledError, counts its bytes once, and the worker drops it if it still waits there."""
    service = HeldService()
    worker = Worker(url_of(running), cast("Service", service))
    worker.start(WAIT)
    pending = remote.send(call(1000), deadline=soon())
    *_, message, future = service.asked.get(timeout=WAIT)
    left = pending.cancel()
    assert left == len(message.body)
    assert pending.cancel() == left
    with pytest.raises(CancelledError):
        pending.result(WAIT)
    eventually(future.cancelled, "the worker still wants to run it")
    worker.close()


def test_cancelling_an_answered_call(worker: Worker, remote: MqttRemote) -> None:
    """An answer that is there stays there."""
    pending = remote.send(call(), deadline=soon())
    reply = pending.result(WAIT)
    assert pending.cancel() > 0
    assert pending.result(0) is reply


def test_too_large_for_mosquitto(service: Service) -> None:
    """A broker that tells its limit is never sent more: the call is refused at once and the connection stays."""
    with broker.start(kind=need("mosquitto"), max_packet=50_000) as running:
        worker, remote = Worker(url_of(running), service), MqttRemote(url_of(running))
        worker.start(WAIT)
        assert remote.health(WAIT)
        with pytest.raises(RefusedError, match="50000 bytes at most") as caught:
            remote.send(call(20_000), deadline=soon())
        assert caught.value.status == 413
        fits = next(size for size in range(12_490, 0, -10) if _sent(remote, size))
        assert fits > 12_200
        remote.close()
        worker.close()


def _sent(remote: MqttRemote, elements: int) -> bool:
    try:
        reply = remote.send(call(elements), deadline=soon()).result(WAIT)
    except RefusedError:
        return False
    return reply.outputs["y"].size == elements


def test_an_answer_too_large(mosquitto: broker.Broker) -> None:
    """An answer that the broker would not take is replaced by an error that says so."""
    with broker.start(kind="mosquitto", max_packet=50_000) as running:
        service = HeldService()
        worker, remote = Worker(url_of(running), cast("Service", service)), MqttRemote(url_of(running))
        worker.start(WAIT)
        eventually(remote.up, "not connected")
        pending = remote.send(call(), deadline=soon())
        service.asked.get(timeout=WAIT)[3].set_result(Answer(200, Message(bytes(60_000))))
        with pytest.raises(RefusedError, match="answer is too large"):
            pending.result(WAIT)
        remote.close()
        worker.close()


def test_too_large_for_iotcore(service: Service) -> None:
    """A broker that cuts off who sends too much ends the call; it is not sent again, and the next call is answered."""
    with broker.start(kind=need("iotcore"), max_packet=50_000) as running:
        worker, remote = Worker(url_of(running), service), MqttRemote(url_of(running))
        worker.start(WAIT)
        assert remote.health(WAIT)
        with pytest.raises(UnreachableError):
            remote.send(call(20_000), deadline=soon(300)).result(300)
        assert remote.health(WAIT)
        assert remote.send(call(), deadline=soon()).result(WAIT)
        remote.close()
        worker.close()


def test_a_stolen_answer(running: broker.Broker, worker: Worker) -> None:
    """A request that names another's topic for its answer is refused, on its own thing's topic; the other hears nothing."""
    victim, own = f"{ROOT}/things/victim/infer-rsp", f"{ROOT}/things/thief/infer-rsp"
    with Stranger(running, victim, own) as stranger:
        message = encode_request(call())
        stranger.say(
            f"{ROOT}/infer/double/thief",
            bytes(message.body),
            ResponseTopic=victim,
            CorrelationData=b"1",
            UserProperty=list(message.headers.items()),
        )
        said = stranger.hear()
        assert said.topic == own
        assert said.told["status"] == "400"
        assert b"response topic" in said.payload
        assert stranger.heard.empty()


def test_forged_and_doubled_answers(running: broker.Broker, worker: Worker, remote: MqttRemote) -> None:
    """Answers with unknown, missing or doubled correlation, and answers that are none, change nothing for other calls."""
    topic = f"{ROOT}/things/{remote.thing}/infer-rsp"
    with Stranger(running) as stranger:
        for data in (b"", b"x", bytes(16)):
            stranger.say(topic, b"{}", CorrelationData=data, UserProperty=[("status", "200")])
        stranger.say(topic, b"")
        stranger.say(f"{ROOT}/workers/nobody/status", b"\xff{")
        stranger.say(f"{ROOT}/workers/nobody/status", b'{"state":"asleep"}')
        for _ in range(5):
            assert remote.send(call(), deadline=soon()).result(WAIT)


@pytest.mark.parametrize(
    ("properties", "match"),
    [
        ({}, "without a status"),
        ({"UserProperty": [("status", "2000")]}, "without a status"),
        ({"UserProperty": [("status", "200"), ("Status", "500")]}, "given twice"),
        ({"UserProperty": [("status", "200")]}, "JSON"),
        ({"UserProperty": [(f"x{i}", "y") for i in range(65)]}, "65 user properties"),
    ],
)
def test_an_answer_that_is_none(running: broker.Broker, remote: MqttRemote, properties: dict[str, Any], match: str) -> None:
    """An answer that breaks the protocol is a ProtocolError of its own call."""
    with Stranger(running, f"{ROOT}/infer/#") as stranger:
        pending = remote.send(call(), deadline=soon())
        asked = stranger.hear()
        stranger.say(f"{ROOT}/things/{remote.thing}/infer-rsp", b"[", CorrelationData=asked.correlation, **properties)
        with pytest.raises(ProtocolError, match=match):
            pending.result(WAIT)


def test_rubbish_does_not_hurt_a_worker(running: broker.Broker, worker: Worker, remote: MqttRemote) -> None:
    """Every truncation of a request gets status 400, odd topics and properties get nothing or 400; the worker lives on."""
    message = encode_request(call())
    body, told = bytes(message.body), list(message.headers.items())
    topic, own = f"{ROOT}/infer/double/fuzzer", f"{ROOT}/things/fuzzer/infer-rsp"
    with Stranger(running, own) as stranger:
        cuts = [*range(0, len(body), 7), len(body) - 1]
        for cut in cuts:
            stranger.say(topic, body[:cut], CorrelationData=str(cut).encode(), UserProperty=told)
        assert {stranger.hear().told["status"] for _ in cuts} == {"400"}
        for odd in (
            f"{ROOT}/infer/double/a.b",
            f"{ROOT}/infer/../fuzzer",
            f"{ROOT}/infer/-x/fuzzer",
            f"{ROOT}/cancel/fuzzer",
        ):
            stranger.say(odd, body, UserProperty=told)
        for headers in (
            [("budget-ms", "soon")],
            [("budget-ms", "1"), ("Budget-MS", "2")],
            [(f"x{i}", "") for i in range(65)],
        ):
            stranger.say(topic, body, CorrelationData=b"h", UserProperty=told + headers)
            assert stranger.hear().told["status"] == "400"
        stranger.say(topic, body, CorrelationData=bytes(65), UserProperty=told)
        assert stranger.hear().told["status"] == "400"
        stranger.say(topic, body, UserProperty=told)
        assert stranger.hear().told["status"] == "200"
    assert remote.send(call(), deadline=soon()).result(WAIT)


def test_a_doubled_request(running: broker.Broker, worker: Worker) -> None:
    """A request that arrives twice is run once."""
    message = encode_request(call())
    with Stranger(running, f"{ROOT}/things/twice/infer-rsp") as stranger:
        for correlation in (b"a", b"a", b"b"):
            stranger.say(
                f"{ROOT}/infer/double/twice",
                bytes(message.body),
                CorrelationData=correlation,
                UserProperty=list(message.headers.items()),
            )
        answers = {stranger.hear().correlation for _ in range(2)}
        assert answers == {b"a", b"b"}
        assert stranger.heard.empty()


def test_room_for_requests(running: broker.Broker, remote: MqttRemote) -> None:
    """A request for whose bytes there is no room is refused with 503; an answered one makes room for the next."""
    size = len(encode_request(call(1000)).body)
    service = HeldService(held=2 * size - 1)
    worker = Worker(url_of(running), cast("Service", service))
    worker.start(WAIT)
    answer = Answer(200, encode_response(InferResponse("double", call().inputs), InferRequest({}, binary=True)))
    for _ in range(2):
        first = remote.send(call(1000), deadline=soon())
        future = service.asked.get(timeout=WAIT)[3]
        with pytest.raises(RefusedError, match="too many") as refused:
            remote.send(call(1000), deadline=soon()).result(WAIT)
        assert refused.value.status == 503
        future.set_result(answer)
        assert first.result(WAIT)
    worker.close()


def test_a_budget_that_is_over(running: broker.Broker, worker: Worker) -> None:
    """A request that arrives with no time left gets no inference."""
    message = encode_request(call())
    with Stranger(running, f"{ROOT}/things/late/infer-rsp") as stranger:
        for correlation, budget in ((b"late", "0"), (b"good", "30000")):
            told = [*message.headers.items(), ("budget-ms", budget)]
            stranger.say(f"{ROOT}/infer/double/late", bytes(message.body), CorrelationData=correlation, UserProperty=told)
        said = stranger.hear()
        assert said.correlation == b"good"
        assert said.told["status"] == "200"


def test_a_worker_refuses_a_thing(service: Service) -> None:
    """Options that mean nothing to a worker are refused."""
    with pytest.raises(InputError, match="thing"):
        Worker("mqtt://127.0.0.1/x?thing=a", service)
    with pytest.raises(InputError, match="pool"):
        Worker("mqtt://127.0.0.1/x", service, pool="a/b")

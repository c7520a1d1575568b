"""The endpoint's service, with sessions in Python and no network."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from cloud_bridge.endpoint.jobs import Answer
from cloud_bridge.endpoint.service import Service
from cloud_bridge.protocol import oip
from cloud_bridge.protocol.message import Limits, Message
from edge_runtime.bundles import golden
from edge_runtime.bundles.manifest import MANIFEST, encode
from edge_runtime.bundles.store import Bundle, Store, read_bundle
from edge_runtime.engines import Candidate, Loaded
from edge_runtime.errors import ArtifactError, InputError, NotInstalledError
from edge_runtime.remote import Call
from edge_runtime.signature import Signature
from edge_runtime.values import Array, Tensors
from tests.bundles import SIGNATURE, file_of, write_bundle
from tests.doubles import HERE, PythonSession
from tests.endpoint import GatedSession, eventually

AMPLE = 30.0


class BrokenSession(PythonSession):
    """Has a defect."""

    def run(self, inputs: Tensors) -> dict[str, Array]:
        raise ZeroDivisionError("a defect")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store", create=True)
    for version in ("1.0", "2.0"):
        store.install(write_bundle(tmp_path / version, version), activate=version == "1.0")
    return store


Start = Callable[..., Service]


@pytest.fixture
def start(store: Store) -> Iterator[Start]:
    """Starts services that open every bundle as the session given, and closes them in the end."""
    services: list[Service] = []

    def start(session: PythonSession, workers: int = 1, waiting: int = 8, models: int = 16, rows: int = 1) -> Service:
        def opener(bundle: Bundle) -> Loaded:
            return Loaded(bundle, Candidate(bundle.manifest.variants[0], HERE), session, "a test")

        services.append(Service(store, workers=workers, waiting=waiting, models=models, rows=rows, opener=opener))
        return services[-1]

    yield start
    for service in services:
        service.close()


def request(budget: float | None = None, **inputs: Array) -> Message:
    return oip.encode_request(Call("double", inputs or {"x": np.ones((1, 2), np.float32)}), budget=budget)


def submit(service: Service, message: Message | None = None, version: str | None = None) -> Future[Answer]:
    return service.submit("double", version, message or request(), received=time.monotonic())


def error(answer: Answer) -> str:
    return str(json.loads(bytes(answer.message.body))["error"])


def test_runs(start: Start) -> None:
    """A request gives the model's outputs and says what ran."""
    answer = submit(start(PythonSession())).result(AMPLE)
    assert answer.status == 200
    reply = oip.decode_reply(answer.message)
    assert reply.outputs["y"].tolist() == [[2.0, 2.0]]
    assert (reply.engine, reply.device, reply.variant) == ("python", "CPU", "fp32-onnx")


def test_active_version(start: Start, store: Store) -> None:
    """Without a version the active one answers, also after another one was activated: as soon as that is open."""
    service = start(PythonSession())
    for activate in ("1.0", "2.0", "1.0"):
        store.activate("double", activate)
        eventually(lambda: version_of(submit(service)) == activate, "it answers")  # noqa: B023


def version_of(future: Future[Answer]) -> str:
    message = future.result(AMPLE).message
    length = int(message.headers["inference-header-content-length"])
    version: str = json.loads(bytes(message.body[:length]))["model_version"]
    return version


def test_a_version_that_does_not_open_does_not_take_over(store: Store) -> None:
    """The old one goes on answering, the index says why, and nobody tries again and again; who asks for it is told."""
    tries = []

    def opener(bundle: Bundle) -> Loaded:
        tries.append(bundle.manifest.version)
        if bundle.manifest.version == "2.0":
            raise ArtifactError("model.onnx is damaged")
        return Loaded(bundle, Candidate(bundle.manifest.variants[0], HERE), PythonSession(), "a test")

    service = Service(store, rows=1, opener=opener)
    assert version_of(submit(service)) == "1.0"
    store.activate("double", "2.0")

    def given_up() -> bool:
        assert version_of(submit(service)) == "1.0"
        return any("damaged" in entry.reason for entry in service.index())

    eventually(given_up, "the index says why")
    assert version_of(submit(service)) == "1.0"
    assert tries == ["1.0", "2.0"]
    assert submit(service, version="2.0").result(AMPLE).status == 500
    service.close()


def test_a_version_whose_files_were_changed_does_not_take_over(start: Start, store: Store) -> None:
    """Its digests are looked at before it is opened."""
    service = start(PythonSession())
    assert version_of(submit(service)) == "1.0"
    (store.bundle("double", "2.0").folder / "model.onnx").write_bytes(b"changed")
    store.activate("double", "2.0")

    def given_up() -> bool:
        assert version_of(submit(service)) == "1.0"
        return any("did not take over" in entry.reason for entry in service.index())

    eventually(given_up, "the index says so")


def test_a_model_that_does_not_give_its_golden_outputs_is_not_served(tmp_path: Path) -> None:
    """Neither when it is the first: it would answer wrongly."""
    x = [{"x": np.ones((1, 2), np.float32)}] * 2
    for name, factor, status in (("right", 2, 200), ("wrong", 3, 500)):
        folder = write_bundle(tmp_path / name, name=name)
        golden.write(folder / "golden.npz", SIGNATURE, x, [{"y": factor * x[0]["x"]}] * 2)
        manifest = read_bundle(folder).manifest
        variants = (structs.replace(manifest.variants[0], tolerance=0.01),)
        described = file_of("golden.npz", (folder / "golden.npz").read_bytes())
        (folder / MANIFEST).write_bytes(encode(structs.replace(manifest, variants=variants, golden=described)))
        store = Store(tmp_path / "golden", create=True)
        store.install(folder)

        def opener(bundle: Bundle) -> Loaded:
            return Loaded(bundle, Candidate(bundle.manifest.variants[0], HERE), PythonSession(), "a test")

        service = Service(store, rows=1, opener=opener)
        answer = service.submit(name, None, request(), received=time.monotonic()).result(AMPLE)
        assert answer.status == status
        if status != 200:
            assert "golden" in error(answer)
        service.close()


@pytest.mark.parametrize(
    ("name", "version"),
    [("other", None), ("double", "9"), ("double", "9" * 5000), ("../double", None), ("double", "../1.0")],
)
def test_not_installed(start: Start, name: str, version: str | None) -> None:
    """What the store does not hold, and what cannot be a name, is 404, called and described."""
    service = start(PythonSession())
    answer = service.submit(name, version, request(), received=time.monotonic()).result(AMPLE)
    assert answer.status == 404
    with pytest.raises(NotInstalledError):
        service.metadata(name, version)
    with pytest.raises(NotInstalledError):
        service.open(name, version)


def test_overload(start: Start) -> None:
    """Past the running and the waiting, a call is refused at once with 503 and a time to come back."""
    session = GatedSession()
    service = start(session, workers=1, waiting=2)
    accepted = [submit(service) for _ in range(3)]
    refused = submit(service)
    assert refused.done()
    answer = refused.result()
    assert answer.status == 503
    assert answer.message.headers["retry-after"] == "1"
    session.gate.set()
    assert [future.result(AMPLE).status for future in accepted] == [200, 200, 200]
    assert submit(service).result(AMPLE).status == 200


def test_cancelled_before_its_turn(start: Start) -> None:
    """A call that is cancelled while it waits is not run, and its place is free again."""
    session = GatedSession()
    service = start(session, workers=1, waiting=1)
    first = submit(service)
    assert session.begun.wait(AMPLE)
    second = submit(service)
    assert second.cancel()
    third = submit(service)
    session.gate.set()
    assert first.result(AMPLE).status == third.result(AMPLE).status == 200
    assert session.runs == 2


def test_late_at_the_door(start: Start) -> None:
    """A call whose budget is over when it arrives is 504 at once and not run."""
    session = PythonSession()
    service = start(session)
    late = service.submit("double", None, request(0.1), received=time.monotonic() - 0.2)
    assert late.done()
    assert late.result().status == 504
    assert session.runs == 0


@pytest.mark.parametrize("where", ["header", "parameter"])
def test_late_in_the_queue(start: Start, where: str) -> None:
    """A call whose budget ends while it waits is 504 when its turn comes, and not run."""
    session = GatedSession()
    service = start(session)
    first = submit(service)
    assert session.begun.wait(AMPLE)
    if where == "header":
        message = request(0.02)
    else:
        entry = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
        message = Message(json.dumps({"inputs": [entry], "parameters": {"timeout": 20_000}}).encode())
    received = time.monotonic()
    second = service.submit("double", None, message, received=received)
    while time.monotonic() < received + 0.03:
        time.sleep(0.005)
    session.gate.set()
    assert first.result(AMPLE).status == 200
    assert second.result(AMPLE).status == 504
    assert session.runs == 1


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (Message(b"junk"), "JSON"),
        (Message(b"", {"budget-ms": "soon"}), "budget-ms"),
        (request(x=np.ones((1, 3), np.float32)), "shape"),
        (request(y=np.ones((1, 2), np.float32)), "unknown: y"),
        (Message(b'{"inputs": [], "outputs": [{"name": "z"}]}'), "x"),
    ],
    ids=["junk", "budget", "shape", "name", "missing"],
)
def test_bad_requests(start: Start, message: Message, words: str) -> None:
    """What cannot be read or does not fit the model is 400, says why, and is not run."""
    session = PythonSession()
    answer = submit(start(session), message).result(AMPLE)
    assert answer.status == 400
    assert words in error(answer)
    assert session.runs == 0


def test_output_that_is_not_there(start: Start) -> None:
    """An output that the model does not have is refused before the model runs."""
    session = PythonSession()
    entry = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    message = Message(json.dumps({"inputs": [entry], "outputs": [{"name": "z"}]}).encode())
    answer = submit(start(session), message).result(AMPLE)
    assert answer.status == 400
    assert "no output 'z'" in error(answer)
    assert session.runs == 0


def test_defect(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """A defect is one caller's 500 that tells nothing of the inside, a line in the log, and the worker lives on."""
    service = start(BrokenSession())
    for _ in range(2):
        answer = submit(service).result(AMPLE)
        assert answer.status == 500
        assert "a defect" not in error(answer)
    assert "ZeroDivisionError" in caplog.text


class OddForm:
    """Reads as the protocol does, and cannot write."""

    def is_quick(self, message: Message) -> bool:
        return oip.is_quick(message)

    def decode_request(self, message: Message, limits: Limits, signature: Signature | None) -> oip.InferRequest:
        return oip.decode_request(message, limits, signature)

    def encode_response(self, response: oip.InferResponse, request: oip.InferRequest) -> Message:
        raise ZeroDivisionError("a defect")


def test_defect_in_writing(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """Is that call's 500 too, and the worker lives on."""
    service = start(PythonSession())
    for _ in range(2):
        odd = service.submit("double", None, request(), received=time.monotonic(), form=OddForm())
        assert odd.result(AMPLE).status == 500
    assert submit(service).result(AMPLE).status == 200
    assert "ZeroDivisionError" in caplog.text


def test_artifact_that_does_not_load(store: Store) -> None:
    """A model that no engine loads is 500 with the engine's reason, each time it is asked for."""
    tries = []

    def opener(bundle: Bundle) -> Loaded:
        tries.append(bundle)
        raise ArtifactError("model.onnx is damaged")

    service = Service(store, opener=opener)
    for _ in range(2):
        answer = submit(service).result(AMPLE)
        assert answer.status == 500
        assert "damaged" in error(answer)
    service.close()
    assert len(tries) == 2


def test_opened_once(store: Store) -> None:
    """However many ask at the same time, a model is opened once."""
    opened = []

    def opener(bundle: Bundle) -> Loaded:
        opened.append(bundle.manifest.version)
        time.sleep(0.01)
        return Loaded(bundle, Candidate(bundle.manifest.variants[0], HERE), PythonSession(), "a test")

    service = Service(store, workers=4, opener=opener)
    assert {future.result(AMPLE).status for future in [submit(service) for _ in range(20)]} == {200}
    assert service.preload() == ("double",)
    service.close()
    assert opened == ["1.0"]


def test_models_kept_open(store: Store) -> None:
    """The models used last are kept; one more lets go of the one that was not used longest."""
    opened = []

    def opener(bundle: Bundle) -> Loaded:
        opened.append(bundle.manifest.version)
        return Loaded(bundle, Candidate(bundle.manifest.variants[0], HERE), PythonSession(), "a test")

    service = Service(store, models=1, opener=opener)
    for version in ("1.0", "1.0", "2.0", "1.0"):
        assert submit(service, version=version).result(AMPLE).status == 200
    service.close()
    assert opened == ["1.0", "2.0", "1.0"]


def test_close(start: Start) -> None:
    """Closing lets what runs end, drops what waits, refuses what comes, and closes the sessions."""
    session = GatedSession()
    service = start(session)
    first = submit(service)
    assert session.begun.wait(AMPLE)
    second = submit(service)
    closer = threading.Thread(target=service.close)
    closer.start()
    while not second.cancelled():
        time.sleep(0.001)
    session.gate.set()
    closer.join(AMPLE)
    assert first.result(AMPLE).status == 200
    assert session.closed
    assert submit(service).result(AMPLE).status == 503


def test_metadata(start: Start) -> None:
    """A model's description comes from its manifest, with every version that is installed."""
    found = start(PythonSession()).metadata("double")
    assert found.versions == ("1.0", "2.0")
    assert found.inputs == (oip.TensorMetadata("x", "FP32", (-1, 2)),)


@pytest.mark.parametrize("odd", [{"workers": 0}, {"waiting": -1}, {"models": 0}])
def test_odd_settings(store: Store, odd: dict[str, int]) -> None:
    """A service that could not work is refused when it is made."""
    with pytest.raises(InputError):
        Service(store, **odd)  # type: ignore[arg-type]

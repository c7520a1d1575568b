"""Orders to a device."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest

from cloud_bridge.protocol.fleet.commands import (
    LARGEST,
    LIFETIME,
    Activate,
    Benchmark,
    CollectLog,
    Command,
    Deploy,
    Document,
    Health,
    Rollback,
    Tune,
    decode_document,
    digest,
    encode_document,
)
from edge_runtime.errors import InputError, ProtocolError
from edge_runtime.objective import Objective

DIGEST = "ab" * 32
DEPLOY = Deploy(
    model="text", version="1.2", digest=DIGEST, target="text/1.2.bundle", health=Health(p99=0.05, failures=0.01), soak=30.0
)
COMMANDS: list[Command] = [
    DEPLOY,
    Activate(model="text", version="1.1", soak=5.0),
    Rollback(model="text"),
    Benchmark(models=("text",), runs=10, seconds=1.5, device="onnx:CPU"),
    Tune(models=("text", "face"), objective=Objective("cpu", busy=True)),
    CollectLog(most=1000),
]


def document(command: Command = DEPLOY, *, life: float = 60.0, things: tuple[str, ...] = ("press-17",)) -> Document:
    return Document(job_id="j1", issued_at=1000.0, expires_at=1000.0 + life, command=command, things=things)


def raw(**changes: Any) -> bytes:
    """A document of a deploy, with some fields of the command as given; None takes one away."""
    made = msgspec.json.decode(encode_document(document()))
    made["command"] = {name: value for name, value in {**made["command"], **changes}.items() if value is not None}
    return msgspec.json.encode(made)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_each_command_comes_back(command: Command) -> None:
    """As what it was, by its operation."""
    data = encode_document(document(command))
    assert decode_document(data) == document(command)
    assert msgspec.json.decode(data)["command"]["operation"] == command.__struct_config__.tag


def test_the_form_of_a_document_stays() -> None:
    """Its digest is what a device remembers a job by."""
    data = encode_document(document(Rollback(model="text")))
    assert data == (
        b'{"command":{"model":"text","operation":"rollback"},"expiresAt":1060.0,"issuedAt":1000.0,"jobId":"j1",'
        b'"things":["press-17"]}'
    )
    assert digest(data) == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    "changes",
    [
        {"operation": "format-disk"}, {"operation": None}, {"model": "../etc"}, {"model": None}, {"version": "latest"},
        {"version": "1.0\n"}, {"digest": "AB" * 32}, {"digest": "ab"}, {"target": "/etc/passwd"}, {"target": "a/../b"},
        {"target": "a//b"}, {"target": ".hidden"}, {"target": "a\\b"}, {"target": "a" * 300}, {"target": ""},
        {"soak": -1.0}, {"soak": 1e9}, {"health": {"p99": 0.0}}, {"health": {"failures": 1.5}}, {"health": []},
        {"health": {"p999": 0.1}}, {"force": True},
    ],
)  # fmt: skip
def test_an_order_that_is_not_understood_is_refused(changes: dict[str, Any]) -> None:
    """In the whole or in a part: an unknown limit too, since to act without it is not what was ordered."""
    with pytest.raises(ProtocolError, match="this is not a Document"):
        decode_document(raw(**changes))


@pytest.mark.parametrize(
    "command",
    [
        {"operation": "benchmark", "models": []}, {"operation": "benchmark", "models": ["text"] * 33},
        {"operation": "benchmark", "models": ["text"], "seconds": 0.0}, {"operation": "benchmark", "models": ["../text"]},
        {"operation": "tune", "models": ["text"], "objective": {"metric": "fame"}}, {"operation": "collect-log", "most": 0},
        {"operation": "collect-log", "most": 1 << 30}, {"operation": "rollback"},
    ],
)  # fmt: skip
def test_an_order_without_sense_is_refused(command: dict[str, Any]) -> None:
    """Of any operation: too few models, too many, no time, nothing to send."""
    made = msgspec.json.decode(encode_document(document()))
    with pytest.raises(ProtocolError, match="this is not a Document"):
        decode_document(msgspec.json.encode(made | {"command": command}))


@pytest.mark.parametrize("life", [0.0, -1.0, LIFETIME + 1.0, float("inf"), float("nan")])
def test_a_job_ends(life: float) -> None:
    """After it began, and while devices still remember it."""
    with pytest.raises(InputError, match="expire after it was issued"):
        document(life=life)


def test_a_job_is_meant_for_somebody() -> None:
    """By name, or by group."""
    with pytest.raises(InputError, match="meant for nobody"):
        document(things=())
    one = Document(job_id="j", issued_at=0.0, expires_at=1.0, command=DEPLOY, things=("a", "b"), groups=("canary",))
    assert one.is_for("a", ())
    assert one.is_for("c", ("other", "canary"))
    assert not one.is_for("c", ("other",))
    assert not one.is_for("canary", ("a",))


def test_what_no_device_would_take_is_not_written() -> None:
    """A name that is none, and more than fits."""
    with pytest.raises(InputError, match="this cannot be a job"):
        encode_document(document(Rollback(model="No Model")))
    with pytest.raises(InputError, match=f"at most {LARGEST} are read"):
        encode_document(document(things=tuple(f"{number:064}" for number in range(1000))))
    with pytest.raises(ProtocolError, match="too many"):
        decode_document(b" " * (LARGEST + 1))


def test_an_objective_that_is_none_is_refused() -> None:
    """Where the tournament would refuse it too."""
    with pytest.raises(ProtocolError, match="rate of -1"):
        decode_document(
            b'{"jobId":"j","issuedAt":0,"expiresAt":9,"things":["t"],'
            b'"command":{"operation":"tune","models":["m"],"objective":{"rate":-1}}}'
        )

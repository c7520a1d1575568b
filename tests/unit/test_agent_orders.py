"""What a signed order is on a device: each command, the budgets that it is held to, and whose keys count."""

from __future__ import annotations

import json
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_bridge.agent.commands import resolve, steps_of
from cloud_bridge.agent.figures import figures
from cloud_bridge.agent.orders import Orders, digest_of, moved_by, read_keys
from cloud_bridge.protocol.fleet.commands import (
    Activate,
    Command,
    Deploy,
    Document,
    Health,
    Rollback,
    digest,
    encode_document,
)
from cloud_bridge.signing import generate, read_private, sign
from edge_runtime.errors import InputError, ProtocolError
from tests.messages import documents

DIGEST = "ab" * 32
NOW = 1.8e9


@pytest.mark.parametrize(
    ("command", "p99"),
    [
        (Deploy(model="a", version="1", digest=DIGEST, target="a/a-1.bundle", soak=3.0, tune=True), 0.05),
        (Deploy(model="b", version="1", digest=DIGEST, target="t", health=Health(failures=0.1)), None),
        (Activate(model="a", version="1", health=Health(p99=0.2, failures=0.1), soak=1.0), 0.2),
        (Activate(model="a", version="1"), 0.05),
        (Rollback(model="a"), None),
    ],
)
def test_a_version_whose_latency_is_left_open_is_held_to_the_model_s_budget(command: Command, p99: float | None) -> None:
    """The budget is this device's; all else that the order says is kept."""
    held = resolve(command, {"a": 0.05})
    if isinstance(held, Deploy | Activate):
        assert isinstance(command, Deploy | Activate)
        assert held.health == msgspec.structs.replace(command.health, p99=p99)
        held = msgspec.structs.replace(held, health=command.health)
    assert held == command


@given(documents())
def test_every_order_is_understood(document: Document) -> None:
    """Whatever its schema allows is work with steps of different names."""
    names = [step.name for step in steps_of(resolve(document.command, {}))]
    assert names
    assert len(set(names)) == len(names)


@given(documents())
def test_a_job_is_known_by_what_was_signed(document: Document) -> None:
    """However its envelope is written, and whoever has signed; and its model is told."""
    payload = encode_document(document)
    from base64 import b64encode

    def envelope(signatures: list[dict[str, str]], indent: int | None) -> bytes:
        told = {
            "payload": b64encode(payload).decode(), "payloadType": "application/vnd.edge-runtime.job+json",
            "signatures": signatures,
        }  # fmt: skip
        return json.dumps(told, indent=indent).encode()

    one, other = envelope([], None), envelope([{"keyid": "1f4a", "sig": "AAAA"}], 2)
    assert one != other
    assert digest_of(one) == digest_of(other) == digest(payload)
    assert moved_by(one) == (document.command.model if isinstance(document.command, Deploy | Activate | Rollback) else None)


@given(st.binary(max_size=100))
def test_what_is_no_envelope_has_a_digest_too(data: bytes) -> None:
    """Of its bytes: it will be refused, each time."""
    assert len(digest_of(data)) == 64


def test_only_known_keys_in_sufficient_number_are_obeyed(tmp_path: Path) -> None:
    """From files, or a folder of them; where it could never be enough, that is told at once."""
    keys = []
    for name in ("one", "two", "three"):
        generate(tmp_path / name)
        keys.append(read_private(tmp_path / name))
    known = read_keys(tmp_path)
    assert len(known) == 3
    assert read_keys(tmp_path / "one.pub") == (keys[0].public,)
    orders = Orders("press-17", ("canary",), known[:2], 2, lambda: NOW, dict)
    document = Document(job_id="j", issued_at=NOW, expires_at=NOW + 60, groups=("canary",), command=Rollback(model="a"))
    assert orders.read(sign(document, *[key for key in keys if key.public in known[:2]])).expires == NOW + 60
    with pytest.raises(ProtocolError, match="1 of 2"):
        orders.read(sign(document, *[key for key in keys if key.public in known[1:]]))
    for threshold in (0, 3):
        with pytest.raises(InputError, match="signatures are asked for"):
            Orders("press-17", (), known[:2], threshold, time.time, dict)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no public key"):
        read_keys(tmp_path / "empty")


def test_an_order_that_is_read_again_may_be_over_by_then(tmp_path: Path) -> None:
    """Whoever signed it; and one that differs by a byte is looked at anew."""
    generate(tmp_path / "operator")
    clock = [NOW]
    orders = Orders("press-17", (), read_keys(tmp_path / "operator.pub"), 1, lambda: clock[0], dict)
    document = Document(job_id="a", issued_at=NOW, expires_at=NOW + 60.0, things=("press-17",), command=Rollback(model="m"))
    envelope = sign(document, read_private(tmp_path / "operator"))
    assert orders.read(envelope) == orders.read(envelope)
    changed = json.loads(envelope)
    changed["signatures"][0]["sig"] = "A" * 86 + "=="
    with pytest.raises(ProtocolError, match="is wrong"):
        orders.read(json.dumps(changed).encode())
    clock[0] = NOW + 61.0
    with pytest.raises(ProtocolError, match="expired"):
        orders.read(envelope)


def test_figures_are_what_the_system_tells(tmp_path: Path) -> None:
    """And what it does not tell, or tells as nonsense, is left out."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal:       100 kB\nMemAvailable:       42 kB\n")
    for number, text in enumerate(("51500\n", "nonsense", "300000", "-5000")):
        zone = tmp_path / f"sys/class/thermal/thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "temp").write_text(text)
    told = figures(tmp_path, unix=NOW, uptime=5.0, waiting=2, root=tmp_path)
    assert (told.memory, told.temperature, told.waiting, told.uptime) == (42 * 1024, 51.5, 2, 5.0)
    assert told.free is not None
    nothing = figures(tmp_path / "none", unix=NOW, uptime=5.0, waiting=0, root=tmp_path / "none")
    assert (nothing.memory, nothing.temperature, nothing.free) == (None, None, None)

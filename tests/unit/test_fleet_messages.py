"""The fleet's messages: each is read back as it was, and whatever bytes come, they are a value or a ProtocolError."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud_bridge.protocol.fleet import jobs, shadow
from cloud_bridge.protocol.fleet.commands import Document, decode_document, encode_document
from cloud_bridge.protocol.fleet.jobs import Next, decode_next
from cloud_bridge.protocol.fleet.presence import Status
from cloud_bridge.protocol.fleet.rpc import decode_question
from cloud_bridge.protocol.fleet.schema import MESSAGES, SAID, file_of, schema
from cloud_bridge.protocol.fleet.topics import KINDS, RESULT, RPC, RPC_ANSWER
from cloud_bridge.protocol.fleet.wire import LIMIT, decode, encode
from edge_runtime.errors import InputError, ProtocolError
from tests.messages import json_values, values

SCHEMAS = Path(__file__).parents[2] / "docs" / "fleet"
kinds = st.sampled_from(sorted(MESSAGES))
VALIDATORS = {name: jsonschema.Draft202012Validator(msgspec.json.decode(schema(name))) for name in MESSAGES}
slow = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@slow
@given(kinds.flatmap(lambda name: values(MESSAGES[name])))
def test_each_message_comes_back(message: msgspec.Struct) -> None:
    """From its bytes, with nothing lost."""
    assert decode(encode(message), type(message)) == message


@settings(slow, max_examples=50)
@given(kinds.flatmap(lambda name: st.tuples(st.just(name), values(MESSAGES[name]))))
def test_the_schema_lets_pass_what_is_sent(sent: tuple[str, msgspec.Struct]) -> None:
    """Whatever the message."""
    name, message = sent
    VALIDATORS[name].validate(msgspec.json.decode(encode(message)))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    """By every reader."""
    for name in MESSAGES:
        with contextlib.suppress(ProtocolError):
            decode(data, MESSAGES[name])
    for read in (decode_next, decode_document, lambda data: decode_question("status", data)):
        with contextlib.suppress(ProtocolError):
            read(data)


@slow
@given(kinds.flatmap(lambda name: values(MESSAGES[name])), st.data())
def test_a_damaged_message_is_a_message_or_refused(message: msgspec.Struct, data: st.DataObject) -> None:
    """Cut, overwritten, or with another value in the place of one."""
    whole = encode(message)
    at = data.draw(st.integers(0, len(whole)))
    fields: dict[str, Any] = msgspec.json.decode(whole)
    if fields:
        fields[data.draw(st.sampled_from(sorted(fields)))] = data.draw(json_values)
    for damaged in (
        whole[:at],
        whole[:at] + data.draw(st.binary(max_size=4)) + whole[at + 2 :],
        msgspec.json.encode(fields),
    ):
        for read in (lambda data: decode(data, type(message)), decode_next):
            with contextlib.suppress(ProtocolError):
                read(damaged)


@pytest.mark.parametrize("data", [b"[" * 100_000, b'{"state":' * 10_000, b'"\xff"', b'{"a": NaN}', b"", b"[]"])
def test_hostile_json_is_refused(data: bytes) -> None:
    """Nested without end, bytes that are no text, a number that JSON does not have, nothing, and no object."""
    for kind in MESSAGES.values():
        with pytest.raises(ProtocolError, match="this is not"):
            decode(data, kind)


def test_a_number_without_end_is_refused() -> None:
    """Where any value may stand."""
    with pytest.raises(ProtocolError, match="this is not"):
        decode(b'{"state": {"desired": {"a": ' + b"1" * 5000 + b"}}}", shadow.Update)


def test_what_is_too_large_is_not_looked_into() -> None:
    """A status message of ten megabytes is refused by its length."""
    with pytest.raises(ProtocolError, match=f"10000000 bytes are too many for a Status: at most {LIMIT} are read"):
        decode(b"{" + b" " * 9_999_999, Status)


def test_a_refusal_does_not_repeat_a_message() -> None:
    """However long what it quotes is."""
    with pytest.raises(ProtocolError) as caught:
        decode(msgspec.json.encode({"state": "x" * 10_000, "session": "s", "bdSeq": 1}), Status)
    assert len(str(caught.value)) < 400


def test_what_nobody_would_read_is_not_sent() -> None:
    """A name that is none, a number that JSON does not have, too much of it."""
    for wrong in (
        Status(state="ready", session="", bd_seq=1),
        shadow.Config(budgets={"m": float("nan")}),
        jobs.Update(status="QUEUED"),  # type: ignore[arg-type]
        shadow.Update(state=shadow.Change(desired={"a": "x" * LIMIT})),
        shadow.Update(state=shadow.Change(desired={"a": object()})),
        shadow.Update(state=shadow.Change(desired={"a": "\ud800"})),
    ):
        with pytest.raises(InputError, match="this cannot be sent"):
            encode(wrong)


def test_what_aws_says_is_read() -> None:
    """As its documentation shows it: whole seconds, the thing left to the topic, a document of any form."""
    told = decode_next(
        b'{"timestamp": 1625351385, "execution": {"jobId": "test_job2", "status": "QUEUED", "queuedAt": 1625351385, '
        b'"lastUpdatedAt": 1625351385, "versionNumber": 1, "executionNumber": 1, '
        b'"jobDocument": {"operation": "customJob"}}}'
    )
    assert told.execution is not None
    assert told.execution.job_document == msgspec.Raw(b'{"operation": "customJob"}')
    assert told.execution.thing_name is None


def test_aws_says_that_nothing_is_next_by_an_empty_object() -> None:
    """And we by saying nothing."""
    assert decode_next(b'{"timestamp": 5, "execution": {}}') == Next(timestamp=5.0)
    assert decode_next(b'{"timestamp": 5}') == Next(timestamp=5.0)
    with pytest.raises(ProtocolError):
        decode_next(b'{"timestamp": 5, "execution": {"jobId": "j"}}')


@slow
@given(values(Document))
def test_a_document_has_one_form(document: Document) -> None:
    """Equal documents have equal bytes, whatever order they were read in."""
    data = encode_document(document)
    backwards = dict(reversed(msgspec.json.decode(data).items()))
    assert encode_document(decode_document(msgspec.json.encode(backwards))) == data
    assert decode_document(data) == document


def test_every_topic_has_its_message_and_every_message_its_schema() -> None:
    """Questions, their answers and results are by name, and not by topic."""
    assert {*SAID} == {*KINDS} - {RPC, RPC_ANSWER, RESULT}
    assert {*SAID.values()} <= {*MESSAGES.values()}


@pytest.mark.parametrize("name", MESSAGES)
def test_the_schemas_in_the_documentation_are_the_codes(name: str) -> None:
    """`python -m cloud_bridge.protocol.fleet.schema docs/fleet` has been run since the code changed."""
    assert (SCHEMAS / file_of(name)).read_bytes() == schema(name)


def test_no_schema_is_left_over() -> None:
    """Of a message that there is not any more."""
    assert {path.name for path in SCHEMAS.glob("*.json")} == set(map(file_of, MESSAGES))

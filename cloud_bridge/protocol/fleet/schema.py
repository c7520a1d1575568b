"""The fleet's messages by the topics on which they are said, and the JSON Schema of each:
`python -m cloud_bridge.protocol.fleet.schema docs/fleet`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from cloud_bridge.protocol.fleet import commands, envelope, jobs, presence, rpc, shadow, topics
from cloud_bridge.protocol.fleet.topics import Kind

SAID: Mapping[Kind, type[msgspec.Struct]] = {
    topics.STATUS: presence.Status,
    topics.NOTIFY_NEXT: jobs.Next,
    topics.START_NEXT: jobs.StartNext,
    topics.START_NEXT_ACCEPTED: jobs.Next,
    topics.START_NEXT_REJECTED: jobs.Rejected,
    topics.JOB_GET: jobs.Get,
    topics.JOB_GET_ACCEPTED: jobs.Next,
    topics.JOB_GET_REJECTED: jobs.Rejected,
    topics.JOB_UPDATE: jobs.Update,
    topics.JOB_UPDATE_ACCEPTED: jobs.Updated,
    topics.JOB_UPDATE_REJECTED: jobs.Rejected,
    topics.SHADOW_GET: shadow.Get,
    topics.SHADOW_GET_ACCEPTED: shadow.Document,
    topics.SHADOW_GET_REJECTED: shadow.Rejected,
    topics.SHADOW_UPDATE: shadow.Update,
    topics.SHADOW_UPDATE_ACCEPTED: shadow.Updated,
    topics.SHADOW_UPDATE_REJECTED: shadow.Rejected,
    topics.SHADOW_DELTA: shadow.Delta,
    topics.GROUP_NOTIFY: jobs.Hint,
    topics.CONTROLLER_STATUS: presence.Status,
}
"""What is said where there is one message for a topic. A question, RPC, is by its method; results and telemetry are what
they are."""

MESSAGES: Mapping[str, type[msgspec.Struct]] = {
    "status": presence.Status,
    "job-next": jobs.Next,
    "job-start-next": jobs.StartNext,
    "job-get": jobs.Get,
    "job-update": jobs.Update,
    "job-updated": jobs.Updated,
    "job-rejected": jobs.Rejected,
    "job-hint": jobs.Hint,
    "job-envelope": envelope.Envelope,
    "job-document": commands.Document,
    "shadow-get": shadow.Get,
    "shadow-document": shadow.Document,
    "shadow-update": shadow.Update,
    "shadow-updated": shadow.Updated,
    "shadow-delta": shadow.Delta,
    "shadow-rejected": shadow.Rejected,
    "shadow-config": shadow.Config,
    "shadow-models": shadow.Models,
    "rpc-ping": rpc.Ping,
    "rpc-ping-answer": rpc.Pong,
    "rpc-status": rpc.AskStatus,
    "rpc-status-answer": rpc.DeviceStatus,
    "rpc-failure": rpc.Failure,
}
"""All of them, by the names of their schemas."""


def schema(name: str) -> bytes:
    """The JSON Schema of a message, to read: what the code checks."""
    found = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": name,
        **msgspec.json.schema(MESSAGES[name]),
    }
    for value in found["$defs"].values():
        if "description" in value:
            value["description"] = inspect.cleandoc(value["description"])
    return msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n"


def file_of(name: str) -> str:
    """What its file is called."""
    return f"{name}.schema.json"


if __name__ == "__main__":
    for each in MESSAGES:
        Path(sys.argv[1], file_of(each)).write_bytes(schema(each))

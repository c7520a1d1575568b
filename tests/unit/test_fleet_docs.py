"""docs/fleet.md says what the code does."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import get_args

import jsonschema
import msgspec
import pytest

from cloud_bridge.protocol.fleet import jobs, shadow
from cloud_bridge.protocol.fleet.commands import Command
from cloud_bridge.protocol.fleet.jobs import BY_CONTROLLER, BY_DEVICE
from cloud_bridge.protocol.fleet.presence import State
from cloud_bridge.protocol.fleet.rpc import QUESTIONS, decode_question
from cloud_bridge.protocol.fleet.schema import MESSAGES, SAID, file_of, schema
from cloud_bridge.protocol.fleet.topics import DAY, HOUR, KINDS, RPC, SHADOW_GET_ACCEPTED, Expiry, Kind, Tree
from cloud_bridge.protocol.fleet.wire import decode

TEXT = (Path(__file__).parents[2] / "docs" / "fleet.md").read_text()
EXAMPLES = re.findall(r"^```json ([a-z-]+)\n(.*?)^```$", TEXT, re.M | re.S)
LINES = [shlex.split(line) for block in re.findall(r"^```sh\n(.*?)^```$", TEXT, re.M | re.S) for line in block.splitlines()]


def table(heading: str) -> list[list[str]]:
    """The cells of the tables under a heading whose first column is code."""
    part = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", TEXT, re.M | re.S)
    assert part is not None
    rows = re.findall(r"^\| (`.*) \|$", part[1], re.M)
    return [[cell.strip() for cell in row.split(" | ")] for row in rows]


EXPIRES: dict[Expiry, str] = {
    None: "never", "job": "with the job", "call": "with the call", HOUR: "1 h", DAY: "24 h", 60.0: "1 min"
}  # fmt: skip


def test_the_table_of_topics_is_the_codes() -> None:
    """Every kind of message, in order, with how it is said and by whom; and its schema where it has one."""
    names = {kind: name for name, kind in MESSAGES.items()}

    def row(kind: Kind) -> list[str]:
        how = [str(kind.qos), "yes" if kind.retain else "no", EXPIRES[kind.expiry]]
        return [f"`{kind.path}`", kind.sender, *how]

    told = table("Topics")
    assert [each[:5] for each in told] == [row(kind) for kind in KINDS]
    for kind, cells in zip(KINDS, told, strict=True):
        if kind in SAID:
            name = names[SAID[kind]]
            assert cells[5] == f"[{name}](fleet/{file_of(name)})"


@pytest.mark.parametrize(("name", "text"), EXAMPLES, ids=[f"{name}-{at}" for at, (name, _) in enumerate(EXAMPLES)])
def test_each_example_is_valid(name: str, text: str) -> None:
    """By its schema, and for the code that reads it; and it says nothing that is passed over."""
    jsonschema.Draft202012Validator(msgspec.json.decode(schema(name))).validate(msgspec.json.decode(text))
    read = decode(text.encode(), MESSAGES[name])
    assert {*msgspec.json.decode(text)} <= {*read.__struct_encode_fields__}


def test_every_message_has_an_example() -> None:
    """At least one."""
    assert {name for name, _ in EXAMPLES} == {*MESSAGES}


def test_states_codes_and_orders_are_the_codes() -> None:
    """Each in its table."""
    assert {row[0].strip("`") for row in table("Presence")} == set(get_args(State))
    moves = {row[0].strip("`"): (row[1], row[2]) for row in table("Jobs") if len(row) == 3}
    assert moves == {
        state: tuple(", ".join(f"`{each}`" for each in sorted(where[state])) for where in (BY_DEVICE, BY_CONTROLLER))
        for state in BY_DEVICE
    }
    assert {row[0].strip("`") for row in table("Jobs") if len(row) == 2} == set(get_args(jobs.Code))
    assert {row[0].strip("`") for row in table("Orders")} == {each.__struct_config__.tag for each in get_args(Command)}
    assert {row[0].strip("`") for row in table("Questions")} == {*QUESTIONS}
    shadows = re.findall(r"^\| (\d{3}) \|", TEXT, re.M)
    assert set(map(int, shadows)) == set(get_args(shadow.Code))


def test_each_order_says_what_it_takes() -> None:
    """All of its fields are named in its row."""
    told = {row[0].strip("`"): row[2] for row in table("Orders")}
    for each in get_args(Command):
        assert set(each.__struct_encode_fields__) <= set(re.findall(r"`(\w+)`", told[str(each.__struct_config__.tag)]))


def test_the_python_in_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is written, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"^```python\n(.*?)^```$", TEXT, re.M | re.S)
    exec(compile(code, "docs/fleet.md", "exec"), {})  # noqa: S102
    assert {path.name for path in tmp_path.iterdir()} == {"operator", "operator.pub"}


@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_what_is_written_for_mosquitto_s_tools_is_the_protocol_s(line: list[str]) -> None:
    """Topics that there are, as they are said, and messages that are read on them."""
    tool, *options = line
    given = dict(pairwise(options))
    assert given["-V"] == "5"
    if tool == "mosquitto_sub":
        assert given["-t"].startswith(("edge/v1/things/+/", "edge/v1/things/press-17/"))
        return
    assert tool in {"mosquitto_pub", "mosquitto_rr"}
    kind, names = Tree().parse(given["-t"])
    assert given["-q"] == str(kind.qos)
    assert ("-r" in options) == kind.retain
    if kind is RPC:
        decode_question(names["method"], given["-m"].encode())
        assert given["-e"] == f"edge/v1/things/{names['thing']}/rpc-rsp"
        return
    read = decode(given["-m"].encode(), SAID[kind])
    if tool == "mosquitto_rr":
        assert Tree().parse(given["-e"]) == (SHADOW_GET_ACCEPTED, names)
    if isinstance(read, shadow.Update):
        assert isinstance(read.state.desired, dict)
        desired = read.state.desired
        config = names["shadow"] == shadow.CONFIG
        held = shadow.write(shadow.read(desired, shadow.Config) if config else shadow.read(desired, shadow.Models))
        assert shadow.difference(desired, held) == {}

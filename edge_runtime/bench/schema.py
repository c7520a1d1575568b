"""The JSON Schema of a report: `python -m edge_runtime.bench.schema > docs/report.schema.json`."""

from __future__ import annotations

import inspect

import msgspec

from edge_runtime.bench.report import Report


def schema() -> bytes:
    """It, to read: what the code checks, with what it says of each value."""
    found = {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(Report)}
    for value in found["$defs"].values():
        value["description"] = inspect.cleandoc(value["description"])
    return msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n"


if __name__ == "__main__":
    print(schema().decode(), end="")

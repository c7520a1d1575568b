"""The documented schema of a report is that of the code."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from edge_runtime.bench.schema import schema

DOCS = Path(__file__).parents[2] / "docs"


def test_the_schema_in_the_documentation_is_the_codes() -> None:
    """`python -m edge_runtime.bench.schema > docs/report.schema.json` has been run since the code changed."""
    assert (DOCS / "report.schema.json").read_bytes() == schema()


def test_each_field_is_explained() -> None:
    """docs/report.md has a row for each field of each value, in their order, under the value's name, and no other."""
    values = msgspec.json.decode(schema())["$defs"]
    text = (DOCS / "report.md").read_text()
    for name, value in values.items():
        part = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
        assert part is not None, f"docs/report.md has no section {name}"
        fields = re.findall(r"^\| `(\w+)` \|", part[1], re.M)
        assert fields == list(value["properties"]), name

"""The thirteen shapes, as far as they need no torch."""

from __future__ import annotations

from pathlib import Path

from benchmarks.shapes.table import SHAPES


def test_there_are_thirteen_each_with_its_net() -> None:
    """Every shape of the table is a function of the module that needs torch, and the other way round."""
    text = (Path(__file__).parents[2] / "benchmarks/shapes/nets.py").read_text()
    made = {line.removeprefix("def ").partition("(")[0] for line in text.splitlines() if line.startswith("def ")}
    assert len(SHAPES) == 13
    assert {shape.name for shape in SHAPES} == made - {"conv", "_pooled"}


def test_every_shape_is_fixed() -> None:
    """No dimension is open: what is compared has the same sizes everywhere."""
    assert all(spec.fixed for shape in SHAPES for spec in (*shape.signature.inputs, *shape.signature.outputs))

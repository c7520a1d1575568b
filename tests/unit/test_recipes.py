"""What recipes can be held to without building anything: every format at every precision is tried, there, or explained."""

from __future__ import annotations

import zlib

import pytest

from edge_runtime.optimize import WAYS
from models import recipe as recipes
from models.recipe import Recipe

FORMATS, PRECISIONS = ("onnx", "tflite", "openvino"), ("fp32", "int8")
LARGEST = 12 << 20
"""Bytes of all committed artifacts, as git stores them: compressed."""
TRAINED = {"fp32-onnx", "fp32-tflite"}
"""What a training writes."""


@pytest.fixture(params=recipes.names())
def recipe(request: pytest.FixtureRequest) -> Recipe:
    """Each recipe in turn."""
    return recipes.load(request.param)


def there(recipe: Recipe) -> set[str]:
    """What a recipe has before int8, by precision and format."""
    if recipe.trained is not None:
        return TRAINED
    return {f"{part.precision}-{part.format}" for part in recipe.variants}


def tried(recipe: Recipe) -> set[str]:
    """What is made of that, to be admitted or refused by its figures: those ways that have what they read."""
    if recipe.int8 is None:
        return set()
    named = recipe.int8.ways
    possible = {way.variant for way in WAYS if any(f"fp32-{form}" in there(recipe) for form in way.reads)}
    return possible & set(named) if named else possible


def test_nothing_is_passed_over(recipe: Recipe) -> None:
    """fp32 and int8 in each format is there, or tried, or the recipe says why it cannot be made."""
    covered = {f"{way.precision}-{way.writes}" for way in WAYS if way.variant in tried(recipe)}
    told = there(recipe) | covered | recipe.refused.keys()
    missing = [f"{precision}-{form}" for precision in PRECISIONS for form in FORMATS]
    assert [name for name in missing if name not in told] == []


def test_what_is_tried_is_not_refused_beforehand(recipe: Recipe) -> None:
    """A reason goes once a variant is there, or has figures of its own; and each says something."""
    names = {part.name for part in recipe.variants}
    assert not recipe.refused.keys() & (there(recipe) | names | tried(recipe))
    assert all(recipe.refused.values())


def test_named_ways_can_be_gone(recipe: Recipe) -> None:
    """Each way that a recipe names is one, and has a format to begin with."""
    if recipe.int8 is not None:
        assert set(recipe.int8.ways) <= tried(recipe)


def test_what_is_committed_stays_small() -> None:
    """The bundles of trained nets, together."""
    files = [path for path in recipes.HERE.glob("*/bundle/*") if path.is_file()]
    assert files
    assert sum(len(zlib.compress(path.read_bytes(), 1)) for path in files) <= LARGEST

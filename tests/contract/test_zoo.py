"""Every model of the zoo, in every variant of its card, on every engine that claims the format. torch is not needed."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from edge_runtime.bench.inputs import seeded_inputs
from edge_runtime.bundles import golden
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.bundles.store import Store
from edge_runtime.engines import open_candidate
from edge_runtime.values import Array
from models import cards
from models import recipe as recipes
from models.make import everywhere, one_by_one

STEPS = 1000
FORMATS = {"onnx", "tflite", "openvino"}


@pytest.fixture(params=recipes.names())
def bundle(request: pytest.FixtureRequest, store: Store) -> Bundle:
    """Each model in turn."""
    return store.bundle(request.param)


def test_every_variant_of_the_card_is_right_on_every_engine(bundle: Bundle) -> None:
    """It loads, and what it makes of the golden inputs is within its stated tolerance of the golden outputs."""
    known = golden.load(bundle)
    tried = everywhere(bundle)
    assert {candidate.variant.name for candidate in tried} == {variant.name for variant in bundle.manifest.variants}
    for candidate in tried:
        assert candidate.variant.tolerance is not None
        with closing(open_candidate(bundle, candidate)) as session:
            far = golden.distance(one_by_one(session), *known)
            assert far <= candidate.variant.tolerance, f"{candidate}"


def test_the_card_tells_of_the_bundle(bundle: Bundle) -> None:
    """Its rows are the bundle's variants; what is missing of the formats and precisions is there with a reason."""
    manifest = bundle.manifest
    card = cards.load(manifest.name)
    assert card is not None
    assert {row.name for row in card.rows} >= {variant.name for variant in manifest.variants}
    if recipes.load(manifest.name).trained is not None:
        assert all(row.accuracy for row in card.rows)
    told = {(row.precision, row.format) for row in card.rows}
    reasons = {refusal.name: refusal.reason for refusal in card.refused}
    for precision in ("fp32", "int8"):
        for form in FORMATS:
            assert (precision, form) in told or reasons.get(f"{precision}-{form}"), f"{precision}-{form} is not explained"


def test_int8_is_as_accurate_as_its_limit_says(bundle: Bundle) -> None:
    """By the figures in the manifest: no int8 variant's accuracy is further below fp32's than the recipe allows."""
    int8 = recipes.load(bundle.manifest.name).int8
    limit = 0.0 if int8 is None else int8.tolerance
    fp32 = [variant.accuracy for variant in bundle.manifest.variants if variant.precision == "fp32" and variant.accuracy]
    for variant in bundle.manifest.variants:
        if variant.precision == "int8" and variant.accuracy is not None and fp32:
            assert fp32[0].value - variant.accuracy.value <= limit + 1e-9, variant.name


STREAMING = [name for name in recipes.names() if recipes.load(name).signature.state]
"""The models that carry a state which can be seen."""


@pytest.mark.parametrize("name", STREAMING)
def test_a_thousand_steps_streamed_are_those_by_hand(store: Store, name: str) -> None:
    """Bit for bit on the same engine; at fp32 within 1e-5 across engines."""
    bundle = store.bundle(name)
    signature, sizes = bundle.manifest.signature, bundle.manifest.sizes
    steps = [seeded_inputs(signature.stateless_inputs, sizes, seed) for seed in range(STEPS)]
    fp32: dict[str, list[dict[str, Array]]] = {}
    for candidate in everywhere(bundle):
        with closing(open_candidate(bundle, candidate)) as session:
            stream, state = session.stream(), signature.zeros(sizes)
            streamed = [stream.run(step) for step in steps]
            for step, given in zip(steps, streamed, strict=True):
                outputs = session.run({**step, **state})
                state = {pair.input: outputs[pair.output] for pair in signature.state}
                assert all(np.array_equal(outputs[output], array) for output, array in given.items())
        if candidate.variant.precision == "fp32":
            fp32[str(candidate)] = streamed
    first = next(iter(fp32.values()))
    for streamed in fp32.values():
        for one, other in zip(first, streamed, strict=True):
            assert all(np.abs(array - other[output]).max() <= 1e-5 for output, array in one.items())


@pytest.mark.parametrize(
    ("light", "heavy", "points"), [("digits_cnn", "digits_vit", 1.5), ("language_lstm", "language_attention", 3.0)]
)
def test_the_heavy_partner_is_clearly_more_accurate(store: Store, light: str, heavy: str, points: float) -> None:
    """On the same held-out data: the digest says so."""
    one, other = (store.bundle(name).manifest.variant("fp32-onnx").accuracy for name in (light, heavy))
    assert store.bundle(light).manifest.partner == heavy
    assert one is not None
    assert other is not None
    assert one.digest == other.digest
    assert other.value - one.value >= points / 100

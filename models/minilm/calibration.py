"""Pairs of sentences that mean the same in other words, written to judge minilm by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_runtime.backends.base import Session
from edge_runtime.optimize import Measure, digest
from edge_runtime.processing.process import tensors
from edge_runtime.values import Array, Tensors
from models import recipe

PAIRS = (
    ("The pump in hall three is getting too hot.", "Temperature of the water pump in the third hall is above its limit."),
    ("The pump in hall three makes a strange noise.", "An unusual sound comes from the water pump in the third hall."),
    ("Please close the window, it is cold in here.", "I am freezing, could you shut that?"),
    ("Please open the window, the air is bad.", "It is stuffy, let some fresh air in."),
    ("The train to Vienna is an hour late.", "Passengers for Vienna must wait sixty more minutes."),
    ("The train to Vienna leaves from platform nine.", "Go to track 9 for departures to Vienna."),
    ("How do I reset my password?", "I forgot my login and need a new one."),
    ("How do I delete my account?", "I want all of my personal data removed from your service."),
    ("The battery lasts two days.", "It only needs charging every 48 hours."),
    ("The battery takes two hours to charge.", "After 120 minutes at the plug it is full again."),
    ("He was taken to hospital after the accident.", "Following the crash, doctors are treating him."),
    ("He repaired the car after the accident.", "Following the crash, he fixed the vehicle himself."),
    ("It will rain tomorrow afternoon.", "Take an umbrella for the second half of the next day."),
    ("It will be sunny tomorrow afternoon.", "Clear skies are forecast for the second half of the next day."),
    ("The company made less money than last year.", "Profits of the firm fell."),
    ("The company hired more people than last year.", "The firm's workforce grew."),
    ("A dog runs after a ball on the beach.", "On the sand, a puppy chases a toy."),
    ("A child builds a castle on the beach.", "On the sand, a little girl makes a tower."),
    ("Water the plants twice a week.", "The flowers need a drink every few days."),
    ("Feed the fish twice a day.", "The aquarium's inhabitants get food in the morning and in the evening."),
    ("The meeting is moved to Friday.", "We will talk at the end of the week instead."),
    ("The meeting is cancelled.", "We will not talk after all."),
    ("This soup needs more salt.", "The broth tastes bland."),
    ("This soup is too hot to eat.", "Let the broth cool down first."),
)
"""Two at a time are near to each other, so that words in common do not suffice."""


def measure(packages: Path) -> Measure:
    """The share of the sentences, of both sides, whose nearest on the other side is their own partner."""
    sides = [[_tensors(packages, text) for text in side] for side in zip(*PAIRS, strict=True)]

    def accuracy(session: Session) -> float:
        one, other = (np.stack([_vector(session, inputs) for inputs in side]) for side in sides)
        near, own = one @ other.T, np.arange(len(PAIRS))
        return float(np.mean([near.argmax(axis=1) == own, near.argmax(axis=0) == own]))

    data = f"{len(PAIRS)} pairs of sentences written for it, each found from the other among all"
    return Measure("accuracy", data, accuracy, digest(inputs["ids"] for side in sides for inputs in side))


def samples(packages: Path) -> Sequence[Tensors]:
    """32 sentences of made-up facts, none of which is in the pairs."""
    things = ("machine", "garden", "letter", "river", "teacher", "market", "storm", "song")
    said = ("The {} was larger than we thought.", "Nobody knows where the {} is now!", "Is there a {} near the old town?",
            "My sister wrote a long story about a {}, and then she sold it.")  # fmt: skip
    return [_tensors(packages, text.format(thing)) for thing in things for text in said]


def _tensors(packages: Path, text: str) -> Tensors:
    known = recipe.load("minilm")
    assert known.processing is not None  # noqa: S101  (its recipe has it)
    return tensors(known.processing, text, packages / known.vocabulary)[0]


def _vector(session: Session, inputs: Tensors) -> Array:
    total = inputs["mask"][0].astype(np.float32) @ session.run(inputs)["pieces"][0]
    return np.asarray(total / np.linalg.norm(total))


def golden(packages: Path) -> Sequence[Tensors]:
    """The first eight sentences of the pairs that have as many pieces as the first: golden samples are of one shape."""
    known = [_tensors(packages, text) for pair in PAIRS for text in pair]
    return [inputs for inputs in known if inputs["ids"].shape == known[0]["ids"].shape][:8]

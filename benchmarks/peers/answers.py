"""Whether a server answers rightly: before anything is timed, and through every client that its users have."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np

from benchmarks.endpoint.minilm import MODEL, sentences
from benchmarks.peers.contenders import Contender
from benchmarks.peers.ways import OUTPUT, Ask
from edge_runtime.backends.base import Session
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.bundles.installed import Installed
from edge_runtime.engines import open_variant
from edge_runtime.errors import RunError
from edge_runtime.values import Array

NEAR = 0.99
"""The cosine that an embedding has to the right one, at least."""
ASKED = 16
"""Sentences that are asked at once, so that they share batches: each must get its own answer."""


def by(bundle: Bundle, variant: str) -> list[Array]:
    """The right answers: what the engine itself makes of the sentences, one by one."""
    chosen = next(one for one in bundle.manifest.variants if one.name == variant)
    with closing(open_variant(bundle, chosen, "onnx")) as session:
        return [_one(session, seed) for seed in range(ASKED)]


def fp32(store: Path) -> list[Array]:
    """The answers that a tuned variant is held against."""
    return by(Installed(store).bundle(MODEL), "fp32-onnx")


def cosines(contender: Contender, right: Sequence[Array]) -> dict[str, float]:
    """Each client's worst answer. Raises RunError when one is not near enough."""
    with contender.server.awake():
        found = {client: _worst(ask, right) for client, ask in contender.way.clients.items()}
    for client, cosine in found.items():
        if not cosine >= NEAR:
            raise RunError(
                f"{contender.name} ({contender.way.name}) answers {client} wrongly: cosine {cosine:.4f} to the engine's "
                f"own answer, at least {NEAR} is right; nothing was timed"
            )
    return found


def _worst(ask: Ask, right: Sequence[Array]) -> float:
    with ThreadPoolExecutor(ASKED) as pool:
        given = pool.map(ask, (sentences(1, seed) for seed in range(ASKED)))
        return min(_cosine(answer, other) for answer, other in zip(given, right, strict=True))


def _one(session: Session, seed: int) -> Array:
    return session.run(sentences(1, seed))[OUTPUT]


def _cosine(answer: Array, right: Array) -> float:
    """Of the embeddings: the mean over a sentence's tokens."""
    a, b = (np.asarray(pieces, np.float64).mean(axis=1).ravel() for pieces in (answer, right))
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))

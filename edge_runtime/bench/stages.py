"""Where the time of a whole call goes: from a picture, a sound or a text to the tensors, the engine's run, and the
answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import prod

import numpy as np

from edge_runtime.backends.base import Session
from edge_runtime.bench.report import Stage
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.processing.kinds import Raw
from edge_runtime.processing.steps import Processing
from edge_runtime.signature import Signature
from edge_runtime.values import Tensors

TIMES = 30
SECONDS = 1.0
"""How often, and how long at most, a part is timed."""
TEXT = "The quick brown fox jumps over the lazy dog, and nobody was there to measure how long it took."
PICTURE = (480, 640, 3)
BYTES = 16_384


def around(bundle: Bundle, session: Session, *, seed: int = 0, times: int = TIMES) -> tuple[float, float] | None:
    """Median seconds of processing before and after one inference, in this process, on made-up data of a usual size; None
    for a bundle without processing. What makes many calls of one is divided by them. Raises what processing or a run
    raises."""
    processing = bundle.manifest.processing
    if processing is None:
        return None
    processor = bundle.processor()
    raw = made_up(processing, bundle.manifest.signature, seed)
    calls = processor.before(raw)
    run: Callable[[Tensors], Tensors] = session.stream().run if session.signature.recurrent else session.run
    outputs = [run(call) for call in calls]
    prepare = _median(lambda: processor.before(raw), times)
    answer = _median(lambda: processor.after(raw, calls, outputs), times)
    return prepare / len(calls), answer / len(calls)


def stages(parts: tuple[float, float] | None, run: float | None) -> tuple[Stage, ...]:
    """An entry's stages: what lies around the engine, and the median of its run."""
    if parts is None or run is None:
        return ()
    return Stage("prepare", parts[0]), Stage("run", run), Stage("answer", parts[1])


def made_up(processing: Processing, signature: Signature, seed: int = 0) -> Raw:
    """Something of the kind that is taken: a picture of 640 x 480, a second of sound, a sentence, ..."""
    random = np.random.default_rng(seed)
    windows = processing.windows
    match processing.takes:
        case "image":
            coarse = random.integers(0, 256, (PICTURE[0] // 16, PICTURE[1] // 16, 3), dtype=np.uint8)
            return np.ascontiguousarray(coarse.repeat(16, axis=0).repeat(16, axis=1))
        case "audio":
            length = processing.rate or 16_000
            length = length if windows is None else max(4, length // windows.length) * windows.length
            return (0.1 * random.standard_normal(length)).astype(np.float32)
        case "series":
            shape = next(spec.shape for spec in signature.inputs if spec.name == processing.input)
            length = 128 if windows is None else windows.length
            flat = len(shape) < 3 and all(isinstance(side, int) for side in shape)  # [1, steps * channels]
            channels = prod(map(int, shape)) // (length + windows.context) if flat and windows is not None else shape[-1]
            steps = length if windows is None else 4 * length
            return random.standard_normal((steps, channels if isinstance(channels, int) else 1)).astype(np.float32)
        case "text":
            return TEXT
        case "bytes":
            return bytes(random.integers(32, 127, BYTES, dtype=np.uint8))
        case "noise":
            return 0


def _median(part: Callable[[], object], times: int) -> float:
    part()
    taken, began = list[float](), time.perf_counter()
    while len(taken) < times and time.perf_counter() - began < SECONDS:
        start = time.perf_counter()
        part()
        taken.append(time.perf_counter() - start)
    return sorted(taken)[(len(taken) - 1) // 2]

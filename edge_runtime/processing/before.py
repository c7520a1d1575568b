"""The steps before a model, by their types: each turns what the calls hold so far into what they hold after it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, TypeAlias

import msgspec
import numpy as np

from edge_runtime.errors import InputError, ManifestError
from edge_runtime.processing import images, micro, sounds, steps, texts
from edge_runtime.values import Array, Tensors

MAX_CALLS = 1 << 17
"""Windows of one input, at most."""

Calls: TypeAlias = list[dict[str, Any]]
"""What each call holds, by input name: one at first, with what the user handed over; tensors in the end."""


class Kit(msgspec.Struct, frozen=True, eq=False):
    """What the steps may need beside the values."""

    target: str
    """The input that they fill."""
    encode: texts.Encode | None = None
    """What takes texts apart."""
    before: Array | None = None
    """What came before a window, of a stream."""
    ears: micro.Ears | None = None
    """What heard it, where the step is micro-features."""


Apply: TypeAlias = Callable[[Any, Calls, Kit], Calls]


def prepare(before: tuple[steps.Before, ...], raw: object, kit: Kit) -> list[Tensors]:
    """Every step in its order."""
    calls: Calls = [{kit.target: raw}]
    for step in before:
        try:
            calls = _STEPS[type(step)](step, calls, kit)
        except InputError:
            raise
        except (ValueError, TypeError, IndexError) as error:  # numpy's, of an array of another rank than the step is for
            raise ManifestError(
                f"the processing step {steps.name(step)!r} cannot be done where it stands: {error}"
            ) from error
    return [{name: np.ascontiguousarray(value) for name, value in call.items()} for call in calls]


def _each(change: Callable[[Any, Any], Any]) -> Apply:
    """A step that changes one value: of every call, that of the target."""

    def apply(step: Any, calls: Calls, kit: Kit) -> Calls:
        return [{**call, kit.target: change(step, call[kit.target])} for call in calls]

    return apply


def _windows(step: steps.Windows, calls: Calls, kit: Kit) -> Calls:
    series = calls[0][kit.target]
    found = [{kit.target: piece} for piece in islice(sounds.windows(step, series, kit.before), MAX_CALLS + 1)]
    _check_count(len(found), step, series)
    return found


def _micro_features(step: steps.MicroFeatures, calls: Calls, kit: Kit) -> Calls:
    sound = calls[0][kit.target]
    _check_count(len(sound) // step.length, step, sound)
    return [{kit.target: window} for window in micro.windows(step, sound, kit.ears)]


def _check_count(count: int, step: steps.Cut, series: Array) -> None:
    if not count:
        raise InputError(
            f"{len(series)} samples are too short: the model takes {step.length} at a time; give so many or more"
        )
    if count > MAX_CALLS:
        raise InputError(f"{len(series)} samples make over {MAX_CALLS} windows of {step.length}: cut them, or use a stream")


def _batch(step: steps.Batch, calls: Calls, kit: Kit) -> Calls:
    return [{name: value[None] for name, value in call.items()} for call in calls]


def _word_pieces(step: steps.WordPieces, calls: Calls, kit: Kit) -> Calls:
    assert kit.encode is not None  # noqa: S101  (whoever made the kit saw the step)
    return [kit.encode(call[kit.target]) for call in calls]


def _draw(step: steps.Draw, calls: Calls, kit: Kit) -> Calls:
    number = calls[0][kit.target]
    if not 0 <= number < step.classes:
        raise InputError(f"there is no class {number}: give 0 to {step.classes - 1}")
    noise = np.random.default_rng(step.seed).standard_normal((1, step.size)).astype(np.float32)
    return [{kit.target: np.eye(step.classes, dtype=np.float32)[number : number + 1], step.noise: noise}]


_STEPS: dict[type[steps.Step], Apply] = {
    steps.Gray: _each(images.gray),
    steps.Resize: _each(images.resize),
    steps.Shrink: _each(images.shrink),
    steps.Strip: _each(images.strip),
    steps.BlueFirst: _each(images.blue_first),
    steps.Normalise: _each(images.normalise),
    steps.ChannelsFirst: _each(images.channels_first),
    steps.Flatten: _each(lambda step, array: array.reshape(-1)),
    steps.Windows: _windows,
    steps.MicroFeatures: _micro_features,
    steps.Fit: _each(sounds.fit),
    steps.Column: _each(sounds.column),
    steps.Characters: _each(texts.characters),
    steps.WordPieces: _word_pieces,
    steps.Ends: _each(texts.ends),
    steps.Batch: _batch,
    steps.Draw: _draw,
}

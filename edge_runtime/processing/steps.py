"""The steps that a manifest can name, as values. Pure: what each does is in the module of its kind beside this one.

A model takes one kind of thing. The steps of `before` turn it into tensors in their order; the one step of `after` turns
the outputs into an answer.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Kind: TypeAlias = Literal["image", "audio", "text", "bytes", "series", "noise"]
"""What a user hands over: uint8 [height, width, 3] red first or [height, width]; float32 [samples] in -1..1; a str; bytes;
float32 [steps, channels]; a class label, for a model that makes things up."""


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="step"):
    """One of them. In a manifest: {"step": "gray"}."""


class Gray(Step, tag="gray", frozen=True):
    """A picture of one channel: [height, width, 1]."""


class Resize(Step, tag="resize", frozen=True):
    """A picture of just this size, in pixels."""

    height: int
    width: int


class Shrink(Step, tag="shrink", frozen=True):
    """A picture whose longer side is `longest` at most, both sides being multiples of `multiple`. Never enlarged."""

    longest: int
    multiple: int = 1


class Strip(Step, tag="strip", frozen=True):
    """A picture `height` high, its width as it comes, then padded on the right with mid-grey to the next of `narrowest`,
    `narrowest` + `more`, ...; squeezed where it would be wider than `widest`."""

    height: int
    narrowest: int
    more: int
    widest: int


class BlueFirst(Step, tag="blue-first", frozen=True):
    """Red, green, blue -> blue, green, red."""


class Normalise(Step, tag="normalise", frozen=True):
    """(x - mean) / scale as float32, one number, or one for each channel (the last axis)."""

    mean: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)


class ChannelsFirst(Step, tag="channels-first", frozen=True):
    """[height, width, channels] -> [channels, height, width]."""


class Flatten(Step, tag="flatten", frozen=True):
    """All in one axis."""


class Windows(Step, tag="windows", frozen=True):
    """A sound (or a series) in pieces of `length` new samples (steps), one call each: the model's input is
    [context + length, ...], beginning with the last `context` of the piece before (silence before the first). A rest that
    fills no piece is padded with zeros if `pad`, and left out otherwise."""

    length: int
    context: int = 0
    pad: bool = False


class Fit(Step, tag="fit", frozen=True):
    """A series cut or padded at its end (with `value`) to `length` steps."""

    length: int
    value: float = 0.0


class Column(Step, tag="column", frozen=True):
    """A new last axis of one: [samples] -> [samples, 1]."""


class Characters(Step, tag="characters", frozen=True):
    """A text as int32 [length]: each character's place in `alphabet` plus 2; 1 for one that is not in it; 0 after the end.
    Lower-cased first; what is past `length` is cut off."""

    alphabet: str
    length: int


class WordPieces(Step, tag="word-pieces", frozen=True):
    """A text as the int64 tensors ids, mask and types, [pieces]: BERT's word pieces, of the bundle's `vocabulary` file."""

    ids: str
    mask: str
    types: str | None
    longest: int


class Ends(Step, tag="ends", frozen=True):
    """Bytes as int32 [first + last]: the first so many without leading white space, then the last so many without trailing
    white space, each padded with `pad` (the first at its end, the last at its beginning)."""

    first: int
    last: int
    pad: int = 256


class Batch(Step, tag="batch", frozen=True):
    """A new first axis of one."""


class Draw(Step, tag="draw", frozen=True):
    """For a model that makes things up: standard normal noise float32 [1, size] in `noise`, and the class in one-hot
    float32 [1, classes] in the processing's own input. The same `seed` gives the same noise."""

    noise: str
    size: int
    classes: int
    seed: int = 0


Before: TypeAlias = (
    Gray | Resize | Shrink | Strip | BlueFirst | Normalise | ChannelsFirst | Flatten
    | Windows | Fit | Column | Characters | WordPieces | Ends | Batch | Draw
)  # fmt: skip


class Labels(Step, tag="labels", frozen=True):
    """The likeliest classes of [1, classes], best first. `softmax` where the output is not probabilities yet."""

    output: str
    top: int = 3
    softmax: bool = False


class Boxes(Step, tag="boxes", frozen=True):
    """Boxes around lines of text, from a map [1, 1, height, width] of how likely each pixel is text."""

    output: str


class Ctc(Step, tag="ctc", frozen=True):
    """A text from [1, steps, classes], connectionist temporal classification: the first label is the blank."""

    output: str


class Events(Step, tag="events", frozen=True):
    """Stretches of time in which a class is on: from [1, classes] of each window, or [1, frames, classes] of each,
    `seconds` apart. Named by the labels, or by `name` where there is one class."""

    output: str
    seconds: float
    threshold: float = 0.5
    name: str = ""


class Pooled(Step, tag="pooled", frozen=True):
    """An embedding of unit length from [1, pieces, features]: the mean over the pieces that the mask input marks."""

    output: str
    mask: str


class Picture(Step, tag="picture", frozen=True):
    """uint8 [height, width] from [1, 1, height, width] in 0..1."""

    output: str


class Sound(Step, tag="sound", frozen=True):
    """float32 [samples] from the windows' [1, length], one after the other."""

    output: str


class Anomaly(Step, tag="anomaly", frozen=True):
    """How far the output is from the input that it should be like: the mean squared difference, and whether it reaches
    `threshold`."""

    output: str
    threshold: float


After: TypeAlias = Labels | Boxes | Ctc | Events | Pooled | Picture | Sound | Anomaly


class Processing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a bundle's model takes and gives, in a user's terms."""

    takes: Kind
    input: str
    """The input tensor that the steps fill (the others are a stream's state, or filled by a step that says so)."""
    before: tuple[Before, ...]
    after: After
    rate: int | None = None
    """Samples a second, of sound; steps a second, of a series."""

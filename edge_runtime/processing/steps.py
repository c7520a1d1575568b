"""The steps that a manifest can name, as values. Pure: what each does is in the module of its kind beside this one.

A model takes one kind of thing. The steps of `before` turn it into tensors in their order; the one step of `after` turns
the outputs into an answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Annotated, ClassVar, Literal, TypeAlias

import msgspec

from edge_runtime.errors import ManifestError
from edge_runtime.signature import Signature

Kind: TypeAlias = Literal["image", "audio", "text", "bytes", "series", "noise"]
"""What a user hands over: uint8 [height, width, 3] red first or [height, width]; float32 [samples] in -1..1; a str; bytes;
float32 [steps, channels]; the number of a class, for a model that makes things up."""

Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]
Side: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=1 << 14)]
Share: TypeAlias = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(gt=0.0)]


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="step"):
    """One of them. In a manifest: {"step": "gray"}."""

    kinds: ClassVar[tuple[Kind, ...]] = ("image", "audio", "series", "text", "bytes", "noise")
    """What it can be a step of."""
    inputs: ClassVar[tuple[str, ...]] = ()
    """Its fields that name an input tensor."""
    labelled: ClassVar[bool] = False
    """Whether it is of no use without labels."""


class Gray(Step, tag="gray", frozen=True):
    """A picture of one channel: [height, width, 1]."""

    kinds: ClassVar[tuple[Kind, ...]] = ("image",)


class Resize(Step, tag="resize", frozen=True):
    """A picture of just this size, in pixels."""

    kinds: ClassVar[tuple[Kind, ...]] = ("image",)
    height: Side
    width: Side


class Shrink(Step, tag="shrink", frozen=True):
    """A picture whose longer side is `longest` at most, both sides being multiples of `multiple`. Enlarged to the
    next of them at most."""

    kinds: ClassVar[tuple[Kind, ...]] = ("image",)
    longest: Side
    multiple: Side = 1


class Strip(Step, tag="strip", frozen=True):
    """A float32 picture `height` high, its width as it comes, then padded on the right with mid-grey (127.5) to the next of
    `narrowest`, `narrowest` + `more`, ...; squeezed where it would be wider than `widest`."""

    kinds: ClassVar[tuple[Kind, ...]] = ("image",)
    height: Side
    narrowest: Side
    more: Side
    widest: Side


class BlueFirst(Step, tag="blue-first", frozen=True):
    """Red, green, blue -> blue, green, red."""

    kinds: ClassVar[tuple[Kind, ...]] = ("image",)


class Normalise(Step, tag="normalise", frozen=True):
    """(x - mean) / scale as float32, one number, or one for each channel (the last axis)."""

    mean: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if not (self.mean and self.scale and all(map(isfinite, (*self.mean, *self.scale))) and all(self.scale)):
            raise ManifestError(f"normalise: mean {self.mean}, scale {self.scale}: give finite numbers, and no scale of 0")


class ChannelsFirst(Step, tag="channels-first", frozen=True):
    """[height, width, channels] -> [channels, height, width]."""

    kinds: ClassVar[tuple[Kind, ...]] = ("image",)


class Flatten(Step, tag="flatten", frozen=True):
    """All in one axis."""


class Windows(Step, tag="windows", frozen=True):
    """A sound (or a series) in pieces of `length` new samples (steps), one call each: the model's input is
    [context + length, ...], beginning with the last `context` of the piece before (silence before the first). A rest that
    fills no piece is padded with zeros if `pad`, and left out otherwise. Always the first step."""

    kinds: ClassVar[tuple[Kind, ...]] = ("audio", "series")
    length: Count
    context: Annotated[int, msgspec.Meta(ge=0, le=1 << 24)] = 0
    pad: bool = False


class MicroFeatures(Step, tag="micro-features", frozen=True):
    """A sound of 16 kHz as float32 [steps, 40], one call for each `steps` times 10 ms: the bands of TFLite Micro's audio
    front end, 0 to 26. A row looks at 30 ms, the last 10 of them new (silence before the first), and tells loudness against
    what was heard before. A rest that fills no call is left out. Always the first step."""

    kinds: ClassVar[tuple[Kind, ...]] = ("audio",)
    rate: ClassVar[int] = 16_000
    hop: ClassVar[int] = 160
    """New samples of a row."""
    context: ClassVar[int] = 0
    steps: Annotated[int, msgspec.Meta(ge=1, le=1 << 10)] = 3

    @property
    def length(self) -> int:
        """New samples of a call."""
        return self.steps * self.hop


class Fit(Step, tag="fit", frozen=True):
    """A series cut or padded at its end (with `value`) to `length` steps."""

    kinds: ClassVar[tuple[Kind, ...]] = ("audio", "series")
    length: Count
    value: float = 0.0


class Column(Step, tag="column", frozen=True):
    """A new last axis of one: [samples] -> [samples, 1]."""

    kinds: ClassVar[tuple[Kind, ...]] = ("audio", "series")


class Characters(Step, tag="characters", frozen=True):
    """A text as int32 [length]: each character's place in `alphabet` plus 2; 1 for one that is not in it; 0 after the end.
    Lower-cased first; what is past `length` is cut off."""

    kinds: ClassVar[tuple[Kind, ...]] = ("text",)
    alphabet: str
    length: Count


class WordPieces(Step, tag="word-pieces", frozen=True):
    """A text as the int64 tensors ids, mask and types, [pieces]: BERT's word pieces in lower case, of the bundle's
    `vocabulary` file, between [CLS] and [SEP]. What is past `longest` is cut off; what is short of it is filled up with
    [PAD] (mask 0) if `pad`."""

    kinds: ClassVar[tuple[Kind, ...]] = ("text",)
    inputs: ClassVar[tuple[str, ...]] = ("ids", "mask", "types")
    ids: str
    mask: str
    types: str | None
    longest: Annotated[int, msgspec.Meta(ge=2, le=1 << 16)]
    pad: bool = False


class Ends(Step, tag="ends", frozen=True):
    """Bytes as int32 [first + last]: the first so many without leading white space, then the last so many without trailing
    white space, each padded with `pad` (the first at its end, the last at its beginning). White space is left out of the
    first and of the last `block` bytes only."""

    kinds: ClassVar[tuple[Kind, ...]] = ("bytes",)
    first: Count
    last: Count
    pad: int = 256
    block: Count = 4096


class Batch(Step, tag="batch", frozen=True):
    """A new first axis of one."""


class Draw(Step, tag="draw", frozen=True):
    """For a model that makes things up: standard normal noise float32 [1, size] in `noise`, and the class in one-hot
    float32 [1, classes] in the processing's own input. The same `seed` gives the same noise."""

    kinds: ClassVar[tuple[Kind, ...]] = ("noise",)
    inputs: ClassVar[tuple[str, ...]] = ("noise",)
    noise: str
    size: Count
    classes: Count
    seed: Annotated[int, msgspec.Meta(ge=0)] = 0


Before: TypeAlias = (
    Gray | Resize | Shrink | Strip | BlueFirst | Normalise | ChannelsFirst | Flatten
    | Windows | MicroFeatures | Fit | Column | Characters | WordPieces | Ends | Batch | Draw
)  # fmt: skip


class Labels(Step, tag="labels", frozen=True):
    """The likeliest classes of [1, classes], best first; of many windows, by the mean over them. `softmax` where the output
    is not probabilities yet."""

    output: str
    top: Count = 3
    softmax: bool = False


class Boxes(Step, tag="boxes", frozen=True):
    """Boxes around lines of text, from a map [1, 1, height, width] of how likely each pixel is text."""

    kinds: ClassVar[tuple[Kind, ...]] = ("image",)
    output: str


class Ctc(Step, tag="ctc", frozen=True):
    """A text from [1, steps, classes], connectionist temporal classification: the first label is the blank."""

    labelled: ClassVar[bool] = True
    output: str


class Events(Step, tag="events", frozen=True):
    """Stretches of time in which a class is on: from [1, classes] of each window, or [1, frames, classes] of each,
    `seconds` apart. Named by the labels, or by `name` where there is one class. Those that are shorter than `shortest`
    seconds are left out."""

    kinds: ClassVar[tuple[Kind, ...]] = ("audio", "series")
    output: str
    seconds: Seconds
    threshold: Share = 0.5
    name: str = ""
    shortest: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0


class Pooled(Step, tag="pooled", frozen=True):
    """An embedding of unit length from [1, pieces, features]: the mean over the pieces that the mask input marks."""

    inputs: ClassVar[tuple[str, ...]] = ("mask",)
    output: str
    mask: str


class Picture(Step, tag="picture", frozen=True):
    """uint8 [height, width] from [1, 1, height, width] in 0..1."""

    output: str


class Sound(Step, tag="sound", frozen=True):
    """float32 [samples] from the windows' [1, length], one after the other."""

    output: str


class Anomaly(Step, tag="anomaly", frozen=True):
    """How far the output is from the input that it should be like: the mean squared difference of each call, and whether
    the largest reaches `threshold`."""

    output: str
    threshold: float


Cut: TypeAlias = Windows | MicroFeatures
"""Those that make many calls of one, of `length` new samples each."""
After: TypeAlias = Labels | Boxes | Ctc | Events | Pooled | Picture | Sound | Anomaly


class Processing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a bundle's model takes and gives, in a user's terms."""

    takes: Kind
    input: str
    """The input tensor that the steps fill (the others are a stream's state, or filled by a step that says so)."""
    before: tuple[Before, ...]
    after: After
    rate: Count | None = None
    """Samples a second, of sound; steps a second, of a series."""

    def __post_init__(self) -> None:
        for step in (*self.before, self.after):
            if self.takes not in step.kinds:
                raise ManifestError(f"processing takes {self.takes}, of which {name(step)} is no step")
        for step in self.before[1:]:
            if isinstance(step, Cut):
                raise ManifestError(
                    f"processing: {name(step)} can only be the first step: what a stream carries on is what it was given"
                )
        if isinstance(self.windows, MicroFeatures) and self.rate != MicroFeatures.rate:
            raise ManifestError(
                f"processing: micro-features are of {MicroFeatures.rate} samples a second; give this `rate`"
            )

    @property
    def windows(self) -> Cut | None:
        """The step that makes many calls of one, if there is one."""
        first = self.before[0] if self.before else None
        return first if isinstance(first, Cut) else None

    @property
    def filled(self) -> frozenset[str]:
        """The input tensors that the steps fill."""
        return frozenset((self.input, *(tensor for step in self.before for tensor in _tensors(step))))

    def check(self, signature: Signature) -> None:
        """Raise ManifestError unless this is processing for a model of this signature: what is filled are its inputs
        without the state, and what is read is there."""
        taken = {spec.name for spec in signature.stateless_inputs}
        if self.filled != taken:
            raise ManifestError(
                f"processing fills {', '.join(sorted(self.filled))}; the model takes {', '.join(sorted(taken))}"
            )
        if not taken.issuperset(_tensors(self.after)):
            raise ManifestError(f"processing: {name(self.after)} reads an input that the model does not have")
        given = [spec.name for spec in signature.outputs]
        if self.after.output not in given:
            raise ManifestError(f"processing reads output {self.after.output!r}; the model gives {', '.join(given)}")


def _tensors(step: Step) -> Iterator[str]:
    """The input tensors that a step names."""
    return (tensor for field in step.inputs if (tensor := getattr(step, field)) is not None)


def name(step: Step) -> str:
    """What a manifest calls it."""
    return str(step.__struct_config__.tag)

"""Pictures: [height, width, channels], red first, uint8 until a step makes them float32. OpenCV only where pixels are
resampled; numpy alone elsewhere."""

from __future__ import annotations

import numpy as np

from edge_runtime.errors import InputError, ManifestError
from edge_runtime.processing import steps
from edge_runtime.processing.extra import vision
from edge_runtime.values import Array

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""How bright red, green and blue are (ITU-R BT.601)."""
GREY = 127.5
"""What a strip is padded with: 0 once it is normalised to -1..1."""


def gray(step: steps.Gray, picture: Array) -> Array:
    """One channel, of the same dtype."""
    level = picture @ LUMA
    return (np.rint(level) if picture.dtype == np.uint8 else level).astype(picture.dtype)[..., None]


def resize(step: steps.Resize, picture: Array) -> Array:
    """Just the size of the step; a picture that has it is left as it is."""
    return scaled(picture, step.height, step.width, smooth=True)


def shrink(step: steps.Shrink, picture: Array) -> Array:
    """Sides in multiples, within half a multiple of the picture's own (or of what the longest allows)."""
    scale = min(1.0, step.longest / max(picture.shape[:2]))
    height, width = (max(1, round(side * scale / step.multiple)) * step.multiple for side in picture.shape[:2])
    return scaled(picture, height, width)


def strip(step: steps.Strip, picture: Array) -> Array:
    """float32 [height, one of few widths, channels]: few, so that an engine prepares few shapes."""
    height, width = picture.shape[:2]
    wide = min(step.widest, -(-width * step.height // height))
    more = max(0, -(-(wide - step.narrowest) // step.more))
    padded = max(wide, min(step.widest, step.narrowest + more * step.more))
    line = scaled(picture, step.height, wide).astype(np.float32)
    return np.pad(line, ((0, 0), (0, padded - wide), (0, 0)), constant_values=GREY)


def scaled(picture: Array, height: int, width: int, *, smooth: bool = False) -> Array:
    """The picture in this size: bilinear, or, if `smooth`, by the mean over the pixels where it gets smaller."""
    if picture.shape[:2] == (height, width):
        return picture
    cv2 = vision()
    area = smooth and height <= picture.shape[0] and width <= picture.shape[1]
    resized = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if area else cv2.INTER_LINEAR)
    return np.asarray(resized).reshape(height, width, picture.shape[2])  # OpenCV drops a single channel's axis


def blue_first(step: steps.BlueFirst, picture: Array) -> Array:
    """The channels in the other order."""
    return np.asarray(picture[..., ::-1])


def normalise(step: steps.Normalise, values: Array) -> Array:
    """float32, of the same shape."""
    channels = values.shape[-1] if values.ndim else 1
    if not {len(step.mean), len(step.scale)} <= {1, channels}:
        raise InputError(
            f"{channels} channels do not fit the {max(len(step.mean), len(step.scale))} that are normalised here"
        )
    mean, scale = np.array(step.mean, np.float32), np.array(step.scale, np.float32)
    return np.asarray((values.astype(np.float32) - mean) / scale)


def channels_first(step: steps.ChannelsFirst, picture: Array) -> Array:
    """[channels, height, width], in one piece."""
    return np.asarray(np.moveaxis(picture, -1, 0))


def pixels(output: Array) -> Array:
    """uint8 [height, width] of [1, 1, height, width] in 0..1; what is outside is drawn as the nearest that can be."""
    if output.ndim != 4 or output.shape[:2] != (1, 1):
        raise ManifestError(f"a picture is made of [1, 1, height, width]; the model gave {list(output.shape)}")
    return np.asarray(np.rint(np.clip(np.nan_to_num(output[0, 0]), 0, 1) * 255), np.uint8)

"""The packages that some steps need, imported when a step does: a model of plain numbers needs none of them."""

from __future__ import annotations

from typing import Any

from edge_runtime.errors import EngineMissingError


def vision() -> Any:
    """OpenCV. Raises EngineMissingError."""
    try:
        import cv2
    except ImportError as error:
        raise _missing("OpenCV", "pictures", "vision", error) from error
    return cv2


def pieces() -> Any:
    """The tokenizers package. Raises EngineMissingError."""
    try:
        import tokenizers
    except ImportError as error:
        raise _missing("tokenizers", "texts by word pieces", "text", error) from error
    return tokenizers


def features() -> Any:
    """The pymicro-features package. Raises EngineMissingError."""
    try:
        import pymicro_features
    except ImportError as error:
        raise _missing("pymicro-features", "the features that nets for microcontrollers hear", "wake", error) from error
    return pymicro_features


def _missing(package: str, what: str, extra: str, error: ImportError) -> EngineMissingError:
    return EngineMissingError(f"{package} is needed for {what} ({error}): pip install 'edge-runtime[{extra}]'")

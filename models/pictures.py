"""The pictures in the cards of nets that draw: `python -m models.pictures` makes them anew, of the committed bundles."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

import cv2
import numpy as np

from edge_runtime.backends.base import Session
from edge_runtime.bundles.bundle import read_bundle
from edge_runtime.engines import open_best
from edge_runtime.errors import EdgeError
from edge_runtime.values import Array
from models.cards import PICTURES

HERE = Path(__file__).parent


class Drawing(Protocol):
    """A model's `pictures.py`."""

    def pictures(self, session: Session, packages: Path) -> Array:
        """What it draws: float32 [rows, columns, height, width] of 0..1."""
        ...


def names() -> tuple[str, ...]:
    """The models that have pictures, sorted."""
    return tuple(sorted(path.parent.name for path in HERE.glob("*/pictures.py")))


def sheet(pictures: Array) -> Array:
    """All on one sheet, uint8 [rows x height, columns x width]."""
    rows, columns, height, width = pictures.shape
    whole = pictures.transpose(0, 2, 1, 3).reshape(rows * height, columns * width)
    return np.asarray(np.rint(whole.clip(0, 1) * 255), np.uint8)


def write(name: str, packages: Path, bundle: Path | None = None) -> Path:
    """Draw a model's sheet with the first of its variants that loads here, and put it beside its card. Raises EdgeError."""
    drawing = cast("Drawing", import_module(f"models.{name}.pictures"))
    with closing(open_best(read_bundle(bundle or HERE / name / "bundle")).session) as session:
        drawn = sheet(drawing.pictures(session, packages))
    path = HERE / name / PICTURES
    path.write_bytes(cv2.imencode(".png", drawn, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes())
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw them all; 1, with the reason, when one cannot be drawn."""
    parser = argparse.ArgumentParser(prog="python -m models.pictures", description=__doc__)
    parser.add_argument("--packages", type=Path, default=Path(".packages"), help="where the packages are (%(default)s)")
    parser.add_argument("--only", action="append", choices=names(), metavar="NAME", help="this model (repeatable)")
    chosen = parser.parse_args(arguments)
    try:
        for name in chosen.only or names():
            print(write(name, chosen.packages))
    except EdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

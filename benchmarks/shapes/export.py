"""One net as ONNX and TFLite, in a process of its own: `python -m benchmarks.shapes.export NAME FOLDER`. It needs torch."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import nn

from benchmarks.shapes import nets
from benchmarks.shapes.table import SHAPES
from edge_runtime.errors import ArtifactError
from models import toolchain

SEED = 1


def main(name: str, folder: Path) -> None:
    """Write NAME.fp32.onnx and NAME.fp32.tflite; the TFLite file's own tensor names, or why there is none, on stdout."""
    shape = next(shape for shape in SHAPES if shape.name == name)
    torch.manual_seed(SEED)
    net: nn.Module = getattr(nets, name)().eval()
    for part in net.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):  # so that what goes through neither dies out nor explodes
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            nn.init.zeros_(part.bias)
    toolchain.to_onnx(net, shape.signature, folder / f"{name}.fp32.onnx", shape.exporter)
    try:
        said: dict[str, object] = {"names": toolchain.to_tflite(net, shape.signature, folder / f"{name}.fp32.tflite")}
    except ArtifactError as error:
        said = {"trouble": str(error)}
    print("\n" + json.dumps(said), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

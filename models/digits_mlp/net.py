"""784-64-64-10, fully connected."""

from __future__ import annotations

from torch import nn


def net() -> nn.Module:
    """image [N, 784] in 0..1 -> scores [N, 10]."""
    return nn.Sequential(
        nn.Linear(784, 64),
        nn.ReLU(),
        nn.Linear(64, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )

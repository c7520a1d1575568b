"""Two convolutions and two dense layers."""

from __future__ import annotations

from torch import nn


def net() -> nn.Module:
    """image [N, 1, 28, 28] in 0..1 -> scores [N, 10]."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 5 * 5, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )

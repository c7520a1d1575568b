"""Three convolutions and two dense layers, for CIFAR's pictures."""

from __future__ import annotations

from torch import nn


def net() -> nn.Module:
    """image [N, 3, 32, 32] in -1..1 -> scores [N, 10]."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * 4 * 4, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )

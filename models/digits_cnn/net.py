"""A convolution and two dense layers."""

from __future__ import annotations

from torch import nn


def net() -> nn.Module:
    """image [N, 1, 28, 28] in 0..1 -> scores [N, 10]."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(4),
        nn.Flatten(),
        nn.Linear(32 * 6 * 6, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )

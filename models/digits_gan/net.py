"""The generator: noise and a digit's class -> a picture of the digit."""

from __future__ import annotations

import torch
from torch import Tensor, nn

NOISE, CLASSES = 32, 10


class Generator(nn.Module):
    """noise [N, 32], label [N, 10] (one of them 1, the others 0) -> picture [N, 1, 28, 28] in 0..1."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Sequential(nn.Linear(NOISE + CLASSES, 16 * 7 * 7), nn.Unflatten(1, (16, 7, 7)))
        self.draw = nn.Sequential(
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            *_layer(16, 48),
            *_layer(48, 16),
            nn.Upsample(scale_factor=2),
            *_layer(16, 16),
            nn.Conv2d(16, 1, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, noise: Tensor, label: Tensor) -> Tensor:
        return self.draw(self.start(torch.cat([noise, label], 1)))


def _layer(channels: int, out: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU()


def net() -> nn.Module:
    """The generator, not trained yet."""
    return Generator()

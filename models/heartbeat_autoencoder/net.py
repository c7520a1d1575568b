"""Three convolutions down to eight numbers, and three back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CHANNELS, CODE, SHORT = 8, 8, 9
"""Of the first convolution; numbers in the middle; steps that are left of a window before it."""


class Autoencoder(nn.Module):
    """window [N, 720] -> the same as far as it looks like those it was trained with [N, 720]."""

    def __init__(self) -> None:
        super().__init__()
        wide = self.wide = 2 * CHANNELS
        self.encoder = nn.Sequential(
            nn.Conv1d(1, CHANNELS, 9, 4, 4),
            nn.ReLU(),
            nn.Conv1d(CHANNELS, wide, 9, 4, 4),
            nn.ReLU(),
            nn.Conv1d(wide, wide, 9, 5, 4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(wide * SHORT, CODE),
        )
        self.grow = nn.Sequential(nn.Linear(CODE, wide * SHORT), nn.ReLU())
        self.decoder = nn.Sequential(
            nn.ConvTranspose1d(wide, wide, 9, 5, 2),
            nn.ReLU(),
            nn.ConvTranspose1d(wide, CHANNELS, 8, 4, 2),
            nn.ReLU(),
            nn.ConvTranspose1d(CHANNELS, 1, 8, 4, 2),
            nn.Flatten(),
        )

    def forward(self, window: Tensor) -> Tensor:
        grown = self.grow(self.encoder(window[:, None])).view(-1, self.wide, SHORT)
        return torch.as_tensor(self.decoder(grown))


def net() -> nn.Module:
    """9,441 parameters."""
    return Autoencoder()

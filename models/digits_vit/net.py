"""A transformer encoder over the 49 places of a small convolutional stem."""

from __future__ import annotations

import torch
from torch import Tensor, nn

WIDTH, HEADS, LAYERS = 64, 4, 2
PLACES = 7 * 7


class Attention(nn.Module):
    """Every place looks at all others, with several heads."""

    def __init__(self) -> None:
        super().__init__()
        self.queries_keys_values = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        split = self.queries_keys_values(x).reshape(-1, PLACES, 3, HEADS, WIDTH // HEADS)
        queries, keys, values = split.permute(2, 0, 3, 1, 4).unbind(0)
        weights = (queries * (WIDTH // HEADS) ** -0.5) @ keys.transpose(-2, -1)
        mixed = weights.softmax(-1) @ values
        return self.out(mixed.transpose(1, 2).reshape(-1, PLACES, WIDTH))


class Layer(nn.Module):
    """Attention, then two dense layers, each added to what came in."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(WIDTH), Attention())
        self.dense = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 2 * WIDTH), nn.ReLU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x)
        return x + self.dense(x)


class Vit(nn.Module):
    """image [N, 1, 28, 28] in 0..1 -> scores [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *_halving(1, 16), *_halving(16, 32), nn.Conv2d(32, WIDTH, 3, padding=1), nn.BatchNorm2d(WIDTH)
        )
        self.position = nn.Parameter(torch.randn(1, PLACES, WIDTH) * 0.02)
        self.layers = nn.Sequential(*(Layer() for _ in range(LAYERS)))
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 10))

    def forward(self, image: Tensor) -> Tensor:
        places = self.stem(image).flatten(2).transpose(1, 2)
        return self.head(self.layers(places + self.position).mean(1))


def _halving(channels: int, out: int) -> tuple[nn.Module, ...]:
    """A convolution, and half the height and width."""
    return nn.Conv2d(channels, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(), nn.MaxPool2d(2)


def net() -> nn.Module:
    """The net, not trained yet."""
    return Vit()

"""The nets, each a function of its shape's name. The three of MLPerf Tiny follow that benchmark's reference models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


def conv(
    a: int, b: int, kernel: int | tuple[int, int] = 3, stride: int = 1, groups: int = 1, *, relu: bool = True
) -> nn.Module:
    """A convolution, its normalisation folded away (with random weights it is one more scale), and a ReLU."""
    pad = kernel // 2 if isinstance(kernel, int) else (kernel[0] // 2, kernel[1] // 2)
    parts: list[nn.Module] = [nn.Conv2d(a, b, kernel, stride, pad, groups=groups)]
    return nn.Sequential(*parts, *([nn.ReLU()] if relu else []))


class Residual(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, a: int, b: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(a, b, 3, stride), conv(b, b, relu=False))
        self.short = nn.Identity() if (a, stride) == (b, 1) else conv(a, b, 1, stride, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.short(x))


class Inverted(nn.Module):
    """MobileNetV2's block: widen, filter each channel, narrow; with a shortcut where the shape stays."""

    def __init__(self, a: int, b: int, stride: int, widen: int) -> None:
        super().__init__()
        wide = a * widen
        first = [conv(a, wide, 1)] if widen > 1 else []
        self.body = nn.Sequential(*first, conv(wide, wide, 3, stride, wide), conv(wide, b, 1, relu=False))
        self.same = (a, stride) == (b, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.same else self.body(x)


class Last(nn.Module):
    """A recurrent layer, and a dense one over its last step."""

    def __init__(self, layer: nn.Module, width: int, out: int, tokens: int = 0, embed: int = 0) -> None:
        super().__init__()
        self.embed = nn.Embedding(tokens, embed) if tokens else nn.Identity()
        self.layer = layer
        self.head = nn.Linear(width, out)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.embed(x))[0][:, -1])


class Attending(nn.Module):
    """An LSTM whose steps are weighed by attention."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(128, 64)
        self.layer = nn.LSTM(64, 128, batch_first=True)
        self.score = nn.Sequential(nn.Linear(128, 64), nn.Tanh(), nn.Linear(64, 1))
        self.head = nn.Linear(128, 8)

    def forward(self, x: Tensor) -> Tensor:
        steps = self.layer(self.embed(x))[0]
        return self.head((torch.softmax(self.score(steps), 1) * steps).sum(1))


class Block(nn.Module):
    """One layer of a transformer's encoder, by hand: what every converter takes."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.mix, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        steps = x.shape[1]
        q, k, v = (
            part.reshape(1, steps, self.heads, self.size).transpose(1, 2) for part in self.mix(self.first(x)).chunk(3, -1)
        )
        weights = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(self.size), -1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(1, steps, self.heads * self.size))
        return x + self.wide(self.second(x))


class Encoder(nn.Module):
    """Two such layers over tokens and their places."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.embed = nn.Embedding(128, width)
        self.place = nn.Parameter(0.1 * torch.randn(1, 64, width))
        self.layers = nn.Sequential(Block(width, 4), Block(width, 4))
        self.head = nn.Linear(width, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.embed(x) + self.place).mean(1))


class Streamed(nn.Module):
    """An LSTM with its state as inputs and outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(32, 128, batch_first=True)
        self.head = nn.Linear(128, 4)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        steps, (h, c) = self.layer(x, (h, c))
        return self.head(steps), h, c


def _pooled(parts: Sequence[nn.Module], width: int, out: int) -> nn.Module:
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, out))


def tiny_cnn() -> nn.Module:
    """1x28x28 -> 10."""
    dense = [nn.Flatten(), nn.Linear(32 * 13 * 13, 64), nn.ReLU(), nn.Linear(64, 10)]
    return nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), *dense)


def resnet8() -> nn.Module:
    """3x32x32 -> 10."""
    return _pooled([conv(3, 16), Residual(16, 16), Residual(16, 32, 2), Residual(32, 64, 2)], 64, 10)


def dscnn() -> nn.Module:
    """1x49x10 -> 12."""
    blocks = [part for _ in range(4) for part in (conv(64, 64, 3, 1, 64), conv(64, 64, 1))]
    return _pooled([conv(1, 64, (11, 5), 2), *blocks], 64, 12)


def mobilenetv1() -> nn.Module:
    """3x96x96 -> 2."""
    parts, width = [conv(3, 8, 3, 2)], 8
    for out, stride in ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *[(128, 1)] * 5, (256, 2), (256, 1)):
        parts += [conv(width, width, 3, stride, width), conv(width, out, 1)]
        width = out
    return _pooled(parts, width, 2)


def autoencoder() -> nn.Module:
    """640 -> 640."""
    widths = (640, 128, 128, 128, 128, 8, 128, 128, 128, 128)
    parts = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*parts, nn.Linear(128, 640))


def mobilenetv2() -> nn.Module:
    """3x224x224 -> 1000."""
    parts: list[nn.Module] = [conv(3, 32, 3, 2)]
    width = 32
    for widen, out, count, stride in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)
    ):  # fmt: skip
        for number in range(count):
            parts.append(Inverted(width, out, stride if number == 0 else 1, widen))
            width = out
    return _pooled([*parts, conv(width, 1280, 1)], 1280, 1000)


def resnet18() -> nn.Module:
    """3x224x224 -> 1000."""
    parts: list[nn.Module] = [conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
    for a, b, stride in ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)):
        parts += [Residual(a, b, stride), Residual(b, b)]
    return _pooled(parts, 512, 1000)


def simple_rnn() -> nn.Module:
    """29 steps of 12 -> 9."""
    return Last(nn.RNN(12, 64, batch_first=True), 64, 9)


def gru() -> nn.Module:
    """29 steps of 12 -> 9."""
    return Last(nn.GRU(12, 64, batch_first=True), 64, 9)


def emb_lstm() -> nn.Module:
    """64 tokens -> 8."""
    return Last(nn.LSTM(32, 64, batch_first=True), 64, 8, 128, 32)


def lstm_attention() -> nn.Module:
    """64 tokens -> 8."""
    return Attending()


def transformer() -> nn.Module:
    """64 tokens -> 8."""
    return Encoder()


def stream_lstm() -> nn.Module:
    """10 steps of 32, and the state -> 4 a step, and the state."""
    return Streamed()

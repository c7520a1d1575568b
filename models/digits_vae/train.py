"""Train digits_vae."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.data import digits
from models.digits_vae.net import CODE, Autoencoder
from models.training import Bend, Plan, Progress, fit

PLAN = Plan(epochs=40, rate=4e-3, decay=0.0)
BEND = Bend(turn=0.15, scale=0.1, slant=0.15, move=0.08)
PRICE = 0.1
"""What a nat of the code costs, in nats of the picture: below 1, so that what is decoded stays sharp."""


class Sampled(nn.Module):
    """The autoencoder while it is trained: its code is the mean of a normal distribution, and what is decoded is drawn."""

    def __init__(self, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.spread = nn.Linear(16 * 4 * 4, CODE)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self.autoencoder.features(image)
        mean, spread = self.autoencoder.mean(features), self.spread(features)
        drawn = mean + torch.randn_like(mean) * (spread / 2).exp()
        return self.autoencoder.decode(drawn), mean, spread


def loss(outputs: tuple[Tensor, Tensor, Tensor], image: Tensor, _: Tensor) -> Tensor:
    """What the picture is from what it should be, and the code from standard normal numbers."""
    decoded, mean, spread = outputs
    far = functional.binary_cross_entropy(decoded, image, reduction="sum")
    divergence = 0.5 * (mean.square() + spread.exp() - 1 - spread).sum()
    return (far + PRICE * divergence) / len(image)


def train(packages: Path, progress: Progress) -> nn.Module:
    """The autoencoder, trained as a variational one. What is returned uses the mean: nothing is drawn."""
    torch.manual_seed(1)
    data = digits.load(packages)
    autoencoder = Autoencoder()
    fit(Sampled(autoencoder), digits.images(data.train_x), data.train_y, PLAN, progress, BEND, loss)
    return autoencoder.eval()

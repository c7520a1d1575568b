"""Train digits_gan: a generator against a discriminator that also names the digit."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from models.data import digits
from models.digits_gan.net import CLASSES, NOISE, Generator
from models.training import Bend, Progress

EPOCHS, BATCH = 40, 64
RATE = 1e-3
NAMING = 0.5
"""What a wrongly named digit counts, beside one that looks made."""
KEPT = 0.995
"""How much of the mean generator is kept at each step: the mean of the last few hundred is what is returned."""
BEND = Bend(turn=0.1, scale=0.08, slant=0.1, move=0.06)


class Discriminator(nn.Module):
    """image [N, 1, 28, 28] -> how real it looks [N], and scores of the ten digits [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            spectral_norm(nn.Conv2d(1, 32, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(32, 64, 4, stride=2, padding=1)),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            spectral_norm(nn.Linear(64 * 7 * 7, 128)),
            nn.LeakyReLU(0.2),
        )
        self.real = spectral_norm(nn.Linear(128, 1))
        self.digit = nn.Linear(128, CLASSES)
        self.match = spectral_norm(nn.Embedding(CLASSES, 128))

    def forward(self, image: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(image)
        return self.real(features)[:, 0] + (self.match(classes) * features).sum(1), self.digit(features)


def train(packages: Path, progress: Progress) -> nn.Module:
    """The mean of the generators of the last steps."""
    torch.manual_seed(1)
    data = digits.load(packages)
    x, y = torch.from_numpy(digits.images(data.train_x)), torch.from_numpy(data.train_y)
    generator, discriminator = Generator(), Discriminator()
    mean = deepcopy(generator)
    makes = torch.optim.Adam(generator.parameters(), RATE, betas=(0.5, 0.999))
    judges = torch.optim.Adam(discriminator.parameters(), RATE, betas=(0.5, 0.999))
    for epoch in range(EPOCHS):
        for rows in torch.randperm(len(x)).split(BATCH):
            real, classes = BEND(x[rows]), y[rows]
            made = _made(generator, classes)
            _step(judges, _told_apart(discriminator, real, made.detach(), classes))
            _step(makes, _taken_for_real(discriminator, made, classes))
            _follow(mean, generator)
        progress(epoch + 1, EPOCHS)
    return mean.eval()


def _made(generator: nn.Module, classes: Tensor) -> Tensor:
    return generator(torch.randn(len(classes), NOISE), functional.one_hot(classes, CLASSES).float())


def _told_apart(discriminator: nn.Module, real: Tensor, made: Tensor, classes: Tensor) -> Tensor:
    """The discriminator's loss: real and made digits are to be told apart by a margin, and the real ones named."""
    (yes, named), (no, _) = discriminator(real, classes), discriminator(made, classes)
    return functional.relu(1 - yes).mean() + functional.relu(1 + no).mean() + functional.cross_entropy(named, classes)


def _taken_for_real(discriminator: nn.Module, made: Tensor, classes: Tensor) -> Tensor:
    """The generator's loss: what it made is to look real, and be named as what it was to be."""
    yes, named = discriminator(made, classes)
    return NAMING * functional.cross_entropy(named, classes) - yes.mean()


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def _follow(mean: nn.Module, generator: nn.Module) -> None:
    with torch.no_grad():
        for kept, new in zip(mean.state_dict().values(), generator.state_dict().values(), strict=True):
            if kept.is_floating_point():
                kept.lerp_(new, 1 - KEPT)

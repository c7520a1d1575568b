"""Train patches_cnn."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from models.patches_cnn.data import images, load
from models.patches_cnn.net import net
from models.training import Plan, Progress, fit

PLAN = Plan(epochs=16, rate=2e-3)
LIGHT = 0.15
"""How much brighter or darker, and how much higher or lower in contrast, a picture is shown at most."""


def train(packages: Path, progress: Progress, data: Path | None = None) -> nn.Module:
    """The net, trained on pictures that are mirrored and lit anew in every epoch. `data` is CIFAR-10's folder."""
    torch.manual_seed(1)
    split = load(packages, data)
    return fit(net(), images(split.train_x), split.train_y, PLAN, progress, shown)


def shown(batch: Tensor) -> Tensor:
    """Half of them mirrored, all in another light."""
    mirrored = torch.where(_dice(batch) < 0, batch.flip(-1), batch)
    return (mirrored * (1 + _dice(batch) * LIGHT) + _dice(batch) * LIGHT).clamp(-1, 1)


def _dice(batch: Tensor) -> Tensor:
    """A number of -1..1 for each picture."""
    return torch.rand(len(batch), 1, 1, 1) * 2 - 1

"""Train digits_vit."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from models.data import digits
from models.digits_vit.net import net
from models.training import Bend, Plan, Progress, fit

PLAN = Plan(epochs=40, rate=3e-3, smoothing=0.1, decay=5e-2)
BEND = Bend(turn=0.25, scale=0.15, slant=0.2, move=0.12, rubber=0.12)


def train(packages: Path, progress: Progress) -> nn.Module:
    """The net, trained on digits that are bent anew in every epoch."""
    torch.manual_seed(1)
    data = digits.load(packages)
    return fit(net(), digits.images(data.train_x), data.train_y, PLAN, progress, BEND)

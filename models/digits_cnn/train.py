"""Train digits_cnn."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from models.data import digits
from models.digits_cnn.net import net
from models.training import Plan, Progress, fit

PLAN = Plan(epochs=20, rate=1e-3)


def train(packages: Path, progress: Progress) -> nn.Module:
    """The net, trained as plainly as can be: nothing is augmented."""
    torch.manual_seed(1)
    data = digits.load(packages)
    return fit(net(), digits.images(data.train_x), data.train_y, PLAN, progress)

"""Train language_lstm."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from models.data import language
from models.language_lstm.net import net
from models.language_training import Plan, Progress, fit

SEED = 1
PLAN = Plan(epochs=30, rate=4e-3)


def train(packages: Path, progress: Progress) -> nn.Module:
    """The net, trained plainly."""
    torch.manual_seed(SEED)
    return fit(net(), language.load(packages).train, PLAN, progress, SEED)

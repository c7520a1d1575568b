"""Train language_attention."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from models.data import language
from models.language_attention.net import net
from models.language_training import Plan, Progress, fit

SEED = 1
PLAN = Plan(epochs=45, rate=3e-3, decay=0.02)


def train(packages: Path, progress: Progress) -> nn.Module:
    """The net, trained for longer than the light one."""
    torch.manual_seed(SEED)
    return fit(net(), language.load(packages).train, PLAN, progress, SEED)

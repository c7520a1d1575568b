"""Train heartbeat_autoencoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.data import heartbeats
from models.heartbeat_autoencoder.net import net
from models.training import Plan, Progress, fit

PLAN = Plan(epochs=40, rate=3e-3, decay=1e-4)
STRENGTH = 0.1
"""How much stronger or weaker a window is than it was recorded, as a standard deviation."""


def train(packages: Path, progress: Progress) -> nn.Module:
    """The net. It sees normal beats only, and so learns to restore nothing else."""
    torch.set_num_threads(1)  # the sums are too small to share
    torch.manual_seed(1)
    windows = heartbeats.load(packages).train
    return fit(net(), windows, np.zeros(len(windows), np.int64), PLAN, progress, _louder, _unlike)


def _louder(windows: Tensor) -> Tensor:
    return windows * (1 + STRENGTH * torch.randn(len(windows), 1))


def _unlike(restored: Tensor, windows: Tensor, _: Tensor) -> Tensor:
    return functional.mse_loss(restored, windows)

"""Train speaker_rnn."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from models.data import vowels
from models.speaker_gru.train import Retold
from models.speaker_rnn.net import net
from models.training import Plan, Progress, fit

PLAN = Plan(epochs=160, rate=3e-3, batch=32, smoothing=0.05)


def train(packages: Path, progress: Progress) -> nn.Module:
    """The net, of the same utterances as speaker_gru, retold in the same way."""
    torch.set_num_threads(1)  # the sums are too small to share
    torch.manual_seed(1)
    data = vowels.load(packages)
    return fit(net(), data.train_x, data.train_y, PLAN, progress, Retold(noise=0.5))

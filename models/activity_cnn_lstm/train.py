"""Train activity_cnn_lstm."""

from __future__ import annotations

from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.activity_cnn_lstm.net import Streamed, net
from models.data import motions
from models.training import Plan, Progress, fit

PLAN = Plan(epochs=150, rate=3e-3, batch=20, smoothing=0.05)


def train(packages: Path, progress: Progress) -> nn.Module:
    """The net. It is asked after every window, so that it answers early too."""
    torch.set_num_threads(1)  # the sums are too small to share
    torch.manual_seed(1)
    data = motions.load(packages)
    model = net()
    fit(Streamed(model, motions.WINDOW), data.train_x, data.train_y, PLAN, progress, Worn(), _after_each)
    return model.eval()


class Worn(msgspec.Struct, frozen=True):
    """Recordings that begin elsewhere, of a watch that sits a little differently: channels stronger or weaker, noisy."""

    strength: float = 0.2
    noise: float = 0.05

    def __call__(self, series: Tensor) -> Tensor:
        count, steps, channels = series.shape
        kept = motions.WINDOW * motions.WINDOWS
        begin = torch.randint(steps - kept + 1, (count, 1))
        at = (begin + torch.arange(kept))[..., None].expand(-1, -1, channels)
        strength = 1 + self.strength * torch.randn(count, 1, channels)
        return series.gather(1, at) * strength + self.noise * torch.randn(count, kept, channels)


def _after_each(scores: Tensor, _: Tensor, classes: Tensor) -> Tensor:
    each = classes[:, None].expand(-1, scores.shape[1])
    return functional.cross_entropy(scores.flatten(0, 1), each.flatten(), label_smoothing=PLAN.smoothing)

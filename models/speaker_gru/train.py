"""Train speaker_gru."""

from __future__ import annotations

from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn

from models.data import vowels
from models.speaker_gru.net import net
from models.training import Plan, Progress, fit

PLAN = Plan(epochs=120, rate=3e-3, batch=32, smoothing=0.05)


def train(packages: Path, progress: Progress) -> nn.Module:
    """The net. 270 utterances are few: in every epoch each is said a little differently."""
    torch.set_num_threads(1)  # the sums are too small to share
    torch.manual_seed(1)
    data = vowels.load(packages)
    return fit(net(), data.train_x, data.train_y, PLAN, progress, Retold())


class Retold(msgspec.Struct, frozen=True):
    """Utterances that begin later, end earlier, are said faster or slower, and sound a little different."""

    cut: float = 0.3
    """The share that may be missing at either end."""
    tempo: float = 0.25
    noise: float = 0.4
    """At each moment; over the whole utterance, half as much."""
    least: int = 5
    """Steps that are kept."""

    def __call__(self, series: Tensor) -> Tensor:
        count, steps, channels = series.shape
        lengths = (series.abs().sum(2) > 0).sum(1)
        begin = (torch.rand(count) * self.cut * lengths).floor()
        last = ((lengths - begin) * (1 - torch.rand(count) * self.cut)).clamp(min=self.least).floor() - 1
        moments = torch.arange(steps) * torch.exp((torch.rand(count, 1) * 2 - 1) * self.tempo)
        there = (moments <= last[:, None])[..., None]
        at = begin[:, None] + moments
        share = (at - at.floor())[..., None]
        before = torch.minimum(at.floor().long(), lengths[:, None] - 1)
        after = torch.minimum(before + 1, lengths[:, None] - 1)
        earlier, later = (series.gather(1, place[..., None].expand(-1, -1, channels)) for place in (before, after))
        noise = torch.randn(count, steps, channels) + torch.randn(count, 1, channels) / 2
        return (earlier * (1 - share) + later * share + self.noise * noise) * there

"""How the three nets that tell languages are trained: on phrases made up anew in every epoch. Needs torch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.data.language import UNKNOWN, Phrases, phrases

Progress: TypeAlias = Callable[[int, int], None]
"""Told how many of how many epochs are done."""


class Plan(msgspec.Struct, frozen=True):
    """How long, and how fast. The rate rises, then falls to nothing, once."""

    epochs: int
    rate: float
    """The highest learning rate, of AdamW."""
    phrases: int = 24_000
    """In an epoch."""
    batch: int = 128
    decay: float = 0.01
    smoothing: float = 0.0
    """Of the labels: how much of the certainty goes to the other classes."""
    hidden: float = 0.005
    """The share of characters that the net is told are unknown, so that it has met some."""
    averaged: float = 0.998
    """What is kept of the averaged weights at a step; the rest is from the weights of the moment."""


def fit(net: nn.Module, words: Sequence[Sequence[str]], plan: Plan, progress: Progress, seed: int) -> nn.Module:
    """The net with its weights averaged over the last steps, ready to use. torch's own seed is set before a net is made."""
    steps = plan.epochs * -(-plan.phrases // plan.batch)
    optimizer = torch.optim.AdamW(net.parameters(), plan.rate, betas=(0.9, 0.98), weight_decay=plan.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.rate, total_steps=steps, pct_start=0.1)
    random = np.random.default_rng(seed)
    mean = copy.deepcopy(net).eval()
    net.train()
    for epoch in range(plan.epochs):
        for x, y in _batches(phrases(words, plan.phrases, int(random.integers(1 << 31))), plan, random):
            optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(net(x), y, label_smoothing=plan.smoothing).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            _average(mean, net, min(plan.averaged, (1 + schedule.last_epoch) / (10 + schedule.last_epoch)))
        progress(epoch + 1, plan.epochs)
    return mean


def _batches(made: Phrases, plan: Plan, random: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Phrases of about one length together, cut where the longest ends: what pads them costs time and teaches nothing."""
    lengths = (made.x != 0).sum(1)
    order = np.argsort(lengths + random.random(len(lengths)))
    chunks = [order[start : start + plan.batch] for start in range(0, len(order), plan.batch)]
    random.shuffle(chunks)
    for chunk in chunks:
        x = made.x[chunk, : lengths[chunk].max()]
        unknown = (random.random(x.shape) < plan.hidden) & (x != 0)
        yield torch.from_numpy(np.where(unknown, np.int32(UNKNOWN), x)), torch.from_numpy(made.y[chunk])


def _average(mean: nn.Module, net: nn.Module, kept: float) -> None:
    with torch.no_grad():
        for averaged, now in zip(mean.parameters(), net.parameters(), strict=True):
            averaged.lerp_(now, 1 - kept)

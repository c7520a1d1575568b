"""The training loop that the nets share, and pictures bent a little anew in every epoch. Needs torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_runtime.values import Array

Progress: TypeAlias = Callable[[int, int], None]
"""Told how many of how many epochs are done."""
Augment: TypeAlias = Callable[[Tensor], Tensor]
"""A batch of inputs -> the same, changed a little at random."""
Loss: TypeAlias = Callable[[Any, Tensor, Tensor], Tensor]
"""Outputs, inputs, classes -> what is to become small."""


class Plan(msgspec.Struct, frozen=True):
    """How long, and how fast. The rate rises and falls once, in one cycle."""

    epochs: int
    rate: float
    """The highest learning rate, of AdamW."""
    batch: int = 64
    decay: float = 1e-2
    smoothing: float = 0.0
    """Of the labels: how much of the certainty goes to the other classes."""


def classify(plan: Plan) -> Loss:
    """The loss of a classifier: the cross entropy of its scores."""
    return lambda scores, _, classes: functional.cross_entropy(scores, classes, label_smoothing=plan.smoothing)


def fit(
    net: nn.Module,
    inputs: Array,
    classes: Array,
    plan: Plan,
    progress: Progress,
    augment: Augment = lambda batch: batch,
    loss: Loss | None = None,
) -> nn.Module:
    """Train it in place; returned ready to use. Random numbers are torch's: seed them before the net is made."""
    loss = loss or classify(plan)
    x, y = torch.from_numpy(inputs), torch.from_numpy(classes)
    steps = -(-len(x) // plan.batch)
    optimizer = torch.optim.AdamW(net.parameters(), plan.rate, weight_decay=plan.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.rate, total_steps=plan.epochs * steps)
    net.train()
    for epoch in range(plan.epochs):
        for rows in torch.randperm(len(x)).split(plan.batch):
            batch = augment(x[rows])
            optimizer.zero_grad(set_to_none=True)
            loss(net(batch), batch, y[rows]).backward()
            optimizer.step()
            schedule.step()
        progress(epoch + 1, plan.epochs)
    return net.eval()


class Bend(msgspec.Struct, frozen=True):
    """Pictures turned, scaled, slanted, moved, and pulled about like rubber: each batch anew. What was outside is black."""

    turn: float
    """Radians, at most."""
    scale: float
    """The share of the size, at most; of either axis on its own."""
    slant: float
    move: float
    """The share of half the picture, at most."""
    rubber: float = 0.0
    """How far a point is pulled at most, as a share of half the picture."""
    knots: int = 5
    """Points a side that are pulled; what lies between follows."""

    def __call__(self, images: Tensor) -> Tensor:
        count, _, height, width = images.shape
        turn, slant = self._dice(count) * self.turn, self._dice(count) * self.slant
        wide, high = 1 + self._dice(count) * self.scale, 1 + self._dice(count) * self.scale
        cos, sin = torch.cos(turn), torch.sin(turn)
        across = torch.stack([cos * wide, (slant - sin) * high, self._dice(count) * self.move], 1)
        down = torch.stack([sin * wide, cos * high, self._dice(count) * self.move], 1)
        grid = functional.affine_grid(torch.stack([across, down], 1), list(images.shape), align_corners=False)
        if self.rubber:
            pulls = self._dice(count, 2, self.knots, self.knots) * self.rubber
            pulls = functional.interpolate(pulls, (height, width), mode="bicubic", align_corners=True)
            grid = grid + pulls.permute(0, 2, 3, 1)
        return functional.grid_sample(images, grid, align_corners=False)

    def _dice(self, *shape: int) -> Tensor:
        return torch.rand(*shape) * 2 - 1

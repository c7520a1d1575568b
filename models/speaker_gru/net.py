"""A recurrent layer, the mean of what it says while the speaker speaks, and one dense layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

COEFFICIENTS, UNITS, SPEAKERS = 12, 64, 9


class Speaker(nn.Module):
    """series [N, steps, 12], normalised, zeros after its end -> scores [N, 9]."""

    def __init__(self, recurrent: nn.RNNBase, dropout: float = 0.3) -> None:
        super().__init__()
        self.recurrent = recurrent
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(UNITS, SPEAKERS)

    def forward(self, series: Tensor) -> Tensor:
        said, _ = self.recurrent(series)
        spoken = (series.abs().sum(2, keepdim=True) > 0).to(series.dtype)
        mean = (said * spoken).sum(1) / spoken.sum(1).clamp(min=1)
        return torch.as_tensor(self.out(self.dropout(mean)))


def net() -> nn.Module:
    """64 gated recurrent units."""
    return Speaker(nn.GRU(COEFFICIENTS, UNITS, batch_first=True))

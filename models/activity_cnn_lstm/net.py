"""Two convolutions over a window of a second, and an LSTM over the windows. Its state comes in and goes out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CHANNELS, FEATURES, UNITS, ACTIVITIES = 6, 32, 48, 4
MOST = 3.0
"""No cell's state gets further from zero: a long stream's would grow with every window, and never let go."""


class Activity(nn.Module):
    """window [N, 10, 6], h and c [1, N, 48] -> scores [N, 4], h and c after it."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv1d(CHANNELS, FEATURES, 3, padding=1),
            nn.ReLU(),
            nn.Conv1d(FEATURES, FEATURES, 3, padding=1),
            nn.ReLU(),
        )
        self.recurrent = nn.LSTM(FEATURES, UNITS, batch_first=True)
        self.out = nn.Linear(UNITS, ACTIVITIES)

    def forward(self, window: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        seen = self.convolutions(window.transpose(1, 2)).mean(2)
        said, (h, c) = self.recurrent(seen[:, None], (h, c))
        return self.out(said[:, 0]), h, c.clamp(-MOST, MOST)


class Streamed(nn.Module):
    """series [N, windows * 10, 6] -> the scores after each window, [N, windows, 4]: what is trained."""

    def __init__(self, net: Activity, window: int) -> None:
        super().__init__()
        self.net = net
        self.window = window

    def forward(self, series: Tensor) -> Tensor:
        h = c = torch.zeros(1, len(series), UNITS)
        said = []
        for window in series.split(self.window, 1):
            scores, h, c = self.net(window, h, c)
            said.append(scores)
        return torch.stack(said, 1)


def net() -> Activity:
    """19,652 parameters."""
    return Activity()

"""Characters, read from left to right by one LSTM; attention chooses which of its states count."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.data.language import LANGUAGES, VOCABULARY

CHARACTER, STATE = 32, 80
AFTER_THE_END = -30.0
"""Added to what attention makes of a place: next to nothing of it is left after the softmax. Much lower, and int8 would
spend its 256 steps on the mask."""


class AttentiveReader(nn.Module):
    """text int32 [N, T], 0 after its end -> scores [N, 8]: from a weighted mean of the states."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, CHARACTER, padding_idx=0)
        self.read = nn.LSTM(CHARACTER, STATE, batch_first=True)
        self.weigh = nn.Sequential(nn.Linear(STATE, STATE // 2), nn.Tanh(), nn.Linear(STATE // 2, 1))
        self.score = nn.Linear(STATE, len(LANGUAGES))

    def forward(self, text: Tensor) -> Tensor:
        after = (text == 0).float() * AFTER_THE_END
        states, _ = self.read(self.embed(text))
        weights = torch.softmax(self.weigh(states)[:, :, 0] + after, 1)
        scores: Tensor = self.score(torch.sum(states * weights[:, :, None], 1))
        return scores


def net() -> nn.Module:
    """42,169 parameters."""
    return AttentiveReader()

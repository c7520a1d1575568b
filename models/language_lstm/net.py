"""Characters, read from left to right by one LSTM."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.data.language import LANGUAGES, VOCABULARY

CHARACTER, STATE = 24, 48


class Reader(nn.Module):
    """text int32 [N, T], 0 after its end -> scores [N, 8]: from the state at the last character."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, CHARACTER, padding_idx=0)
        self.read = nn.LSTM(CHARACTER, STATE, batch_first=True)
        self.score = nn.Linear(STATE, len(LANGUAGES))

    def forward(self, text: Tensor) -> Tensor:
        there = (text != 0).float()
        # 1 at the last character and 0 elsewhere. A product with it is exported everywhere; packed sequences are not.
        last = there - functional.pad(there[:, 1:], (0, 1))
        states, _ = self.read(self.embed(text))
        scores: Tensor = self.score(torch.sum(states * last[:, :, None], 1))
        return scores


def net() -> nn.Module:
    """15,920 parameters."""
    return Reader()

"""A transformer encoder over convolved characters."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.data.language import LANGUAGES, LENGTH, VOCABULARY

CHARACTER, NEIGHBOURS, PIECE = 24, 224, 64
HEADS, INNER, LAYERS = 4, 128, 2
AFTER_THE_END = -30.0
"""Added to what attention makes of a place: next to nothing of it is left after the softmax. Much lower, and int8 would
spend its 256 steps on the mask."""


class Layer(nn.Module):
    """Attention, then two dense layers, each added to what came in."""

    def __init__(self) -> None:
        super().__init__()
        self.before_attention, self.before_dense = nn.LayerNorm(PIECE), nn.LayerNorm(PIECE)
        self.ask, self.tell = nn.Linear(PIECE, 3 * PIECE), nn.Linear(PIECE, PIECE)
        self.dense = nn.Sequential(nn.Linear(PIECE, INNER), nn.GELU(), nn.Linear(INNER, PIECE))

    def forward(self, pieces: Tensor, after: Tensor) -> Tensor:
        count, length, _ = pieces.shape
        asked = self.ask(self.before_attention(pieces)).reshape(count, length, 3, HEADS, PIECE // HEADS)
        query, key, value = asked.permute(2, 0, 3, 1, 4).unbind(0)
        fits = query @ key.transpose(2, 3) * (PIECE // HEADS) ** -0.5 + after[:, None, None, :]
        read = (torch.softmax(fits, 3) @ value).transpose(1, 2).reshape(count, length, PIECE)
        pieces = pieces + self.tell(read)
        return pieces + self.dense(self.before_dense(pieces))


class Attention(nn.Module):
    """text int32 [N, T], 0 after its end -> scores [N, 8].

    Two convolutions make a piece of every two characters and their neighbours; attention reads the pieces, and chooses
    which count.
    """

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, CHARACTER, padding_idx=0)
        self.neighbours = nn.Conv1d(CHARACTER, NEIGHBOURS, 5, padding=2)
        self.halve = nn.Conv1d(NEIGHBOURS, PIECE, 3, padding=1, stride=2)
        self.place = nn.Parameter(torch.randn(1, LENGTH // 2, PIECE) * 0.02)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(PIECE)
        self.weigh = nn.Linear(PIECE, 1)
        self.score = nn.Linear(PIECE, len(LANGUAGES))

    def forward(self, text: Tensor) -> Tensor:
        there = (text != 0).float()
        after = (1 - there[:, ::2]) * AFTER_THE_END
        near = functional.gelu(self.neighbours(self.embed(text).transpose(1, 2))) * there[:, None]
        pieces = functional.gelu(self.halve(near)).transpose(1, 2)
        pieces = pieces + self.place[:, : pieces.shape[1]]
        for layer in self.layers:
            pieces = layer(pieces, after)
        pieces = self.norm(pieces)
        weights = torch.softmax(self.weigh(pieces)[:, :, 0] + after, 1)
        scores: Tensor = self.score(torch.sum(pieces * weights[:, :, None], 1))
        return scores


def net() -> nn.Module:
    """141,201 parameters."""
    return Attention()

"""BERT as MiniLM has it: six layers of twelve heads, 384 wide. Named as its published weights are, so that they fit."""

from __future__ import annotations

import math

import torch
from torch import nn

LAYERS, HEADS, WIDTH, INNER = 6, 12, 384, 1536
WORDS, PLACES, TYPES = 30522, 512, 2
EPSILON = 1e-12


class Embeddings(nn.Module):
    """A vector for each word piece, where it stands, and which sentence it is of."""

    def __init__(self) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(WORDS, WIDTH)
        self.position_embeddings = nn.Embedding(PLACES, WIDTH)
        self.token_type_embeddings = nn.Embedding(TYPES, WIDTH)
        self.LayerNorm = nn.LayerNorm(WIDTH, eps=EPSILON)

    def forward(self, ids: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
        places = self.position_embeddings.weight[: ids.shape[1]]
        return self.LayerNorm(self.word_embeddings(ids) + self.token_type_embeddings(types) + places)


class Attention(nn.Module):
    """Every piece looks at every other that the mask lets it see."""

    def __init__(self) -> None:
        super().__init__()
        self.self = nn.ModuleDict({name: nn.Linear(WIDTH, WIDTH) for name in ("query", "key", "value")})
        self.output = nn.ModuleDict({"dense": nn.Linear(WIDTH, WIDTH), "LayerNorm": nn.LayerNorm(WIDTH, eps=EPSILON)})

    def forward(self, x: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        query, key, value = (
            part(x).view(1, -1, HEADS, WIDTH // HEADS).transpose(1, 2) for part in self.self.values()
        )  # fmt: skip
        weights = torch.softmax(query @ key.transpose(2, 3) / math.sqrt(WIDTH // HEADS) + hidden, dim=-1)
        seen = (weights @ value).transpose(1, 2).reshape(1, -1, WIDTH)
        return self.output["LayerNorm"](self.output["dense"](seen) + x)


class Layer(nn.Module):
    """Attention, then two dense layers on each piece by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = Attention()
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(WIDTH, INNER)})
        self.output = nn.ModuleDict({"dense": nn.Linear(INNER, WIDTH), "LayerNorm": nn.LayerNorm(WIDTH, eps=EPSILON)})

    def forward(self, x: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        x = self.attention(x, hidden)
        wide = nn.functional.gelu(self.intermediate["dense"](x))
        return self.output["LayerNorm"](self.output["dense"](wide) + x)


class Bert(nn.Module):
    """ids, mask and types [1, pieces] -> a vector for each piece [1, pieces, 384]."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = Embeddings()
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Layer() for _ in range(LAYERS))})

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
        hidden = (1 - mask.to(torch.float32))[:, None, None, :] * -1e4
        x = self.embeddings(ids, types)
        for layer in self.encoder["layer"]:
            x = layer(x, hidden)
        return x

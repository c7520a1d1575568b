"""speaker_gru with the simplest recurrent layer that there is."""

from __future__ import annotations

from torch import nn

from models.speaker_gru.net import COEFFICIENTS, UNITS, Speaker


def net() -> nn.Module:
    """64 recurrent units with tanh, no gates."""
    return Speaker(nn.RNN(COEFFICIENTS, UNITS, batch_first=True))

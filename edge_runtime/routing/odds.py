"""P(a cloud's answer comes in time), learnt from every call that was sent. Pure.

A logistic model over one number, the logarithm of the time there is over the time predicted. Its weights follow the link by
Adagrad with a slowly fading memory, so that a device that has run for a week still learns; where little was learnt the
odds are taken to be better than they look, or a cloud that was slow once would never be tried again.
"""

from __future__ import annotations

from math import exp, log, sqrt

import msgspec

FADING = 0.998
"""Of what was learnt, how much each further call leaves: some five hundred calls are remembered."""

CLIP = 2.0
"""The logarithm of time over prediction is cut here: past seven times too much or too little nothing more is learnt."""


class Odds(msgspec.Struct, frozen=True):
    """What is known of how far a prediction can be trusted."""

    bias: float = 0.0
    slope: float = 4.0
    """Before anything was learnt: an answer predicted at the deadline is even odds, at half of it sixteen to one."""
    seen_bias: float = 1.0
    seen_slope: float = 1.0
    """The squared gradients, summed and fading: how much was learnt."""

    def of(self, left: float, predicted: float) -> float:
        """P that an answer predicted to take `predicted` seconds comes within `left`."""
        return _sigmoid(self.bias + self.slope * _log_ratio(left, predicted))

    def hopeful(self, left: float, predicted: float, deviations: float) -> float:
        """The same, better by so many deviations of what is not known yet."""
        x = _log_ratio(left, predicted)
        spread = sqrt(1.0 / self.seen_bias + x * x / self.seen_slope)
        return _sigmoid(self.bias + self.slope * x + deviations * spread)

    def learnt(self, left: float, predicted: float, came: bool, step: float) -> Odds:
        """The odds after one more call has come in time, or has not. `step` is Adagrad's."""
        x = _log_ratio(left, predicted)
        error = _sigmoid(self.bias + self.slope * x) - came
        seen_bias = 1.0 + (self.seen_bias - 1.0) * FADING + error * error
        seen_slope = 1.0 + (self.seen_slope - 1.0) * FADING + error * error * x * x
        return Odds(
            self.bias - step * error / sqrt(seen_bias),
            max(0.5, self.slope - step * error * x / sqrt(seen_slope)),  # more time never makes it less likely
            seen_bias,
            seen_slope,
        )


def _log_ratio(left: float, predicted: float) -> float:
    if left <= 0.0:
        return -CLIP
    return min(CLIP, max(-CLIP, log(left / max(predicted, 1e-6))))


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + exp(-x))  # |x| stays far from where this overflows: slope and ratio are bounded

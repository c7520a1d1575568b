"""A convolutional autoencoder: a digit -> 16 numbers -> the digit again."""

from __future__ import annotations

from torch import Tensor, nn

CODE = 16


class Autoencoder(nn.Module):
    """image [N, 1, 28, 28] in 0..1 -> reconstruction [N, 1, 28, 28] in 0..1, code [N, 16]."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.mean = nn.Linear(16 * 4 * 4, CODE)  # not "code": a module that torch exports has its source under that name
        self.decode = nn.Sequential(
            nn.Linear(CODE, 16 * 7 * 7),
            nn.ReLU(),
            nn.Unflatten(1, (16, 7, 7)),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(32, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 1, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        code = self.mean(self.features(image))
        return self.decode(code), code


def net() -> nn.Module:
    """The net, not trained yet."""
    return Autoencoder()

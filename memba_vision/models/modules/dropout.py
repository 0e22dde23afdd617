"""Dropout with a factor."""

import torch
from torch import nn

from memba_vision.ops import scaled_dropout


class ScaledDropout(nn.Dropout):
    """``torch.nn.Dropout`` whose result is multiplied by a factor, in one pass."""

    def forward(self, x: torch.Tensor, factor: float = 1.0) -> torch.Tensor:
        """Return ``factor * dropout(x)``; without dropout outside training."""
        return scaled_dropout(x, self.p if self.training else 0.0, factor)

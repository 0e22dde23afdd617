"""The MLP of a block."""

import torch
import torch.nn.functional as F
from torch import nn

from memba_vision.models.modules.linear import Linear


class Mlp(nn.Module):
    """Two layers with a GELU between, to four times the width and back."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = Linear(dim, 4 * dim)
        self.fc2 = Linear(4 * dim, dim)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Map (..., dim) to the same shape."""
        return self.fc2(F.gelu(self.fc1(hidden)))

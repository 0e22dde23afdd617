"""Bottlenecks with biases, which make an update of the residual stream."""

import math
from typing import Any

import torch
from torch import nn

from memba_vision.models.modules.dropout import ScaledDropout
from memba_vision.models.modules.linear import Linear


class Bottleneck(nn.Module):
    """Base class of bottlenecks, ``scale * up(dropout(inside(down(h))))``.

    Without another initialisation ``down`` is LoRA's and the rest zero.

    Args:
        width: channels of the residual stream.
        rank: channels inside.
        like: a parameter whose device and dtype are taken.
        scale: factor of the update.
        drop_rate: dropout on the activations inside.
    """

    def __init__(
        self, width: int, rank: int, like: torch.Tensor, scale: float, drop_rate: float
    ) -> None:
        super().__init__()
        kind = dict(device=like.device, dtype=like.dtype)
        self.down = Linear(width, rank, **kind)
        self.up = Linear(rank, width, **kind)
        self.dropout = ScaledDropout(drop_rate)
        self.scale = scale
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, hidden: torch.Tensor, *call: Any) -> torch.Tensor:
        """Return the update of (..., width), of the same shape.

        Args:
            hidden: the input, or the output, of a part of the backbone.
            call: other arguments of the call of that part.
        """
        # The residual stream may be wider than the weights.
        hidden = self.prepare(hidden.to(self.down.weight.dtype))
        low_rank = self.inside(self.down(hidden), *call)
        return self.scale * self.up(self.dropout(low_rank))

    def prepare(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return what ``down`` takes."""
        return hidden

    def inside(self, low_rank: torch.Tensor, *call: Any) -> torch.Tensor:
        """Map (..., rank) to the same shape."""
        raise NotImplementedError

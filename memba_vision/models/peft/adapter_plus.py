"""Adapter+ (Steitz and Roth 2024): a GELU bottleneck behind a block, scaled channel by channel."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from memba_vision.models.peft.adapter import Adapter
from memba_vision.models.peft.beside import add_behind
from memba_vision.models.peft.bottleneck import Bottleneck
from memba_vision.models.peft.low_rank import check_low_rank
from memba_vision.registry import ADAPTERS

#: Standard deviation of the weights at the start, which are cut off at twice that (Houlsby).
STD = 0.01


class PostAdapter(Bottleneck):
    """Bottleneck ``s ⊙ up(dropout(gelu(down(h))))`` with biases and a learned ``s``, one at first.

    Args:
        width: channels of the residual stream.
        rank: channels inside.
        like: a parameter whose device and dtype are taken.
        drop_rate: dropout on the activations inside.
    """

    def __init__(self, width: int, rank: int, like: torch.Tensor, drop_rate: float) -> None:
        super().__init__(width, rank, like, nn.Parameter(like.new_ones(width)), drop_rate)
        for layer in (self.down, self.up):
            nn.init.trunc_normal_(layer.weight, std=STD, a=-2 * STD, b=2 * STD)

    def inside(self, low_rank: torch.Tensor, *call: Any) -> torch.Tensor:
        """Activate (..., rank)."""
        return F.gelu(low_rank)


@ADAPTERS.register_module()
class AdapterPlus(Adapter):
    """A bottleneck behind every block, on the residual stream and added to it.

    Trains ``rank * 2 * width + rank + 2 * width`` parameters per block; rank 8 on Vim-S makes
    166,080. Both layers start from small random weights, so that the function before training is
    not quite the pre-trained one. Source: Steitz and Roth 2024 (CVPR), sections 3.2 to 3.4. Their
    stochastic depth, of the backbone and of the adapter, is left to ``drop_path_rate`` of the
    backbone.

    Args:
        rank: width of the bottleneck.
        drop_rate: dropout on the bottleneck's activations.
    """

    needs = ('block',)

    def __init__(self, rank: int = 8, drop_rate: float = 0.0) -> None:
        check_low_rank('AdapterPlus', rank, drop_rate)
        self.settings = dict(rank=rank, drop_rate=drop_rate)

    def attach(self, backbone: nn.Module) -> None:
        """Put a bottleneck behind each block."""
        like = next(backbone.parameters())
        for part in self.sites(backbone).parts():
            update = PostAdapter(part.width, like=like, **self.settings)
            add_behind(backbone, part.block, 'adapter_plus', update)

    def merge(self, backbone: nn.Module) -> str:
        """Return the reason why it stays: a GELU is in between."""
        return 'AdapterPlus stays: its GELU makes it no linear map that a weight could take up'

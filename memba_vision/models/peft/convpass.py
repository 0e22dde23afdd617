"""Convpass (Jie and Deng 2022): a convolution over the patches in a bottleneck beside a layer."""

from typing import Any

import torch
from torch import nn

from memba_vision.models.block_parts import PatchTokens
from memba_vision.models.peft.adapter import Adapter
from memba_vision.models.peft.beside import add_beside, fix_grid, on_maps
from memba_vision.models.peft.bottleneck import Bottleneck
from memba_vision.models.peft.low_rank import check_low_rank
from memba_vision.registry import ADAPTERS


class ConvolutionalBypass(Bottleneck):
    """Bottleneck ``scale * up(dropout(gelu(conv(gelu(down(h))))))`` with biases.

    ``conv`` is 3 x 3 over the patches, with zeros around them, and the identity at the start; every
    other token is a map of its own, of one place. The GELU is ``x sigmoid(1.702 x)``.

    Args:
        width: channels of the residual stream.
        patches: the places of the patches.
        rank: channels inside.
        like: a parameter whose device and dtype are taken.
        scale: factor of the update.
        drop_rate: dropout on the activations inside.
    """

    def __init__(
        self,
        width: int,
        patches: PatchTokens,
        rank: int,
        like: torch.Tensor,
        scale: float,
        drop_rate: float,
    ) -> None:
        super().__init__(width, rank, like, scale, drop_rate)
        self.patches = patches
        self.conv = nn.Conv2d(rank, rank, 3, padding=1, device=like.device, dtype=like.dtype)
        nn.init.xavier_uniform_(self.down.weight)
        nn.init.dirac_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)

    def inside(self, low_rank: torch.Tensor, *call: Any) -> torch.Tensor:
        """Convolve (batch, tokens, rank) over the grid, between two activations."""
        grid = self.patches.grid_of(low_rank, *call)
        return quick_gelu(on_maps(self.patches, quick_gelu(low_rank), grid, self.conv))


def quick_gelu(x: torch.Tensor) -> torch.Tensor:
    """Return ``x * sigmoid(1.702 * x)``."""
    return x * torch.sigmoid(1.702 * x)


@ADAPTERS.register_module()
class Convpass(Adapter):
    """A convolutional bottleneck beside every mixer, and beside every MLP.

    An MLP that is not told the grid of its tokens, as VMamba's, has none. Trains ``rank * 2 * width
    + 9 * rank² + 2 * rank + width`` parameters each; rank 8 on Vim-S makes 170,880. Source: Jie and
    Deng 2022, section 3, and the authors' code.

    Args:
        rank: width of the bottleneck.
        scale: factor of the update.
        drop_rate: dropout on the bottleneck's activations.
    """

    needs = ('block', 'patches')

    def __init__(self, rank: int = 8, scale: float = 1.0, drop_rate: float = 0.1) -> None:
        check_low_rank('Convpass', rank, drop_rate, scale)
        self.settings = dict(rank=rank, scale=scale, drop_rate=drop_rate)

    def attach(self, backbone: nn.Module) -> None:
        """Put a bottleneck beside each mixer and MLP."""
        like, sites = next(backbone.parameters()), self.sites(backbone)
        for part in sites.parts():
            with_mlp = part.mlp is not None and part.patches.grid is not None
            for path in (part.mixer, part.mlp) if with_mlp else (part.mixer,):
                update = ConvolutionalBypass(part.width, part.patches, like=like, **self.settings)
                add_beside(backbone, path, 'convpass', update)
        fix_grid(backbone, sites)

    def merge(self, backbone: nn.Module) -> str:
        """Return the reason why it stays: it convolves."""
        return 'Convpass stays: a convolution between activations is no weight of a projection'

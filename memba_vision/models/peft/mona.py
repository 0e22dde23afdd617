"""Mona (Yin et al. 2025): depthwise convolutions of several sizes behind a block."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from memba_vision.models.block_parts import PatchTokens
from memba_vision.models.peft.adapter import Adapter
from memba_vision.models.peft.beside import add_behind, fix_grid, on_maps
from memba_vision.models.peft.bottleneck import Bottleneck
from memba_vision.models.peft.low_rank import check_low_rank
from memba_vision.registry import ADAPTERS

SIZES = (3, 5, 7)  # of the kernels
NORM_SCALE = 1e-6  # of the normalised part, at the start


class MultiScaleConvolution(nn.Module):
    """Mean of depthwise convolutions, and a 1 x 1 convolution, each beside the identity.

    Args:
        dim: channels.
        like: a parameter whose device and dtype are taken.
    """

    def __init__(self, dim: int, like: torch.Tensor) -> None:
        super().__init__()
        kind = dict(device=like.device, dtype=like.dtype)
        self.convs = nn.ModuleList(
            nn.Conv2d(dim, dim, size, padding=size // 2, groups=dim, **kind) for size in SIZES
        )
        self.projector = nn.Conv2d(dim, dim, 1, **kind)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Map (batch, dim, rows, columns) to the same shape."""
        maps = maps + sum(conv(maps) for conv in self.convs) / len(SIZES)
        return maps + self.projector(maps)


class MultiCognitiveAdapter(Bottleneck):
    """Bottleneck ``up(dropout(gelu(filters(down(s1 ⊙ norm(h) + s2 ⊙ h)))))`` with biases.

    ``s1`` is 1e-6 and ``s2`` one at the start.

    Args:
        width: channels of the residual stream.
        patches: the places of the patches.
        rank: channels inside.
        like: a parameter whose device and dtype are taken.
        drop_rate: dropout on the activations inside.
    """

    def __init__(
        self, width: int, patches: PatchTokens, rank: int, like: torch.Tensor, drop_rate: float
    ) -> None:
        super().__init__(width, rank, like, 1.0, drop_rate)
        self.patches = patches
        self.norm = nn.LayerNorm(width, device=like.device, dtype=like.dtype)
        self.norm_scale = nn.Parameter(like.new_full((width,), NORM_SCALE))
        self.input_scale = nn.Parameter(like.new_ones(width))
        self.filters = MultiScaleConvolution(rank, like)
        self.down.reset_parameters()
        self.up.reset_parameters()

    def prepare(self, hidden: torch.Tensor) -> torch.Tensor:
        """Weight the normalised (..., width) and itself."""
        return self.norm_scale * self.norm(hidden) + self.input_scale * hidden

    def inside(self, low_rank: torch.Tensor, *call: Any) -> torch.Tensor:
        """Filter (batch, tokens, rank) over the grid, and activate."""
        grid = self.patches.grid_of(low_rank, *call)
        return F.gelu(on_maps(self.patches, low_rank, grid, self.filters))


@ADAPTERS.register_module()
class Mona(Adapter):
    """A bottleneck with depthwise convolutions behind every block, added to the residual stream.

    Rank 64 trains 1,459,200 parameters on Vim-S. All layers start from random weights, as the
    authors' do, so that the function before training is not the pre-trained one. The paper has a
    second one between attention and MLP of each Swin block; only whole blocks have a place here.
    Source: Yin et al. 2025 (CVPR), section 3.3, and the authors' code.

    Args:
        rank: width of the bottleneck.
        drop_rate: dropout on the bottleneck's activations.
    """

    needs = ('block', 'patches')

    def __init__(self, rank: int = 64, drop_rate: float = 0.1) -> None:
        check_low_rank('Mona', rank, drop_rate)
        self.settings = dict(rank=rank, drop_rate=drop_rate)

    def attach(self, backbone: nn.Module) -> None:
        """Put a bottleneck behind each block."""
        like, sites = next(backbone.parameters()), self.sites(backbone)
        for part in sites.parts():
            update = MultiCognitiveAdapter(part.width, part.patches, like=like, **self.settings)
            add_behind(backbone, part.block, 'mona', update)
        fix_grid(backbone, sites)

    def merge(self, backbone: nn.Module) -> str:
        """Return the reason why it stays: it convolves."""
        return 'Mona stays: a convolution on the residual stream is no weight of a projection'

"""The stem, blocks and stages of MambaVision (Hatamizadeh and Kautz 2025, section 3)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from mmcv.cnn.bricks.drop import DropPath
from torch import nn
from torch.utils.checkpoint import checkpoint

from memba_vision.models.block_parts import BlockParts
from memba_vision.models.modules.gates import GateState
from memba_vision.models.modules.mlp import Mlp
from memba_vision.models.modules.norm import LayerNorm
from memba_vision.models.modules.windows import from_windows, to_windows
from memba_vision.models.sites import BlockSites, Rows

STEM_EPS = 1e-4
LAYER_SCALE = 1e-5  # at the start


class Stem(nn.Module):
    """Two convolutions of stride 2 that make an image a map."""

    def __init__(self, in_channels: int, stem_dims: int, embed_dims: int) -> None:
        super().__init__()
        self.conv_down = nn.Sequential(
            nn.Conv2d(in_channels, stem_dims, 3, 2, 1, bias=False),
            nn.BatchNorm2d(stem_dims, eps=STEM_EPS),
            nn.ReLU(),
            nn.Conv2d(stem_dims, embed_dims, 3, 2, 1, bias=False),
            nn.BatchNorm2d(embed_dims, eps=STEM_EPS),
            nn.ReLU(),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (batch, channels, height, width) to a quarter of both sizes, rounded up."""
        return self.conv_down(images)


class ConvBlock(nn.Module):
    """Two convolutions beside the residual."""

    def __init__(self, dim: int, drop_path_rate: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 3, 1, 1)
        self.norm1 = nn.BatchNorm2d(dim)
        self.act1 = nn.GELU(approximate='tanh')
        self.conv2 = nn.Conv2d(dim, dim, 3, 1, 1)
        self.norm2 = nn.BatchNorm2d(dim)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Map (batch, dim, height, width) to the same shape."""
        hidden = self.act1(self.norm1(self.conv1(maps)))
        return maps + self.drop_path(self.norm2(self.conv2(hidden)))


class WindowBlock(nn.Module):
    """A mixer or attention, then an MLP, each behind a norm and beside the residual.

    Args:
        dim: width of the sequence.
        mixer: mixes along the sequence.
        drop_path_rate: drop rate of both branches.
        layer_scale: scale each branch per channel, by ``gamma_1`` and ``gamma_2``.
    """

    def __init__(
        self, dim: int, mixer: nn.Module, drop_path_rate: float, layer_scale: bool
    ) -> None:
        super().__init__()
        self.dim = dim
        self.norm1, self.norm2 = LayerNorm(dim), LayerNorm(dim)
        self.mixer = mixer
        self.mlp = Mlp(dim)
        self.drop_path = DropPath(drop_path_rate)
        for name in ('gamma_1', 'gamma_2'):
            scale = nn.Parameter(torch.full((dim,), LAYER_SCALE)) if layer_scale else None
            self.register_parameter(name, scale)

    def forward(
        self, hidden: torch.Tensor, state: GateState = None
    ) -> tuple[torch.Tensor, GateState]:
        """Return the residual stream, (windows, length, dim) float32, and the state."""
        mixed, state = self.mixer(self.norm1(hidden), state)
        hidden = hidden + self._branch(mixed, self.gamma_1)
        return hidden + self._branch(self.mlp(self.norm2(hidden)), self.gamma_2), state

    def _branch(self, update: torch.Tensor, gamma: torch.Tensor | None) -> torch.Tensor:
        return self.drop_path(update if gamma is None else gamma * update)

    def block_sites(self, name: str) -> BlockSites:
        """Return the places that adapters find here; ``name`` is the path of this module."""
        places = name, f'{name}.mixer', f'{name}.mlp'
        parts = BlockParts(self.dim, *places, any_length=True)
        sites = replace(self.mixer.block_sites(f'{name}.mixer'), parts=parts)
        mlp = {f'mlp.{layer}': (Rows(f'{name}.mlp.{layer}'),) for layer in ('fc1', 'fc2')}
        return replace(sites, projections={**sites.projections, **mlp})


class Downsample(nn.Module):
    """A convolution of stride 2 that doubles the channels."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.reduction = nn.Sequential(nn.Conv2d(dim, 2 * dim, 3, 2, 1, bias=False))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Map (batch, dim, height, width) to (batch, 2 * dim, half of each, rounded up)."""
        return self.reduction(maps.to(self.reduction[0].weight.dtype))


class Stage(nn.Module):
    """Blocks on a map or, where there is a window, on the sequences in its windows.

    Args:
        blocks: the blocks.
        window: height and width of a window; None where the blocks take the map.
        downsample: leads to the next stage; None behind the last one.
        with_cp: recompute each block in the backward pass, except those whose BatchNorm trains: it
            would count every batch twice.
    """

    def __init__(
        self,
        blocks: Sequence[nn.Module],
        window: int | None,
        downsample: nn.Module | None,
        with_cp: bool,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.window = window
        self.downsample = downsample
        self.with_cp = with_cp

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Map (batch, dim, height, width) to the same shape, from windows in float32 at least."""
        if self.window is None:
            for block in self.blocks:
                maps = self._run(block, maps)
            return maps
        hidden, state = to_windows(maps, self.window), None
        hidden = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
        for block in self.blocks:
            hidden, state = self._run(block, hidden, state)
        return from_windows(hidden, self.window, *maps.shape[-2:])

    def _run(self, block: nn.Module, *inputs: Any) -> Any:
        if self.with_cp and self.training and not _counts_batches(block):
            return checkpoint(block, *inputs, use_reentrant=False)
        return block(*inputs)


def _counts_batches(block: nn.Module) -> bool:
    norms = (module for module in block.modules() if isinstance(module, nn.BatchNorm2d))
    return any(norm.training for norm in norms)

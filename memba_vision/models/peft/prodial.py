"""ProDiaL (Ham et al. 2025): projections times a near-diagonal matrix, and LoRA beside them."""

from collections.abc import Sequence

import torch
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.peft.adapter import merge_layers, replace_module
from memba_vision.models.peft.low_rank import LowRankAdapter, LowRankLinear
from memba_vision.models.peft.setting_checks import check_whole
from memba_vision.models.peft.targets import find_targets
from memba_vision.registry import ADAPTERS


class ProDiaLLinear(LowRankLinear):
    """Projection with ProDiaL, ``y = diag(s) W P h + b + up(scale * dropout(down(h)))``.

    ``P`` is block-diagonal, in_features x in_features: the identity plus learned weights. At the
    start these, and ``up``, are zero and ``s`` is one: ``y = W h + b``.

    Args:
        base_layer: the frozen projection, in_features to out_features.
        blocks: blocks of ``P``; in_features is a multiple of it.
        rank: width of the bottleneck.
        scale: factor of the bottleneck's update.
        drop_rate: dropout on the bottleneck's activations.
    """

    def __init__(
        self, base_layer: nn.Linear, blocks: int, rank: int, scale: float, drop_rate: float
    ) -> None:
        super().__init__(base_layer, rank, scale, drop_rate)
        weight = base_layer.weight
        width = base_layer.in_features // blocks
        self.blocks = nn.Parameter(weight.new_zeros(blocks, width, width))
        self.row_scale = nn.Parameter(weight.new_ones(base_layer.out_features))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Project (..., in_features) to (..., out_features)."""
        by_block = hidden.unflatten(-1, self.blocks.shape[:2])
        change = torch.einsum('kij,...kj->...ki', self.blocks, by_block)
        projected, bias = self.base_layer(hidden + change.flatten(-2)), self.base_layer.bias
        if bias is not None:
            projected = projected - bias
        out = self.row_scale * projected + self.update(hidden)
        return out if bias is None else out + bias

    @torch.no_grad()
    def merged(self) -> nn.Module:
        """Return the projection with ``diag(s) W P + scale * up down`` in the place of ``W``."""
        weight = self.base_layer.weight
        product = weight + weight @ torch.block_diag(*self.blocks)
        update = self.scale * self.up.weight @ self.down.weight
        weight.copy_(self.row_scale[:, None] * product + update)
        return self.base_layer


@ADAPTERS.register_module()
class ProDiaL(LowRankAdapter):
    """ProDiaL on every linear layer that ``targets`` names.

    Trains ``in_features² / blocks + out_features + rank * (in_features + out_features)``
    parameters per projection. The authors' settings for a plain Mamba have one block per input
    (``P`` is diagonal) and rank 8 or 16; this default, with rank 8, makes 663,552 on ``in_proj``
    and ``out_proj`` of Vim-S. Source: Ham et al. 2025 (CVPR), section 4, and the authors' code,
    which passes the diagonal through a ReLU; its gradient vanishes where the diagonal starts, so
    that is left out here.

    Args:
        targets: names of linear layers.
        blocks: blocks of the near-diagonal matrix; None stands for one per input.
        rank: width of the bottleneck for the part off the diagonal.
        scale: factor of the bottleneck's update.
        drop_rate: dropout on the bottleneck's activations.
    """

    def __init__(
        self,
        targets: Sequence[str] = ('in_proj', 'out_proj'),
        blocks: int | None = None,
        rank: int = 8,
        scale: float = 1.0,
        drop_rate: float = 0.1,
    ) -> None:
        super().__init__(targets, rank, scale, drop_rate)
        if blocks is not None:
            check_whole('ProDiaL', 'blocks', blocks)
        self.blocks = blocks

    def attach(self, backbone: nn.Module) -> None:
        """Wrap the targets, each in a :class:`ProDiaLLinear`."""
        found = find_targets(backbone, self.targets, [nn.Linear])
        for name, layer in found.items():
            if self.blocks is not None and layer.in_features % self.blocks:
                raise UserError(
                    f'ProDiaL: blocks must divide the {layer.in_features} inputs of {name}, got '
                    f'{self.blocks}'
                )
        for name, layer in found.items():
            blocks = self.blocks or layer.in_features
            replace_module(backbone, name, ProDiaLLinear(layer, blocks, **self.settings))

    def merge(self, backbone: nn.Module) -> None:
        """Replace the frozen weights by the adapted ones."""
        merge_layers(backbone, ProDiaLLinear)

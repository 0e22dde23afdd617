"""RepAdapter (Luo et al. 2023): a linear bottleneck before a projection, which folds into it."""

from collections.abc import Sequence

import torch
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.modules.dropout import ScaledDropout
from memba_vision.models.modules.linear import Linear
from memba_vision.models.peft.adapter import AdaptedLayer, merge_layers, replace_module
from memba_vision.models.peft.low_rank import LowRankAdapter
from memba_vision.models.peft.setting_checks import check_whole
from memba_vision.models.peft.targets import find_targets
from memba_vision.registry import ADAPTERS


class GroupedLinear(nn.Module):
    """Linear layer whose outputs are in groups, each of inputs of its own.

    Args:
        in_features: inputs, a multiple of ``groups``.
        out_features: outputs, likewise.
        groups: groups.
        bias: add a bias.
        like: a parameter whose device and dtype are taken.
    """

    def __init__(
        self, in_features: int, out_features: int, groups: int, bias: bool, like: torch.Tensor
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(
            like.new_zeros(groups, out_features // groups, in_features // groups)
        )
        self.bias = nn.Parameter(like.new_zeros(out_features)) if bias else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., in_features) to (..., out_features)."""
        by_group = x.unflatten(-1, (len(self.weight), -1))
        out = torch.einsum('goi,...gi->...go', self.weight, by_group).flatten(-2)
        return out if self.bias is None else out + self.bias


class PrecededLinear(AdaptedLayer):
    """Projection ``y = W (h + scale * up(dropout(down(h)))) + b``; ``up``, in groups, is zero.

    ``down`` and ``up`` have biases where the projection has one, so that all of it folds.

    Args:
        base_layer: the frozen projection, in_features to out_features.
        rank: width of the bottleneck.
        groups: groups of ``up``; rank and in_features are multiples of it.
        scale: factor of the update.
        drop_rate: dropout on the bottleneck's activations.
    """

    def __init__(
        self, base_layer: nn.Linear, rank: int, groups: int, scale: float, drop_rate: float
    ) -> None:
        super().__init__(base_layer)
        like, width = base_layer.weight, base_layer.in_features
        has_bias = base_layer.bias is not None
        self.down = Linear(width, rank, bias=has_bias, device=like.device, dtype=like.dtype)
        self.up = GroupedLinear(rank, width, groups, has_bias, like)
        self.dropout = ScaledDropout(drop_rate)
        self.scale = scale
        nn.init.xavier_uniform_(self.down.weight)
        if has_bias:
            nn.init.zeros_(self.down.bias)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Project (..., in_features) to (..., out_features)."""
        return self.base_layer(hidden + self.scale * self.up(self.dropout(self.down(hidden))))

    @torch.no_grad()
    def merged(self) -> nn.Module:
        """Return the projection with the map before it in its weight and its bias."""
        weight, up = self.base_layer.weight, torch.block_diag(*self.up.weight)
        if self.base_layer.bias is not None:
            shift = self.scale * (up @ self.down.bias + self.up.bias)
            self.base_layer.bias.add_(weight @ shift)
        weight.add_(self.scale * (weight @ up) @ self.down.weight)
        return self.base_layer


@ADAPTERS.register_module()
class RepAdapter(LowRankAdapter):
    """A linear bottleneck before the first projection of every mixer and MLP.

    Trains ``rank * in_features * (1 + 1 / groups)`` parameters per projection, and ``rank +
    in_features`` where it has a bias; rank 8 in two groups on ``in_proj`` of Vim-S makes 110,592.
    Source: Luo et al. 2023, sections 3.2 and 3.3.

    Args:
        targets: names or roles of linear layers.
        rank: width of the bottleneck.
        groups: groups of the second layer.
        scale: factor of the update.
        drop_rate: dropout on the bottleneck's activations.
    """

    def __init__(
        self,
        targets: Sequence[str] = ('branch_in',),
        rank: int = 8,
        groups: int = 2,
        scale: float = 1.0,
        drop_rate: float = 0.1,
    ) -> None:
        super().__init__(targets, rank, scale, drop_rate)
        check_whole('RepAdapter', 'groups', groups)
        if rank % groups:
            raise UserError(f'RepAdapter: groups must divide rank, {rank}; got {groups}')
        self.groups = groups

    def attach(self, backbone: nn.Module) -> None:
        """Wrap the targets, each in a :class:`PrecededLinear`."""
        found = find_targets(backbone, self.targets, [nn.Linear])
        for name, layer in found.items():
            if layer.in_features % self.groups:
                raise UserError(
                    f'RepAdapter: groups must divide the {layer.in_features} inputs of {name}, '
                    f'got {self.groups}'
                )
        for name, layer in found.items():
            adapted = PrecededLinear(layer, groups=self.groups, **self.settings)
            replace_module(backbone, name, adapted)

    def merge(self, backbone: nn.Module) -> None:
        """Fold the bottlenecks into the projections behind them."""
        merge_layers(backbone, PrecededLinear)

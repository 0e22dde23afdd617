"""LoRA (Hu et al. 2022): a low-rank update beside a frozen projection."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.modules.linear import Linear
from memba_vision.models.peft.adapter import Adapter, find_targets, replace_module
from memba_vision.registry import ADAPTERS


class LoRALinear(nn.Module):
    """``y = W h + b + up(scale * dropout(down(h)))``, with ``up`` zero at the start.

    Args:
        base_layer: the frozen projection, in_features to out_features.
        rank: width of the bottleneck.
        scale: factor of the update.
        drop_rate: dropout on the bottleneck's activations.
    """

    def __init__(
        self, base_layer: nn.Linear, rank: int, scale: float = 1.0, drop_rate: float = 0.0
    ) -> None:
        super().__init__()
        like = dict(device=base_layer.weight.device, dtype=base_layer.weight.dtype)
        self.base_layer = base_layer
        self.scale = scale
        self.down = Linear(base_layer.in_features, rank, bias=False, **like)
        self.dropout = nn.Dropout(drop_rate)
        self.up = Linear(rank, base_layer.out_features, bias=False, **like)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        nn.init.zeros_(self.up.weight)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(..., in_features) to (..., out_features)."""
        return self.base_layer(hidden) + self.up(self.scale * self.dropout(self.down(hidden)))


@ADAPTERS.register_module()
class LoRA(Adapter):
    """LoRA on every projection that ``targets`` names.

    Trains ``rank * (in_features + out_features)`` parameters per projection; rank 64 on
    ``in_proj`` and ``out_proj`` of Vim-S makes 4,718,592. Source: Hu et al. 2022, section 4; on
    Vim, Yoshimura et al. 2025 (MambaPEFT), section 3.

    Args:
        targets: names of linear layers.
        rank: width of the bottleneck.
        scale: factor of the update.
        drop_rate: dropout on the bottleneck's activations.
    """

    def __init__(
        self,
        targets: Sequence[str] = ('in_proj', 'out_proj'),
        rank: int = 64,
        scale: float = 0.1,
        drop_rate: float = 0.1,
    ) -> None:
        if isinstance(targets, str) or not targets:
            raise UserError(f'LoRA: targets must be a list of layer names, got {targets!r}')
        if rank < 1:
            raise UserError(f'LoRA: rank must be at least 1, got {rank}')
        if not 0 <= drop_rate < 1:
            raise UserError(f'LoRA: drop_rate must be in [0, 1), got {drop_rate}')
        self.targets = tuple(targets)
        self.rank = rank
        self.scale = scale
        self.drop_rate = drop_rate

    def attach(self, backbone: nn.Module) -> None:
        """Wrap the targets, each in a :class:`LoRALinear`."""
        for name, layer in find_targets(backbone, self.targets, nn.Linear).items():
            replace_module(backbone, name, LoRALinear(layer, self.rank, self.scale, self.drop_rate))

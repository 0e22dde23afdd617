"""Parallel adapter (He et al. 2022; AdaptFormer, Chen et al. 2022): a bottleneck beside a layer."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from memba_vision.models.peft.adapter import replace_module
from memba_vision.models.peft.low_rank import AdditiveLayer, LowRankAdapter, LowRankLinear
from memba_vision.models.peft.targets import find_targets
from memba_vision.registry import ADAPTERS


class ParallelLinear(LowRankLinear):
    """Projection with an adapter, ``y = W h + b + up(scale * dropout(relu(down(h))))``.

    ``up`` is zero at the start. The arguments are those of :class:`LowRankLinear`.
    """

    part = 'parallel'

    def low_rank(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return ``scale * dropout(relu(down(hidden)))``."""
        return self.dropout(F.relu(self.down(hidden)), self.scale)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Project (..., in_features) to (..., out_features)."""
        return self.up(self.low_rank(hidden), added=self.base_layer(hidden))


@ADAPTERS.register_module()
class ParallelAdapter(LowRankAdapter):
    """A ReLU bottleneck beside every linear layer that ``targets`` names.

    Trains ``rank * (in_features + out_features)`` parameters per projection; rank 24 on
    ``out_proj`` of Vim-S makes 663,552, the published 663 K. Source: Yoshimura et al. 2025
    (MambaPEFT), section 3.1.

    Args:
        targets: names of linear layers.
        rank: width of the bottleneck.
        scale: factor of the update.
        drop_rate: dropout on the bottleneck's activations.
    """

    def __init__(
        self,
        targets: Sequence[str] = ('out_proj',),
        rank: int = 24,
        scale: float = 0.1,
        drop_rate: float = 0.1,
    ) -> None:
        super().__init__(targets, rank, scale, drop_rate)

    def attach(self, backbone: nn.Module) -> None:
        """Wrap the targets, each in a :class:`ParallelLinear`."""
        found = find_targets(
            backbone, self.targets, [nn.Linear], [AdditiveLayer], ParallelLinear.part
        )
        for name, layer in found.items():
            replace_module(backbone, name, ParallelLinear(layer, **self.settings))

    def merge(self, backbone: nn.Module) -> str:
        """Return the reason why it stays: a ReLU is in between."""
        return 'ParallelAdapter stays: its ReLU makes it no linear map that a weight could take up'

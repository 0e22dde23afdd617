"""DoRA (Liu et al. 2024): LoRA on the direction of a weight, and a separate magnitude."""

from pathlib import Path

import torch
from torch import nn

from memba_vision.models.peft.adapter import merge_layers, replace_module
from memba_vision.models.peft.hf_format import save_low_rank
from memba_vision.models.peft.low_rank import LowRankAdapter, LowRankLinear
from memba_vision.models.peft.targets import find_targets
from memba_vision.registry import ADAPTERS


class DoRALinear(LowRankLinear):
    """Projection with DoRA, ``y = m * (V h) / |V| + b`` with ``V = W + scale * up down``.

    ``|V|`` are the norms of its rows. At the start ``m`` is ``|W|`` and ``up`` zero, so
    ``y = W h + b``. As in the paper's section 4.3, no gradient flows through ``|V|``.

    Args:
        base_layer: the frozen projection, in_features to out_features.
        rank: width of the bottleneck.
        scale: factor of the update.
        drop_rate: dropout on the bottleneck's activations.
    """

    def __init__(
        self, base_layer: nn.Linear, rank: int, scale: float = 1.0, drop_rate: float = 0.0
    ) -> None:
        super().__init__(base_layer, rank, scale, drop_rate)
        self.magnitude = nn.Parameter(base_layer.weight.detach().norm(dim=1))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Project (..., in_features) to (..., out_features)."""
        projected, bias = self.base_layer(hidden), self.base_layer.bias
        if bias is not None:
            projected = projected - bias
        out = self._row_scale() * (projected + self.update(hidden))
        return out if bias is None else out + bias

    def _row_scale(self) -> torch.Tensor:
        return self.magnitude / self._direction().norm(dim=1)

    @torch.no_grad()
    def _direction(self) -> torch.Tensor:
        return self.base_layer.weight + self.scale * self.up.weight @ self.down.weight

    @torch.no_grad()
    def merged(self) -> nn.Module:
        """Return the projection with ``m * V / |V|`` in the place of ``W``."""
        self.base_layer.weight.copy_(self._row_scale()[:, None] * self._direction())
        return self.base_layer


@ADAPTERS.register_module()
class DoRA(LowRankAdapter):
    """DoRA on every linear layer that ``targets`` names.

    Trains ``rank * (in_features + out_features) + out_features`` parameters per projection; rank
    64 on ``in_proj`` and ``out_proj`` of Vim-S makes 4,764,672. The magnitude is one number per
    output, as in the authors' code. Source: Liu et al. 2024, section 4.

    Args:
        targets: names of linear layers.
        rank: width of the bottleneck.
        scale: factor of the update.
        drop_rate: dropout on the bottleneck's activations.
    """

    def attach(self, backbone: nn.Module) -> None:
        """Wrap the targets, each in a :class:`DoRALinear`."""
        for name, layer in find_targets(backbone, self.targets, [nn.Linear]).items():
            replace_module(backbone, name, DoRALinear(layer, **self.settings))

    def merge(self, backbone: nn.Module) -> None:
        """Replace the frozen weights by the adapted ones."""
        merge_layers(backbone, DoRALinear)

    def save_hf(self, backbone: nn.Module, folder: Path) -> None:
        """Save in the format of peft's DoRA."""
        save_low_rank(backbone, [DoRALinear], self.targets, folder)

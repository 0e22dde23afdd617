"""Partial LoRA: a low-rank update of the rows of a projection that make one quantity alone."""

import torch
import torch.nn.functional as F
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.peft.adapter import (
    Adapter,
    find_targets,
    fold_layers,
    replace_module,
)
from memba_vision.models.peft.lora import AdditiveLayer, check_low_rank, make_bottleneck
from memba_vision.models.sites import check_sites
from memba_vision.registry import ADAPTERS

#: The role of each part's rows.
ROLE_OF = {'x': 'mix.x', 'z': 'mix.z', 'delta': 'mix.delta', 'B': 'mix.B', 'C': 'mix.C'}


class PartialLoRALinear(AdditiveLayer):
    """``y = W h``, to whose outputs ``rows`` ``scale * up(dropout(down(h)))`` is added.

    Args:
        base_layer: the frozen projection, in_features to out_features.
        part: name of the quantity that the rows make.
        rows: the outputs that are adapted.
        rank: width of the bottleneck.
        scale: factor of the update.
        drop_rate: dropout on the bottleneck's activations.
    """

    def __init__(
        self,
        base_layer: nn.Module,
        part: str,
        rows: range,
        rank: int,
        scale: float = 1.0,
        drop_rate: float = 0.0,
    ) -> None:
        down, up = make_bottleneck(base_layer, rank, len(rows))
        super().__init__(base_layer, down, up, scale, drop_rate)
        self.part = part
        self.rows = rows

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(..., in_features) to (..., out_features)."""
        around = (self.rows.start, self.out_features - self.rows.stop)
        return self.base_layer(hidden) + F.pad(self.update(hidden), around)

    @torch.no_grad()
    def merged(self) -> nn.Module:
        """The update, added to the rows of the weight."""
        update = self.scale * self.up.weight @ self.down.weight
        self.base_layer.weight[self.rows.start : self.rows.stop] += update
        return self.base_layer


@ADAPTERS.register_module()
class PartialLoRA(Adapter):
    """LoRA on the rows of ``in_proj`` or ``x_proj`` that make one of x, z, Δ, B and C.

    Trains ``rank * (in_features + rows)`` parameters per projection; with rank 64 on Vim-S, 'x'
    and 'z' make 1,769,472, 'delta' 2,433,024, 'B' and 'C' 2,408,448 (both directions). Several
    parts may be adapted, each by a PartialLoRA of its own. Source: Yoshimura et al. 2025
    (MambaPEFT), section 3.2, "LoRAp".

    Args:
        part: 'x' or 'z' (the halves of ``in_proj``), 'delta', 'B' or 'C' (rows of ``x_proj`` and
            ``x_proj_b``).
        rank: width of the bottleneck.
        scale: factor of the update.
        drop_rate: dropout on the bottleneck's activations.
    """

    def __init__(
        self, part: str = 'x', rank: int = 64, scale: float = 0.1, drop_rate: float = 0.1
    ) -> None:
        if part not in ROLE_OF:
            raise UserError(f'PartialLoRA: unknown part {part!r}; known are {", ".join(ROLE_OF)}')
        check_low_rank('PartialLoRA', rank, drop_rate)
        self.part = part
        self.settings = dict(rank=rank, scale=scale, drop_rate=drop_rate)

    def attach(self, backbone: nn.Module) -> None:
        """Wrap the projections, each in a :class:`PartialLoRALinear`."""
        role = ROLE_OF[self.part]
        sites = check_sites(backbone, 'PartialLoRA', role).projections(role)
        names = [rows.module for rows in sites]
        layers = find_targets(backbone, names, [nn.Linear], [AdditiveLayer], self.part)
        for (name, layer), place in zip(layers.items(), sites, strict=True):
            adapted = PartialLoRALinear(layer, self.part, place.rows, **self.settings)
            replace_module(backbone, name, adapted)

    def merge(self, backbone: nn.Module) -> None:
        """Add the updates to the rows of the weights."""
        fold_layers(backbone, PartialLoRALinear)

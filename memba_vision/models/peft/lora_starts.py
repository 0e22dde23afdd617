"""LoRA that starts from a part of the weight: PiSSA (Meng et al. 2024), OLoRA (Büyükakyüz 2024)."""

from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import nn

from memba_vision.models.peft.low_rank import AdditiveLayer, LowRankLinear


def principal_part(weight: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``down`` and ``up`` whose product is the best approximation of a weight (PiSSA).

    Both have the square roots of the largest singular values. Source: Meng et al. 2024, equations 2
    to 4.
    """
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    root = values[:rank].sqrt()
    return root[:, None] * right[:rank], left[:, :rank] * root


def orthonormal_part(weight: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``down`` and ``up`` from a QR decomposition, whose ``up`` is orthonormal (OLoRA).

    Source: Büyükakyüz 2024, section 3.
    """
    orthonormal, triangular = torch.linalg.qr(weight)
    return triangular[:rank], orthonormal[:, :rank]


#: Ways to start, by name; LoRA's own, with ``up`` zero, is 'zero'.
STARTS = MappingProxyType({'pissa': principal_part, 'olora': orthonormal_part})


class StartedLoRALinear(LowRankLinear, AdditiveLayer):
    """Projection ``y = W h + b + up(scale * dropout(down(h))) - scale * up₀ down₀ h``.

    ``down`` and ``up`` start from ``down₀`` and ``up₀``, a part of ``W``. The papers take the part
    out of the frozen weight; here it is taken out beside it, so that the weight stays that of the
    base and a checkpoint small. Both are the same function. A weight with fewer directions than
    ``rank`` gives all that it has; the others start as LoRA's do.

    Args:
        base_layer: the frozen projection, in_features to out_features.
        start: a name of :data:`STARTS`.
        rank: width of the bottleneck.
        scale: factor of the update.
        drop_rate: dropout on the bottleneck's activations.
    """

    def __init__(
        self,
        base_layer: nn.Module,
        start: str,
        rank: int,
        scale: float = 1.0,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__(base_layer, rank, scale, drop_rate)
        weight = base_layer.weight.detach()
        down, up = STARTS[start](weight.to(torch.promote_types(weight.dtype, torch.float32)), rank)
        if start == 'pissa':
            down, up = down / scale**0.5, up / scale**0.5
        self.register_buffer('start_down', down.to(weight.dtype).contiguous())
        self.register_buffer('start_up', up.to(weight.dtype).contiguous())
        with torch.no_grad():
            self.down.weight[: len(down)] = self.start_down
            self.up.weight[:, : len(down)] = self.start_up

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Project (..., in_features) to (..., out_features)."""
        start = F.linear(F.linear(hidden, self.start_down), self.start_up)
        return self.up(self.low_rank(hidden), added=self.base_layer(hidden)) - self.scale * start

    @torch.no_grad()
    def merged(self) -> nn.Module:
        """Return the projection with ``scale * (up down - up₀ down₀)`` added to its weight."""
        change = self.up.weight @ self.down.weight - self.start_up @ self.start_down
        self.base_layer.weight.add_(self.scale * change)
        return self.base_layer

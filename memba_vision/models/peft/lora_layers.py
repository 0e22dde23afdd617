"""Layers with LoRA: whole, on some outputs, with its hidden activations exposed, convolutions."""

import torch
import torch.nn.functional as F
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.modules.linear import Linear
from memba_vision.models.peft.low_rank import AdditiveLayer, LowRankLinear, make_bottleneck
from memba_vision.ops import linear_each


class LoRALinear(LowRankLinear, AdditiveLayer):
    """Projection with LoRA, ``y = W h + b + up(scale * dropout(down(h)))``.

    ``up`` is zero at the start. The arguments are those of :class:`LowRankLinear`.
    """

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Project (..., in_features) to (..., out_features)."""
        return self.up(self.low_rank(hidden), added=self.base_layer(hidden))

    def expose(self, rows: range) -> tuple['ExposedLoRALinear', nn.Linear]:
        """Split off the update of the last outputs, for a module that needs its hidden activations.

        Args:
            rows: the last outputs, whose update the other module adds.

        Returns:
            A layer to replace this one, which yields the other outputs and the hidden activations;
            and the rows of ``up`` that it no longer has, as parameters of their own.

        Raises:
            UserError: these are not the last outputs.
        """
        if rows.stop != self.out_features:
            raise UserError(f'LoRA exposes what leads to its last outputs, not to {rows}')
        return ExposedLoRALinear(self, rows.start), _some_rows(self.up, rows)

    @torch.no_grad()
    def merged(self) -> nn.Module:
        """Return the projection with ``W + scale * up down`` in the place of ``W``."""
        self.base_layer.weight.add_(self.scale * self.up.weight @ self.down.weight)
        return self.base_layer


class PartialLoRALinear(AdditiveLayer):
    """Projection ``y = W h + b`` with ``up(scale * dropout(down(h)))`` added to some outputs.

    Args:
        base_layer: the frozen projection, in_features to out_features.
        part: the role of the rows; two adapters of one part collide.
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
        """Project (..., in_features) to (..., out_features)."""
        around = (self.rows.start, self.out_features - self.rows.stop)
        return self.base_layer(hidden) + F.pad(self.update(hidden), around)

    @torch.no_grad()
    def merged(self) -> nn.Module:
        """Return the projection with the update added to the rows of the weight."""
        update = self.scale * self.up.weight @ self.down.weight
        self.base_layer.weight[self.rows.start : self.rows.stop] += update
        return self.base_layer


class TappedLinear(nn.Module):
    """Projection with LoRA's hidden activations beside its last outputs.

    Yields the pair ``W_first h`` and ``(W_rest h, down h)``.

    Args:
        base_layer: the projection.
        down: to the hidden activations.
        first: number of the first outputs.
    """

    owner = 'LoRA'

    def __init__(self, base_layer: nn.Module, down: nn.Linear, first: int) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.down = down
        self.first = first

    def forward(
        self, hidden: torch.Tensor
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """Project (..., in_features) to (..., first), and (..., others) with (..., rank)."""
        if type(self.base_layer) is Linear and self.base_layer.bias is None:
            weight = self.base_layer.weight
            parts = weight[: self.first], weight[self.first :]
            first, rest, low_rank = linear_each(hidden, *parts, self.down.weight)
            return first, (rest, low_rank)
        projected = self.base_layer(hidden)
        sizes = [self.first, projected.shape[-1] - self.first]
        first, rest = projected.split(sizes, dim=-1)
        return first, (rest, self.down(hidden))


class ExposedLoRALinear(TappedLinear):
    """Projection with LoRA on its first outputs, and LoRA's hidden activations beside the others.

    Yields the pair ``W_first h + up(scale * dropout(down h))`` and ``(W_rest h, down h)``.

    Args:
        lora: the layer to replace; its ``up`` is cut to the first outputs.
        first: number of the first outputs.
    """

    def __init__(self, lora: LoRALinear, first: int) -> None:
        super().__init__(lora.base_layer, lora.down, first)
        self.scale = lora.scale
        self.dropout = lora.dropout
        self.up = _some_rows(lora.up, range(first))

    def forward(
        self, hidden: torch.Tensor
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """Project (..., in_features) to (..., first), and (..., others) with (..., rank)."""
        first, (rest, low_rank) = super().forward(hidden)
        return self.up(self.dropout(low_rank, self.scale), added=first), (rest, low_rank)

    @torch.no_grad()
    def merged(self) -> nn.Module:
        """Return a layer with the update of the first outputs added to the rows of the weight."""
        self.base_layer.weight[: self.first] += self.scale * self.up.weight @ self.down.weight
        return TappedLinear(self.base_layer, self.down, self.first)


def _some_rows(up: nn.Linear, rows: range) -> nn.Linear:
    """Return a linear layer with some of the outputs of ``up``, as a parameter of its own."""
    part = Linear(up.in_features, len(rows), bias=False, device='meta', dtype=up.weight.dtype)
    part.weight = nn.Parameter(up.weight.detach()[rows.start : rows.stop].clone())
    part.lr_factor = getattr(up, 'lr_factor', 1.0)
    return part


class LoRAConv2d(AdditiveLayer):
    """Convolution with LoRA: ``down`` has its kernel and stride, ``up`` is 1 x 1.

    Args:
        base_layer: the frozen convolution, without groups.
        rank: channels of the bottleneck.
        scale: factor of the update.
        drop_rate: dropout on the bottleneck's activations.
    """

    def __init__(
        self, base_layer: nn.Conv2d, rank: int, scale: float = 1.0, drop_rate: float = 0.0
    ) -> None:
        like = dict(device=base_layer.weight.device, dtype=base_layer.weight.dtype)
        geometry = dict(
            kernel_size=base_layer.kernel_size,
            stride=base_layer.stride,
            padding=base_layer.padding,
            dilation=base_layer.dilation,
        )
        down = nn.Conv2d(base_layer.in_channels, rank, bias=False, **geometry, **like)
        up = nn.Conv2d(rank, base_layer.out_channels, 1, bias=False, **like)
        super().__init__(base_layer, down, up, scale, drop_rate)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Convolve (batch, in_channels, height, width) to (batch, out_channels, rows, columns)."""
        return self.base_layer(images) + self.update(images)

    @torch.no_grad()
    def merged(self) -> nn.Module:
        """Return the convolution with the update, as one kernel, added to its own."""
        kernel = torch.einsum('or,rihw->oihw', self.up.weight[:, :, 0, 0], self.down.weight)
        self.base_layer.weight += self.scale * kernel
        return self.base_layer

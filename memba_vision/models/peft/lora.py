"""LoRA (Hu et al. 2022): a low-rank update beside a frozen projection."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.modules.linear import Linear
from memba_vision.models.peft.adapter import merge_layers, replace_module
from memba_vision.models.peft.hf_format import save_low_rank
from memba_vision.models.peft.low_rank import (
    AdditiveLayer,
    LowRankAdapter,
    LowRankLinear,
    make_bottleneck,
)
from memba_vision.models.peft.targets import find_parts, find_targets
from memba_vision.ops import linear_each
from memba_vision.registry import ADAPTERS


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


@ADAPTERS.register_module()
class LoRA(LowRankAdapter):
    """LoRA on every projection that ``targets`` names, the patch embedding's convolution too.

    Trains ``rank * (in_features + out_features)`` parameters per projection; rank 64 on
    ``in_proj`` and ``out_proj`` of Vim-S makes 4,718,592, on ``x_proj`` and ``x_proj_b``
    2,531,328, on ``dt_proj`` and ``dt_proj_b`` 2,433,024; rank 32 on ``patch_embed.proj`` 36,864.
    Source: Hu et al. 2022, section 4; on Vim, Yoshimura et al. 2025 (MambaPEFT), section 3.

    Args:
        targets: names or roles (:data:`memba_vision.models.sites.ROLES`) of linear layers or 2D
            convolutions. Of a role such as 'mix.x' the outputs that it stands for are adapted.
        rank: width of the bottleneck.
        scale: factor of the update.
        drop_rate: dropout on the bottleneck's activations.
    """

    def attach(self, backbone: nn.Module) -> None:
        """Wrap the targets.

        Those of a role that stands for some outputs get a :class:`PartialLoRALinear`, other linear
        layers a :class:`LoRALinear`, convolutions a :class:`LoRAConv2d`.
        """
        parts = find_parts(backbone, self.targets, [AdditiveLayer])
        whole = [target for target in self.targets if target not in parts]
        found = find_targets(backbone, whole, [nn.Linear, nn.Conv2d], [AdditiveLayer])
        for name, layer in found.items():
            kind = LoRAConv2d if isinstance(layer, nn.Conv2d) else LoRALinear
            replace_module(backbone, name, kind(layer, **self.settings))
        for role, places in parts.items():
            for place in places:
                layer = backbone.get_submodule(place.module)
                rows = place.rows or range(layer.out_features)
                adapted = PartialLoRALinear(layer, role, rows, **self.settings)
                replace_module(backbone, place.module, adapted)

    def merge(self, backbone: nn.Module) -> None:
        """Add the updates to the weights; a gate keeps the hidden activations that it reads."""
        merge_layers(backbone, LoRALinear, LoRAConv2d, PartialLoRALinear, ExposedLoRALinear)

    def save_hf(self, backbone: nn.Module, folder: Path) -> None:
        """Save in the format of peft's LoRA.

        Raises:
            UserError: some outputs of a projection alone have an update, which peft lacks.
        """
        if any(isinstance(module, PartialLoRALinear) for module in backbone.modules()):
            raise UserError(
                f'{type(self).__name__}: the files of peft hold updates of whole projections, and '
                'this adapter changes some outputs of one alone: export it --as merged'
            )
        save_low_rank(backbone, [LoRALinear, LoRAConv2d], self.targets, folder)

"""SSF (Lian et al. 2022): a learned scale and shift of every operation's output."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.func import functional_call

from memba_vision.models.peft.adapter import AdaptedLayer, Adapter, merge_layers, replace_module
from memba_vision.models.peft.targets import check_targets, find_targets
from memba_vision.registry import ADAPTERS


class ScaledAndShifted(AdaptedLayer):
    """Layer with ``y = scale * layer(x) + shift``, ``scale`` one and ``shift`` zero at the start.

    Without a bias in the layer there is no shift, so that the change folds into its weights.

    Args:
        base_layer: the frozen projection, convolution or norm.
    """

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__(base_layer)
        weight, has_bias = base_layer.weight, base_layer.bias is not None
        self.scale = nn.Parameter(weight.new_ones(len(weight)))
        self.shift = nn.Parameter(weight.new_zeros(len(weight))) if has_bias else None
        #: Shape that stands along the channels of an output.
        self.shape = (-1, 1, 1) if isinstance(base_layer, nn.Conv2d) else (-1,)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the layer, and scale and shift its output."""
        out = self.scale.view(self.shape) * self.base_layer(x)
        return out if self.shift is None else out + self.shift.view(self.shape)

    def weights(self) -> dict[str, torch.Tensor]:
        """Return weight and bias of a plain layer that computes the same."""
        weight = self.base_layer.weight
        by_row = self.scale.view(-1, *[1] * (weight.ndim - 1))
        if self.shift is None:
            return {'weight': by_row * weight}
        return {'weight': by_row * weight, 'bias': self.scale * self.base_layer.bias + self.shift}

    @torch.no_grad()
    def merged(self) -> nn.Module:
        """Return the layer with scale and shift in its weights."""
        for name, value in self.weights().items():
            getattr(self.base_layer, name).copy_(value)
        return self.base_layer


class ScaledAndShiftedNorm(ScaledAndShifted):
    """Norm with a scale and a shift, on whichever axis it has its channels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise, and scale and shift the output."""
        return functional_call(self.base_layer, self.weights(), (x,))


@ADAPTERS.register_module()
class SSF(Adapter):
    """A scale and a shift behind each layer that ``targets`` names.

    Trains the number of outputs of each layer, and where it has a bias twice that; all projections
    and norms of Vim-S make 132,864. A layer without a bias is scaled alone: the shift of the paper
    would not fold into it. Vim's convolution has its activation inside, and is left as it is.
    Source: Lian et al. 2022 (NeurIPS), section 3.2; the authors' code draws the scale from a normal
    distribution around one and the shift from one around zero, both of standard deviation 0.02.

    Args:
        targets: names or roles of linear layers, 2D convolutions and norms.
    """

    def __init__(self, targets: Sequence[str] = ('all_proj', 'norm')) -> None:
        check_targets('SSF', targets)
        self.targets = tuple(targets)

    def attach(self, backbone: nn.Module) -> None:
        """Wrap the targets."""
        others = [target for target in self.targets if target != 'norm']
        layers = find_targets(backbone, others, [nn.Linear, nn.Conv2d])
        norms = find_targets(backbone, ['norm'], [nn.Module]) if 'norm' in self.targets else {}
        for name, layer in layers.items():
            replace_module(backbone, name, ScaledAndShifted(layer))
        for name, norm in norms.items():
            replace_module(backbone, name, ScaledAndShiftedNorm(norm))

    def merge(self, backbone: nn.Module) -> None:
        """Put scales and shifts into the weights."""
        merge_layers(backbone, ScaledAndShifted)

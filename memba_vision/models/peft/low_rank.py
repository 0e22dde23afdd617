"""Base classes of layers with a low-rank update, and of the adapters that put them on targets."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from memba_vision.models.modules.dropout import ScaledDropout
from memba_vision.models.modules.linear import Linear
from memba_vision.models.peft.adapter import AdaptedLayer, Adapter
from memba_vision.models.peft.setting_checks import check_drop_rate, check_number, check_whole
from memba_vision.models.peft.targets import check_targets


class LowRankLayer(AdaptedLayer):
    """Base class of layers with a low-rank update: ``down``, dropout, ``up`` and a scale.

    Args:
        base_layer: the frozen projection, or another adapted layer.
        down: to the bottleneck.
        up: from the bottleneck; zero at the start.
        scale: factor of the update.
        drop_rate: dropout on the bottleneck's activations.
    """

    def __init__(
        self, base_layer: nn.Module, down: nn.Module, up: nn.Module, scale: float, drop_rate: float
    ) -> None:
        super().__init__(base_layer)
        self.scale = scale
        self.down = down
        self.dropout = ScaledDropout(drop_rate)
        self.up = up
        nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5))
        nn.init.zeros_(up.weight)

    def update(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return ``up(scale * dropout(down(hidden)))``."""
        return self.up(self.low_rank(hidden))

    def low_rank(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return what ``up`` takes, ``scale * dropout(down(hidden))``."""
        return self.dropout(self.down(hidden), self.scale)


def make_bottleneck(
    base_layer: nn.Module, rank: int, out_features: int
) -> tuple[nn.Linear, nn.Linear]:
    """Return ``down`` and ``up`` without biases, with the device and dtype of a linear layer.

    Args:
        base_layer: the linear layer, whose inputs ``down`` takes.
        rank: width between the two.
        out_features: outputs of ``up``.
    """
    like = dict(device=base_layer.weight.device, dtype=base_layer.weight.dtype)
    down = Linear(base_layer.in_features, rank, bias=False, **like)
    return down, Linear(rank, out_features, bias=False, **like)


class AdditiveLayer(LowRankLayer):
    """Layer with a linear update: it merges into the weight, and other adapters can wrap it."""


class LowRankLinear(LowRankLayer):
    """Base class of linear layers with a low-rank update of all outputs.

    Args:
        base_layer: the frozen projection, in_features to out_features.
        rank: width of the bottleneck.
        scale: factor of the update.
        drop_rate: dropout on the bottleneck's activations.
    """

    def __init__(
        self, base_layer: nn.Module, rank: int, scale: float = 1.0, drop_rate: float = 0.0
    ) -> None:
        down, up = make_bottleneck(base_layer, rank, base_layer.out_features)
        super().__init__(base_layer, down, up, scale, drop_rate)


def check_low_rank(adapter: str, rank: int, drop_rate: float, scale: float = 1.0) -> None:
    """Raise a UserError where a rank, a drop rate or a scale is no such number, or out of range."""
    check_whole(adapter, 'rank', rank)
    check_drop_rate(adapter, drop_rate)
    check_number(adapter, 'scale', scale)


class LowRankAdapter(Adapter):
    """Base class of adapters that put a low-rank update on every layer that ``targets`` names.

    Args:
        targets: names or roles of layers.
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
        check_targets(type(self).__name__, targets)
        check_low_rank(type(self).__name__, rank, drop_rate, scale)
        self.targets = tuple(targets)
        self.settings = dict(rank=rank, scale=scale, drop_rate=drop_rate)

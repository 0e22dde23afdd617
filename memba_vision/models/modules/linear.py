"""The linear layer of all projections, and projections that take a state."""

from typing import Any

import torch
from torch import nn

from memba_vision.ops import linear


class Linear(nn.Linear):
    """``torch.nn.Linear``, multiplied by the fastest library at hand."""

    #: Times that the model adds the bias: here, and wherever else a mixer reads it.
    bias_uses = 1

    def forward(self, x: torch.Tensor, added: torch.Tensor | None = None) -> torch.Tensor:
        """Map (..., in_features) to (..., out_features), and add another such tensor."""
        return linear(x, self.weight, self.bias, added=added)


class DeltaLinear(Linear):
    """A projection to the step size; under autocast its bias is added in float32.

    The bias is about -4.6 and the projected part small: in bfloat16 their sum would lose a
    hundredth of the step size.
    """

    def without_bias(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Project (..., dt_rank) to (..., dim), and return what is still to be added, or None."""
        if torch.is_autocast_enabled(x.device.type):
            return linear(x, self.weight), self.bias
        return self(x), None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Project (..., dt_rank) to (..., dim), before the softplus."""
        return project_delta(x, self.weight, self.bias)


def project_delta(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Compute ``x @ weight.T + bias``, the sum in float32 at the least under autocast."""
    if not torch.is_autocast_enabled(x.device.type):
        return linear(x, weight, bias)
    projected = linear(x, weight)
    dtype = torch.promote_types(projected.dtype, torch.float32)
    return projected.to(dtype) + bias.to(dtype)


def project(
    layer: nn.Module, hidden: torch.Tensor, state: tuple[torch.Tensor, ...] | None
) -> tuple[Any, tuple[torch.Tensor, ...] | None]:
    """Call a projection, and one with ``takes_state`` with the state of the block before.

    Args:
        layer: the projection, or the module that an adapter put in its place.
        hidden: (..., in_features).
        state: the state that the block before handed on.

    Returns:
        The output of the projection, and the state to hand on: its own, or ``state``.
    """
    if getattr(layer, 'takes_state', False):
        return layer(hidden, state)
    return layer(hidden), state

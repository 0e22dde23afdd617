"""The linear map, by the fastest library at hand."""

import torch

from memba_vision.discovery import import_submodules
from memba_vision.ops.linear.table import BACKENDS

import_submodules(__name__, __path__)

__all__ = ['BACKENDS', 'linear']


def linear(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    backend: str | None = None,
) -> torch.Tensor:
    """``x @ weight.T + bias``, as ``torch.nn.functional.linear`` has it.

    Args:
        x: (..., in_features), any strides.
        weight: (out_features, in_features).
        bias: (out_features,).
        backend: 'auto' (or None), or one of ``BACKENDS.names()``.

    Returns:
        (..., out_features); under autocast in its dtype.

    Raises:
        UserError: the backend is unknown or cannot run on these tensors.
    """
    return BACKENDS.select(backend, x).function(x, weight, bias)

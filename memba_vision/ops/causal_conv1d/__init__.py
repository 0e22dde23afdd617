"""The short causal convolution before the scan (Gu and Dao 2023, section 3.4)."""

import torch

from memba_vision.discovery import import_submodules
from memba_vision.ops.causal_conv1d.table import BACKENDS

import_submodules(__name__, __path__)

__all__ = ['BACKENDS', 'causal_conv1d']


def causal_conv1d(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    silu: bool = False,
    reverse: bool = False,
    backend: str | None = None,
) -> torch.Tensor:
    """Convolve each channel with its own filter, looking back only.

    ``out[t] = bias + sum over k of weight[k] * x[t - (width - 1) + k]``, with zeros before the
    start; with ``reverse``, ``x[t + (width - 1) - k]`` and zeros after the end, which is the
    convolution of the flipped sequence, flipped back.

    Args:
        x: (batch, dim, length).
        weight: (dim, width).
        bias: (dim,).
        silu: apply the SiLU to the result.
        reverse: look ahead instead of back.
        backend: 'auto' (or None), or one of ``BACKENDS.names()``.

    Returns:
        (batch, dim, length).
    """
    return BACKENDS.select(backend, x).function(x, weight, bias, silu, reverse)

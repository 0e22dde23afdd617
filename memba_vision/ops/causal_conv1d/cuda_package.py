"""The CUDA kernel of the causal-conv1d package, where it is installed."""

import functools

import torch

from memba_vision.ops.causal_conv1d.table import BACKENDS


@functools.cache
def _kernel_function():
    """The package's ``causal_conv1d_fn``, or None where it or its compiled part is missing."""
    try:
        from causal_conv1d import causal_conv1d_fn
    except ImportError:
        return None
    return causal_conv1d_fn


def _obstacle(tensor: torch.Tensor) -> str | None:
    if tensor.device.type != 'cuda':
        return f'it needs tensors on a CUDA device, these are on {tensor.device.type}'
    if tensor.dtype == torch.float64:
        return 'its kernel has no float64'
    if _kernel_function() is None:
        return "causal-conv1d is not installed ('memba_vision[cuda]')"
    return None


@BACKENDS.register('causal_conv1d', priority=10, obstacle=_obstacle)
def causal_conv1d_package(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, silu: bool, reverse: bool
) -> torch.Tensor:
    """See :func:`memba_vision.ops.causal_conv1d`; the kernel knows one direction alone."""
    out = _kernel_function()(
        x.flip(-1) if reverse else x, weight, bias, activation='silu' if silu else None
    )
    return out.flip(-1) if reverse else out

"""The CUDA kernel of the causal-conv1d package, where it is installed."""

import functools
import importlib.util

import torch

from memba_vision.ops.causal_conv1d import BACKENDS
from memba_vision.ops.causal_conv1d.torch_conv import causal_conv1d_torch
from memba_vision.ops.second_derivatives import refuse_second_derivatives

# Dtypes that its kernel accepts.
DTYPES = (torch.float32, torch.bfloat16, torch.float16)

# Not imported: torch.compile cannot trace an import that fails.
INSTALLED = importlib.util.find_spec('causal_conv1d') is not None


@functools.cache
def _kernel_function():
    """Return the package's ``causal_conv1d_fn``, or the error of importing it."""
    try:
        from causal_conv1d import causal_conv1d_fn
    except ImportError as error:
        return error
    return causal_conv1d_fn


def _missing() -> str | None:
    if not INSTALLED:
        return "causal-conv1d is not installed ('memba_vision[cuda]')"
    found = _kernel_function()
    broken = isinstance(found, ImportError)
    return f'causal-conv1d is installed, but does not import: {found}' if broken else None


def _unsupported_reason(tensor: torch.Tensor) -> str | None:
    if tensor.device.type != 'cuda':
        return f'it needs tensors on a CUDA device, these are on {tensor.device.type}'
    return _missing()


@BACKENDS.register(
    'causal_conv1d', priority=10, unsupported_reason=_unsupported_reason, dtypes=DTYPES
)
def causal_conv1d_package(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, silu: bool, reverse: bool
) -> torch.Tensor:
    """See :func:`memba_vision.ops.causal_conv1d`.

    The kernel convolves in one direction, with filters of width 2 to 4. Channel-last sequences must
    have sizes that are multiples of 8. The bias must have the dtype of the filters.
    """
    if not 2 <= weight.shape[-1] <= 4:
        return causal_conv1d_torch(x, weight, bias, silu, reverse)
    if any(size % 8 for size in (x.shape[1], x.stride(0), x.stride(2))):
        x = x.contiguous()
    bias = None if bias is None else bias.to(weight.dtype)
    out = _kernel_function()(
        x.flip(-1) if reverse else x, weight, bias, activation='silu' if silu else None
    )
    out = refuse_second_derivatives(out, 'causal_conv1d', 'causal_conv1d')
    return out.flip(-1) if reverse else out

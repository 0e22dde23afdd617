"""The CUDA kernel of the mamba-ssm package, where it is installed with its compiled part."""

import functools
import importlib.util

import torch

from memba_vision.ops.second_derivatives import refuse_second_derivatives
from memba_vision.ops.selective_scan import BACKENDS
from memba_vision.ops.selective_scan.grids import walk_by_copy

# Dtypes that its kernel takes.
DTYPES = (torch.float32, torch.bfloat16, torch.float16)

# Looked up, not imported: torch.compile does not get over an import that fails.
INSTALLED = importlib.util.find_spec('selective_scan_cuda') is not None


@functools.cache
def _kernel_function():
    """Return mamba-ssm's ``selective_scan_fn``, or the error of importing it.

    Newer releases leave the Mamba-1 kernel out unless asked for it, and then import all the same:
    only the compiled module counts.
    """
    try:
        import selective_scan_cuda  # noqa: F401
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except ImportError as error:
        return error
    return selective_scan_fn


def _missing() -> str | None:
    if not INSTALLED:
        return "mamba-ssm with its selective_scan_cuda is not installed ('memba_vision[cuda]')"
    found = _kernel_function()
    broken = isinstance(found, ImportError)
    return f'mamba-ssm is installed, but does not import: {found}' if broken else None


def _unsupported_reason(tensor: torch.Tensor) -> str | None:
    if tensor.device.type != 'cuda':
        return f'it needs tensors on a CUDA device, these are on {tensor.device.type}'
    return _missing()


@BACKENDS.register('mamba_ssm', priority=10, unsupported_reason=_unsupported_reason, dtypes=DTYPES)
@walk_by_copy
def selective_scan_mamba_ssm(
    u: torch.Tensor,
    delta: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    D: torch.Tensor | None = None,
    z: torch.Tensor | None = None,
    delta_bias: torch.Tensor | None = None,
    delta_softplus: bool = False,
    reverse: bool = False,
) -> torch.Tensor:
    """See :func:`memba_vision.ops.selective_scan`.

    The kernel scans forwards only, and wants one dtype for all sequences, float32 weights and B
    and C of as many groups.
    """
    out_dtype = u.dtype
    if B.ndim != C.ndim:
        groups = max(tensor.shape[1] for tensor in (B, C) if tensor.ndim == 4)
        B, C = (t if t.ndim == 4 else t[:, None].expand(-1, groups, -1, -1) for t in (B, C))
    sequences = [u, delta, B, C, z]
    dtype = functools.reduce(torch.promote_types, (t.dtype for t in sequences if t is not None))
    sequences = [None if tensor is None else tensor.to(dtype) for tensor in sequences]
    if reverse:
        sequences = [None if tensor is None else tensor.flip(-1) for tensor in sequences]
    u, delta, B, C, z = (None if tensor is None else tensor.contiguous() for tensor in sequences)
    D, delta_bias = (None if weight is None else weight.float() for weight in (D, delta_bias))
    out = _kernel_function()(
        u, delta, A.float(), B, C, D, z=z, delta_bias=delta_bias, delta_softplus=delta_softplus
    )
    out = refuse_second_derivatives(out, 'selective_scan', 'mamba_ssm')
    return (out.flip(-1) if reverse else out).to(out_dtype)

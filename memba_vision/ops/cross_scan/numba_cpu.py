"""All four scans on a CPU in one pass over ``u``; a thread takes some channels of a sample."""

import torch

from memba_vision.ops.cross_scan import BACKENDS
from memba_vision.ops.numba_kernels.layout import obstacle
from memba_vision.ops.selective_scan.numba_cpu import scan_numba

REVERSE = [False, False, True, True]


@BACKENDS.register('numba', priority=20, obstacle=obstacle)
def cross_scan_numba(
    u: torch.Tensor,
    delta: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    D: torch.Tensor | None,
    delta_bias: torch.Tensor | None,
    delta_softplus: bool,
    grid: tuple[int, int],
) -> torch.Tensor:
    """See :func:`memba_vision.ops.cross_scan`."""
    dtype = torch.promote_types(u.dtype, torch.float32)
    tensors = u, delta, A, B, C, D, delta_bias
    tensors = (None if tensor is None else tensor.to(dtype) for tensor in tensors)
    return scan_numba(*tensors, delta_softplus, REVERSE, [1, grid[0], 1, grid[0]]).to(u.dtype)

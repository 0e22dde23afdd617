"""The selective scan on a GPU, compiled by Triton at the first call and kept on disk.

Needs no nvcc. Kernels: :mod:`memba_vision.ops.triton_kernels`.
"""

import torch
import torch.nn.functional as F

from memba_vision.ops.layout import empty_channel_last
from memba_vision.ops.selective_scan import BACKENDS
from memba_vision.ops.selective_scan.compiled import define_scan
from memba_vision.ops.selective_scan.grids import Grid
from memba_vision.ops.selective_scan.groups import one_group_at_a_time
from memba_vision.ops.triton_kernels.layout import empty_states
from memba_vision.ops.triton_kernels.presence import DTYPES, PRIORITY, unsupported_reason

scan_triton = define_scan(
    'triton', 'memba_vision.ops.triton_kernels.selective_scan', empty_channel_last, empty_states
)


# Behind mamba-ssm's kernel until both have been measured on a GPU: that one is known to be fast.
@BACKENDS.register(
    'triton', priority=PRIORITY, unsupported_reason=unsupported_reason, dtypes=DTYPES
)
@one_group_at_a_time
def selective_scan_triton(
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
    grid: Grid | None = None,
) -> torch.Tensor:
    """See :func:`memba_vision.ops.selective_scan`.

    Tensors may have any of the dtypes float32, bfloat16 and float16, each its own; nothing is cast
    outside the kernels. They read views of (batch, length, dim) memory, B and C as parts of a
    projection; what lies otherwise is copied.
    """
    out_dtype = u.dtype
    if z is not None:
        u = u.float()  # keeps the result from being rounded before the gate
    way = delta_softplus, [reverse], [grid[0] if grid else 1]
    out = scan_triton(u, [delta], A, B, C, D, delta_bias, *way)
    if z is not None:
        out = out * F.silu(z.float())
    return out.to(out_dtype)

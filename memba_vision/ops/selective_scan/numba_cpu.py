"""The selective scan on a CPU, compiled by numba at the first call and kept on disk.

Needs no compiler on the machine. Kernels: :mod:`memba_vision.ops.numba_kernels`.
"""

import torch
import torch.nn.functional as F

from memba_vision.ops.numba_kernels.layout import (
    as_sequences,
    computed_in,
    empty_like,
    empty_states,
    unsupported_reason,
)
from memba_vision.ops.selective_scan import BACKENDS
from memba_vision.ops.selective_scan.compiled import define_scan
from memba_vision.ops.selective_scan.grids import Grid
from memba_vision.ops.selective_scan.groups import one_group_at_a_time

scan_numba = define_scan(
    'numba', 'memba_vision.ops.numba_kernels.selective_scan', empty_like, empty_states
)


@BACKENDS.register('numba', priority=20, unsupported_reason=unsupported_reason)
@one_group_at_a_time
def selective_scan_numba(
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

    ``u`` and ``delta`` may be views of (batch, length, dim) memory, and are fastest so. The states
    of bfloat16 are float32; float16 is scanned in float32 altogether. float64 is exact and slow.
    """
    first, step = as_sequences(u, delta)
    dtype = computed_in(first)
    others = (None if tensor is None else tensor.to(dtype) for tensor in (A, B, C, D, delta_bias))
    out = scan_numba(first, [step], *others, delta_softplus, [reverse], [grid[0] if grid else 1])
    if z is not None:
        out = out * F.silu(z.to(dtype))
    return out.to(u.dtype)

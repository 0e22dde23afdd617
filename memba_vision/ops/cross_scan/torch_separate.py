"""The scans one by one or in pairs, by any backend: the reference."""

import torch

from memba_vision.ops.bidirectional_scan import ScanInputs, bidirectional_scan
from memba_vision.ops.cross_scan import BACKENDS


@BACKENDS.register('torch', priority=0, portable=True)
def cross_scan_torch(
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
    out_dtype = u.dtype
    u = u.to(torch.promote_types(out_dtype, torch.float32))
    tensors = delta, A, B, C, D, delta_bias
    ways = [
        ScanInputs(u, *(None if tensor is None else tensor[i] for tensor in tensors))
        for i in range(4)
    ]
    along_rows = bidirectional_scan(ways[0], ways[2], delta_softplus=delta_softplus)
    down_columns = bidirectional_scan(ways[1], ways[3], delta_softplus=delta_softplus, grid=grid)
    return sum((*along_rows, *down_columns)).to(out_dtype)

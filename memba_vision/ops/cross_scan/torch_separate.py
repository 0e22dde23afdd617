"""The scans in pairs, by any backend: the reference, and the way of a GPU."""

from collections.abc import Sequence

import torch

from memba_vision.ops.bidirectional_scan import ScanInputs, bidirectional_scan
from memba_vision.ops.cross_scan import BACKENDS
from memba_vision.ops.selective_scan.grids import Grid


@BACKENDS.register('torch', priority=0, portable=True)
def cross_scan_torch(scans: Sequence[ScanInputs], delta_softplus: bool, grid: Grid) -> torch.Tensor:
    """See :func:`memba_vision.ops.cross_scan`."""
    out_dtype = scans[0].u.dtype
    dtype = torch.promote_types(out_dtype, torch.float32)
    rows, columns, rows_back, columns_back = (way._replace(u=way.u.to(dtype)) for way in scans)
    outs = (
        *bidirectional_scan(rows, rows_back, delta_softplus=delta_softplus),
        *bidirectional_scan(columns, columns_back, delta_softplus=delta_softplus, grid=grid),
    )
    return sum(outs).to(out_dtype)

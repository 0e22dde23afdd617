"""All four scans on a CPU in one pass over their input.

A thread takes some channels of a sample through all directions, so that what they share stays in
its cache.
"""

from collections.abc import Sequence

import torch

from memba_vision.ops.bidirectional_scan import ScanInputs
from memba_vision.ops.cross_scan import BACKENDS
from memba_vision.ops.cross_scan.torch_separate import cross_scan_torch
from memba_vision.ops.layout import as_channel_last
from memba_vision.ops.numba_kernels.layout import unsupported_reason
from memba_vision.ops.selective_scan.grids import Grid
from memba_vision.ops.selective_scan.numba_cpu import scan_numba

REVERSE = [False, False, True, True]


@BACKENDS.register('numba', priority=20, unsupported_reason=unsupported_reason)
def cross_scan_numba(scans: Sequence[ScanInputs], delta_softplus: bool, grid: Grid) -> torch.Tensor:
    """See :func:`memba_vision.ops.cross_scan`.

    Sequences are read as views of (batch, length, dim) memory; what lies otherwise is copied.
    Directions that do not share ``u``, or of grouped matrices, are scanned by themselves.
    """
    if not _go_together(scans):
        return cross_scan_torch(scans, delta_softplus, grid)
    out_dtype = scans[0].u.dtype
    dtype = torch.promote_types(out_dtype, torch.float32)
    delta = [as_channel_last(way.delta.to(dtype)) for way in scans]
    A, D, bias = (_stack([getattr(way, name) for way in scans], dtype) for name in ADJACENT)
    B, C = (_stack([getattr(way, name).mT for way in scans], dtype).mT for name in 'BC')
    inputs = as_channel_last(scans[0].u.to(dtype)), delta, A, B, C, D, bias
    return scan_numba(*inputs, delta_softplus, REVERSE, [1, grid[0]] * 2).to(out_dtype)


ADJACENT = 'A', 'D', 'delta_bias'


def _go_together(scans: Sequence[ScanInputs]) -> bool:
    """Return True if one kernel can run all scans."""
    first, *others = scans
    return (
        all(way.u is first.u for way in others)
        and all(matrix.ndim == 3 for way in scans for matrix in (way.B, way.C))
        and all((way.D is None) == (first.D is None) for way in others)
        and all((way.delta_bias is None) == (first.delta_bias is None) for way in others)
    )


def _stack(tensors: list[torch.Tensor | None], dtype: torch.dtype) -> torch.Tensor | None:
    return None if tensors[0] is None else torch.stack([t.to(dtype) for t in tensors])

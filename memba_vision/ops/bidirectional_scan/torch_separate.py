"""One direction after the other, by any backend: the reference, and the way of a CPU."""

import torch

from memba_vision.ops.bidirectional_scan import BACKENDS
from memba_vision.ops.bidirectional_scan.inputs import ScanInputs
from memba_vision.ops.selective_scan import selective_scan
from memba_vision.ops.selective_scan.grids import Grid


@BACKENDS.register('torch', priority=0, portable=True)
def bidirectional_scan_torch(
    forward: ScanInputs, backward: ScanInputs, delta_softplus: bool, grid: Grid | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`memba_vision.ops.bidirectional_scan`."""
    options = dict(delta_softplus=delta_softplus, grid=grid)
    return (
        selective_scan(**forward._asdict(), **options),
        selective_scan(**backward._asdict(), reverse=True, **options),
    )

"""One direction after the other, by any backend: the reference, and what runs on a CPU."""

import torch

from memba_vision.ops.bidirectional_scan import BACKENDS
from memba_vision.ops.bidirectional_scan.inputs import ScanInputs
from memba_vision.ops.selective_scan import selective_scan


@BACKENDS.register('torch', priority=0, portable=True)
def bidirectional_scan_torch(
    forward: ScanInputs, backward: ScanInputs, delta_softplus: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`memba_vision.ops.bidirectional_scan`."""
    first, second = (
        selective_scan(**way._asdict(), delta_softplus=delta_softplus, reverse=reverse)
        for way, reverse in ((forward, False), (backward, True))
    )
    return first, second

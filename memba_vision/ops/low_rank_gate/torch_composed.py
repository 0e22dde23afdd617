"""Both updates at once, then the gate: the reference, and what runs on a GPU."""

import torch

from memba_vision.ops.gated_merge import gated_merge
from memba_vision.ops.linear import linear
from memba_vision.ops.low_rank_gate.table import BACKENDS


@BACKENDS.register('torch', priority=0, portable=True)
def low_rank_gate_torch(
    forward_scan: torch.Tensor,
    backward_scan: torch.Tensor,
    gate: torch.Tensor,
    hidden: torch.Tensor,
    up: torch.Tensor,
) -> torch.Tensor:
    """See :func:`memba_vision.ops.low_rank_gate`."""
    return gated_merge(forward_scan, backward_scan, gate, linear(hidden, up))

"""The gate in plain torch: the reference."""

import functools

import torch
import torch.nn.functional as F

from memba_vision.ops.gated_merge import BACKENDS


@BACKENDS.register('torch', priority=0, portable=True)
def gated_merge_torch(
    forward_scan: torch.Tensor,
    backward_scan: torch.Tensor,
    gate: torch.Tensor,
    updates: torch.Tensor | None,
) -> torch.Tensor:
    """See :func:`memba_vision.ops.gated_merge`."""
    if updates is None:
        return (forward_scan + backward_scan) * (F.silu(gate) / 2)
    forward_gate, backward_gate = F.silu(gate + updates).unbind()
    merged = (forward_scan * forward_gate + backward_scan * backward_gate) / 2
    return merged.to(merged_dtype(forward_scan, backward_scan, gate))


def merged_dtype(*tensors: torch.Tensor) -> torch.dtype:
    """Return the common dtype that torch promotes the scans and the gate to."""
    return functools.reduce(torch.promote_types, (tensor.dtype for tensor in tensors))

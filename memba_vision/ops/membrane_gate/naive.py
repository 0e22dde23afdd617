"""The membrane's gate, with the membrane position by position."""

import torch
import torch.nn.functional as F

from memba_vision.ops.leaky_integrate.naive import leaky_integrate_naive
from memba_vision.ops.membrane_gate import BACKENDS
from memba_vision.ops.membrane_settings import MembraneSettings


@BACKENDS.register('naive', priority=-2, portable=True)
def membrane_gate_naive(
    z: torch.Tensor,
    forward_scan: torch.Tensor,
    backward_scan: torch.Tensor,
    initial: torch.Tensor | None,
    settings: MembraneSettings,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`memba_vision.ops.membrane_gate`: the reference for every other backend."""
    potentials, mean = leaky_integrate_naive(torch.cat([z, z.flip(-1)]), initial, settings)
    forward, backward = potentials.chunk(2)
    merged = forward_scan * F.silu(forward) + backward_scan * F.silu(backward.flip(-1))
    return (merged / 2).to(forward_scan.dtype), mean

"""The membrane's gate, composed of the membrane's fastest backend and of torch's functions."""

import torch
import torch.nn.functional as F

from memba_vision.ops.leaky_integrate import leaky_integrate
from memba_vision.ops.membrane_gate import BACKENDS
from memba_vision.ops.membrane_settings import MembraneSettings


@BACKENDS.register('torch', priority=0, portable=True)
def membrane_gate_torch(
    z: torch.Tensor,
    forward_scan: torch.Tensor,
    backward_scan: torch.Tensor,
    initial: torch.Tensor | None,
    settings: MembraneSettings,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`memba_vision.ops.membrane_gate`."""
    potentials, mean = leaky_integrate(torch.cat([z, z.flip(-1)]), initial, settings)
    forward, backward = potentials.unflatten(0, (2, -1))
    merged = forward_scan * F.silu(forward) + backward_scan * F.silu(backward.flip(-1))
    return (merged / 2).to(forward_scan.dtype), mean

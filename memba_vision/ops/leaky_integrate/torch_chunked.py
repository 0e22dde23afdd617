"""The leaky-integrate membrane, one chunk of positions at a time, in plain torch."""

import torch
import torch.nn.functional as F

from memba_vision.ops.leaky_integrate import BACKENDS
from memba_vision.ops.membrane_settings import MembraneSettings


@BACKENDS.register('torch', priority=0, portable=True)
def leaky_integrate_torch(
    x: torch.Tensor, initial: torch.Tensor | None, settings: MembraneSettings
) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`memba_vision.ops.leaky_integrate`."""
    work_dtype = torch.promote_types(x.dtype, torch.float32)
    length = x.shape[-1]
    chunk = settings.chunk(length)
    padding = settings.num_chunks * chunk - length
    potential = None if initial is None else initial.to(work_dtype)
    potentials = []
    for current in F.pad(x.to(work_dtype), (0, padding)).split(chunk, dim=-1):
        if potential is not None:
            current = torch.add(current, potential, alpha=settings.leak)
        potential = current.masked_fill(current > settings.threshold, 0.0)
        potentials.append(potential)
    mean = torch.stack(potentials).mean(dim=0)
    return torch.cat(potentials, dim=-1)[..., :length].to(x.dtype), mean

"""The leaky-integrate membrane, position by position, as in the equations."""

import torch

from memba_vision.ops.leaky_integrate import BACKENDS
from memba_vision.ops.membrane_settings import MembraneSettings


@BACKENDS.register('naive', priority=-2, portable=True)
def leaky_integrate_naive(
    x: torch.Tensor, initial: torch.Tensor | None, settings: MembraneSettings
) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`memba_vision.ops.leaky_integrate`: the reference for every other backend."""
    work_dtype = torch.promote_types(x.dtype, torch.float32)
    batch, dim, length = x.shape
    chunk = settings.chunk(length)
    zero = torch.zeros(batch, dim, dtype=work_dtype, device=x.device)
    potentials = []
    for t in range(settings.num_chunks * chunk):
        current = x[:, :, t].to(work_dtype) if t < length else zero
        if t >= chunk:
            before = potentials[t - chunk]
        else:
            before = zero if initial is None else initial[:, :, t].to(work_dtype)
        potential = settings.leak * before + current
        potentials.append(torch.where(potential > settings.threshold, zero, potential))
    chunks = torch.stack(potentials, dim=-1).unflatten(-1, (settings.num_chunks, chunk))
    return chunks.flatten(2)[:, :, :length].to(x.dtype), chunks.mean(dim=2)

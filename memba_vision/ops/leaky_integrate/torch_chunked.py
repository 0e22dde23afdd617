"""The leaky-integrate membrane, one chunk of positions at a time, in plain torch."""

import torch
import torch.nn.functional as F

from memba_vision.ops.leaky_integrate import BACKENDS


@BACKENDS.register('torch', priority=0, portable=True)
def leaky_integrate_torch(
    x: torch.Tensor,
    initial: torch.Tensor | None,
    num_chunks: int,
    leak: float,
    threshold: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`memba_vision.ops.leaky_integrate`."""
    work_dtype = torch.promote_types(x.dtype, torch.float32)
    length = x.shape[-1]
    chunk = (length + num_chunks - 1) // num_chunks  # of positive numbers: ONNX rounds to zero
    inputs = F.pad(x.to(work_dtype), (0, num_chunks * chunk - length)).split(chunk, dim=-1)
    potential = None if initial is None else initial.to(work_dtype)
    potentials = []
    for current in inputs:
        if potential is not None:
            current = torch.add(current, potential, alpha=leak)
        potential = current.masked_fill(current > threshold, 0.0)
        potentials.append(potential)
    mean = torch.stack(potentials).mean(dim=0)
    return torch.cat(potentials, dim=-1)[..., :length].to(x.dtype), mean

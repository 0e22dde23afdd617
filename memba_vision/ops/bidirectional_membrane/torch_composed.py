"""Both membranes in one call of the plain one: the reference, and what runs on a GPU."""

import torch

from memba_vision.ops.bidirectional_membrane import BACKENDS
from memba_vision.ops.leaky_integrate import leaky_integrate


@BACKENDS.register('torch', priority=0, portable=True)
def bidirectional_membrane_torch(
    current: torch.Tensor,
    initial: torch.Tensor | None,
    num_chunks: int,
    leak: float,
    threshold: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`memba_vision.ops.bidirectional_membrane`."""
    sequence = current.transpose(1, 2)
    potentials, mean = leaky_integrate(
        torch.cat([sequence, sequence.flip(-1)]),
        initial,
        num_chunks=num_chunks,
        leak=leak,
        threshold=threshold,
    )
    forward, backward = potentials.unflatten(0, (2, -1))
    return torch.stack([forward, backward.flip(-1)]).transpose(2, 3), mean

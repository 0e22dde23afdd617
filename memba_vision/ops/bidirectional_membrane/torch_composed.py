"""Both membranes in one call of the plain one: the reference."""

import torch

from memba_vision.ops.bidirectional_membrane import BACKENDS
from memba_vision.ops.leaky_integrate import leaky_integrate
from memba_vision.ops.membrane_settings import MembraneSettings, taking_fields


@BACKENDS.register('torch', priority=0, portable=True)
def bidirectional_membrane_torch(
    current: torch.Tensor, initial: torch.Tensor | None, settings: MembraneSettings
) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`memba_vision.ops.bidirectional_membrane`."""
    sequence = current.transpose(1, 2)
    both = torch.cat([sequence, sequence.flip(-1)])
    potentials, mean = leaky_integrate(both, initial, settings)
    forward, backward = potentials.unflatten(0, (2, -1))
    return torch.stack([forward, backward.flip(-1)]).transpose(2, 3), mean


@taking_fields
def of_sequence(sequence, initial, settings):
    """Integrate (batch, dim, length), to potentials (2, batch, dim, length) and their mean."""
    potentials, mean = bidirectional_membrane_torch(sequence.mT, initial, settings)
    return potentials.mT, mean

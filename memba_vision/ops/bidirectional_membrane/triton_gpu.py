"""Both membranes on a GPU, in one kernel each way.

Kernels: :mod:`memba_vision.ops.triton_kernels.membrane`.
"""

import torch

from memba_vision.ops.bidirectional_membrane import BACKENDS
from memba_vision.ops.bidirectional_membrane.torch_composed import of_sequence
from memba_vision.ops.compiled import compiled_op
from memba_vision.ops.layout import empty_channel_last
from memba_vision.ops.membrane_settings import MembraneSettings
from memba_vision.ops.triton_kernels.layout import empty_mean
from memba_vision.ops.triton_kernels.presence import DTYPES, PRIORITY, unsupported_reason


@BACKENDS.register(
    'triton', priority=PRIORITY, unsupported_reason=unsupported_reason, dtypes=DTYPES
)
def bidirectional_membrane_triton(
    current: torch.Tensor, initial: torch.Tensor | None, settings: MembraneSettings
) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`memba_vision.ops.bidirectional_membrane`."""
    potentials, mean = _integrate(current.mT, initial, *settings.fields)
    return potentials.mT, mean


def _outputs(sequence, initial, num_chunks, leak, threshold):
    potentials = sequence.new_empty(2, *sequence.mT.shape).mT
    return potentials, empty_mean(sequence, num_chunks, directions=2)


def _forward(*tensors_and_settings):
    from memba_vision.ops.triton_kernels import leaky_integrate

    leaky_integrate.forward(*tensors_and_settings, both=True)


def _backward(*tensors_and_settings):
    from memba_vision.ops.triton_kernels import leaky_integrate

    leaky_integrate.backward(*tensors_and_settings, both=True)


_integrate = compiled_op(
    'bidirectional_membrane_triton',
    f'(Tensor sequence, Tensor? initial, {MembraneSettings.SCHEMA}) -> (Tensor, Tensor)',
    outputs=_outputs,
    forward=_forward,
    backward=_backward,
    reference=of_sequence,
    gradient_like=empty_channel_last,
    optional=['initial'],
)

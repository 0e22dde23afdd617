"""Both membranes on a CPU, without a flip; compiled by numba at the first call.

Kernels: :mod:`memba_vision.ops.numba_kernels.membrane`.
"""

from functools import partial

import torch

from memba_vision.ops.bidirectional_membrane import BACKENDS
from memba_vision.ops.bidirectional_membrane.torch_composed import of_sequence
from memba_vision.ops.compiled import compiled_op
from memba_vision.ops.layout import empty_channel_last
from memba_vision.ops.membrane_settings import MembraneSettings
from memba_vision.ops.numba_kernels.layout import as_sequences, initial_or_zeros, unsupported_reason
from memba_vision.ops.numba_kernels.threads import run_columns


@BACKENDS.register(
    'numba', priority=20, unsupported_reason=partial(unsupported_reason, channel_axis=-1)
)
def bidirectional_membrane_numba(
    current: torch.Tensor, initial: torch.Tensor | None, settings: MembraneSettings
) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`memba_vision.ops.bidirectional_membrane`."""
    sequence = as_sequences(current)[0].mT
    initial = initial_or_zeros(initial, sequence, settings)
    potentials, mean = _integrate(sequence, initial, *settings.fields)
    return potentials.to(current.dtype).mT, mean


def _outputs(sequence, initial, *settings):
    return sequence.new_empty(2, *sequence.mT.shape).mT, empty_channel_last(initial)


def _forward(*tensors_and_settings):
    from memba_vision.ops.numba_kernels.membrane import integrate

    run_columns(integrate, *tensors_and_settings)


def _backward(*tensors_and_settings):
    from memba_vision.ops.numba_kernels.membrane import integrate_backward

    run_columns(integrate_backward, *tensors_and_settings)


_integrate = compiled_op(
    'bidirectional_membrane',
    f'(Tensor sequence, Tensor initial, {MembraneSettings.SCHEMA}) -> (Tensor, Tensor)',
    outputs=_outputs,
    forward=_forward,
    backward=_backward,
    reference=of_sequence,
    gradient_like=empty_channel_last,
)

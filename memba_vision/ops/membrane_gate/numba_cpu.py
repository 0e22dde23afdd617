"""The membrane's gate on a CPU, without a flip; compiled by numba at the first call.

Kernels: :mod:`memba_vision.ops.numba_kernels.membrane`.
"""

from functools import partial

import torch

from memba_vision.ops.compiled import compiled_op
from memba_vision.ops.layout import empty_channel_last
from memba_vision.ops.membrane_gate import BACKENDS
from memba_vision.ops.membrane_gate.torch_composed import membrane_gate_torch
from memba_vision.ops.membrane_settings import MembraneSettings, taking_fields
from memba_vision.ops.numba_kernels.layout import (
    as_sequences,
    computed_in,
    initial_or_zeros,
    unsupported_reason,
)
from memba_vision.ops.numba_kernels.threads import run_columns


@BACKENDS.register(
    'numba', priority=20, unsupported_reason=partial(unsupported_reason, channel_axis=1)
)
def membrane_gate_numba(
    z: torch.Tensor,
    forward_scan: torch.Tensor,
    backward_scan: torch.Tensor,
    initial: torch.Tensor | None,
    settings: MembraneSettings,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`memba_vision.ops.membrane_gate`; fastest on views of (batch, length, dim)."""
    sequences = as_sequences(z, forward_scan, backward_scan)
    initial = initial_or_zeros(initial, sequences[0], settings)
    merged, mean = _gate(*sequences, initial, *settings.fields)
    return merged.to(forward_scan.dtype), mean.to(computed_in(z))


def _outputs(z, forward_scan, backward_scan, initial, *settings):
    return empty_channel_last(z), empty_channel_last(initial)


def _forward(*tensors_and_settings):
    from memba_vision.ops.numba_kernels.membrane import gate

    run_columns(gate, *tensors_and_settings)


def _backward(*tensors_and_settings):
    from memba_vision.ops.numba_kernels.membrane import gate_backward

    run_columns(gate_backward, *tensors_and_settings)


_gate = compiled_op(
    'membrane_gate_numba',
    '(Tensor z, Tensor forward_scan, Tensor backward_scan, Tensor initial, '
    f'{MembraneSettings.SCHEMA}) -> (Tensor, Tensor)',
    outputs=_outputs,
    forward=_forward,
    backward=_backward,
    reference=taking_fields(membrane_gate_torch),
    gradient_like=empty_channel_last,
)

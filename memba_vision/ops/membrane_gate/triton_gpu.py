"""The membrane's gate on a GPU, in one kernel each way for both directions.

Kernels: :mod:`memba_vision.ops.triton_kernels.gate`.
"""

import torch

from memba_vision.ops.compiled import compiled_op
from memba_vision.ops.layout import empty_channel_last
from memba_vision.ops.membrane_gate import BACKENDS
from memba_vision.ops.membrane_gate.torch_composed import membrane_gate_torch
from memba_vision.ops.membrane_settings import MembraneSettings, taking_fields
from memba_vision.ops.triton_kernels.layout import empty_mean
from memba_vision.ops.triton_kernels.presence import DTYPES, PRIORITY, unsupported_reason


@BACKENDS.register(
    'triton', priority=PRIORITY, unsupported_reason=unsupported_reason, dtypes=DTYPES
)
def membrane_gate_triton(
    z: torch.Tensor,
    forward_scan: torch.Tensor,
    backward_scan: torch.Tensor,
    initial: torch.Tensor | None,
    settings: MembraneSettings,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`memba_vision.ops.membrane_gate`; fastest on views of (batch, length, dim)."""
    return _gate(z, forward_scan, backward_scan, initial, *settings.fields)


def _outputs(z, forward_scan, backward_scan, initial, num_chunks, leak, threshold):
    return empty_channel_last(forward_scan), empty_mean(z, num_chunks, directions=2)


def _forward(*tensors_and_settings):
    from memba_vision.ops.triton_kernels import membrane_gate

    membrane_gate.forward(*tensors_and_settings)


def _backward(*tensors_and_settings):
    from memba_vision.ops.triton_kernels import membrane_gate

    membrane_gate.backward(*tensors_and_settings)


_gate = compiled_op(
    'membrane_gate_triton',
    '(Tensor z, Tensor forward_scan, Tensor backward_scan, Tensor? initial, '
    f'{MembraneSettings.SCHEMA}) -> (Tensor, Tensor)',
    outputs=_outputs,
    forward=_forward,
    backward=_backward,
    reference=taking_fields(membrane_gate_torch),
    gradient_like=empty_channel_last,
    optional=['initial'],
)

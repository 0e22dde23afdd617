"""The leaky-integrate membrane on a GPU, in one kernel each way.

Kernels: :mod:`memba_vision.ops.triton_kernels.membrane`.
"""

import torch

from memba_vision.ops.compiled import compiled_op
from memba_vision.ops.layout import empty_channel_last
from memba_vision.ops.leaky_integrate import BACKENDS
from memba_vision.ops.leaky_integrate.torch_chunked import leaky_integrate_torch
from memba_vision.ops.membrane_settings import MembraneSettings, taking_fields
from memba_vision.ops.triton_kernels.layout import empty_mean
from memba_vision.ops.triton_kernels.presence import DTYPES, PRIORITY, unsupported_reason


@BACKENDS.register(
    'triton', priority=PRIORITY, unsupported_reason=unsupported_reason, dtypes=DTYPES
)
def leaky_integrate_triton(
    x: torch.Tensor, initial: torch.Tensor | None, settings: MembraneSettings
) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`memba_vision.ops.leaky_integrate`; fastest on views of (batch, length, dim)."""
    return _integrate(x, initial, *settings.fields)


def _outputs(x, initial, num_chunks, leak, threshold):
    return empty_channel_last(x), empty_mean(x, num_chunks)


def _forward(*tensors_and_settings):
    from memba_vision.ops.triton_kernels import leaky_integrate

    leaky_integrate.forward(*tensors_and_settings)


def _backward(*tensors_and_settings):
    from memba_vision.ops.triton_kernels import leaky_integrate

    leaky_integrate.backward(*tensors_and_settings)


_integrate = compiled_op(
    'leaky_integrate_triton',
    f'(Tensor x, Tensor? initial, {MembraneSettings.SCHEMA}) -> (Tensor, Tensor)',
    outputs=_outputs,
    forward=_forward,
    backward=_backward,
    reference=taking_fields(leaky_integrate_torch),
    gradient_like=empty_channel_last,
    optional=['initial'],
)

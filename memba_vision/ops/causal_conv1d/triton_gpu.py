"""The causal depthwise convolution on a GPU, in one kernel each way, channel-last in memory.

Kernels: :mod:`memba_vision.ops.triton_kernels.conv`.
"""

import torch

from memba_vision.ops.causal_conv1d import BACKENDS
from memba_vision.ops.causal_conv1d.torch_conv import causal_conv1d_torch
from memba_vision.ops.compiled import compiled_op
from memba_vision.ops.layout import empty_channel_last, empty_gradient
from memba_vision.ops.triton_kernels.presence import DTYPES, PRIORITY, unsupported_reason


@BACKENDS.register(
    'triton', priority=PRIORITY, unsupported_reason=unsupported_reason, dtypes=DTYPES
)
def causal_conv1d_triton(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, silu: bool, reverse: bool
) -> torch.Tensor:
    """See :func:`memba_vision.ops.causal_conv1d`; the sums are float32, whatever the dtypes.

    Fastest on views of (batch, length, dim), which may be part of wider rows.
    """
    return _convolve(x, weight, bias, silu, reverse)


def _outputs(x, *_):
    return [empty_channel_last(x)]


def _forward(*arguments):
    from memba_vision.ops.triton_kernels import causal_conv1d

    causal_conv1d.forward(*arguments)


def _backward(*arguments):
    from memba_vision.ops.triton_kernels import causal_conv1d

    causal_conv1d.backward(*arguments)


_convolve = compiled_op(
    'causal_conv1d_triton',
    '(Tensor x, Tensor weight, Tensor? bias, bool silu, bool reverse) -> Tensor',
    outputs=_outputs,
    forward=_forward,
    backward=_backward,
    reference=causal_conv1d_torch,
    gradient_like=empty_gradient,
    optional=['weight', 'bias'],
)

"""The causal depthwise convolution on a CPU, compiled by numba at the first call.

Kernels: :mod:`memba_vision.ops.numba_kernels.conv`.
"""

from functools import partial

import torch

from memba_vision.ops.causal_conv1d import BACKENDS
from memba_vision.ops.causal_conv1d.torch_conv import causal_conv1d_torch
from memba_vision.ops.compiled import compiled_op
from memba_vision.ops.layout import empty_channel_last, empty_gradient
from memba_vision.ops.numba_kernels.layout import (
    as_rows,
    as_sequences,
    computed_in,
    unsupported_reason,
)
from memba_vision.ops.numba_kernels.threads import run


@BACKENDS.register(
    'numba', priority=20, unsupported_reason=partial(unsupported_reason, channel_axis=1)
)
def causal_conv1d_numba(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, silu: bool, reverse: bool
) -> torch.Tensor:
    """See :func:`memba_vision.ops.causal_conv1d`; the result is channel-last in memory.

    bfloat16 and float16 are convolved in float32.
    """
    dtype = computed_in(x)
    bias = x.new_zeros(len(weight), dtype=dtype) if bias is None else bias.to(dtype)
    return _convolve(*as_sequences(x), weight.to(dtype), bias, silu, reverse).to(x.dtype)


def _outputs(x, weight, bias, silu, reverse):
    return [empty_channel_last(x)]


def _forward(out, x, weight, bias, silu, reverse):
    from memba_vision.ops.numba_kernels.conv import forward

    run(forward, len(x), *_rows(out, x), *_filter(weight, bias), silu, reverse)


def _backward(grad_x, grad_weight, grad_bias, grad_out, x, weight, bias, silu, reverse):
    from memba_vision.ops.numba_kernels.conv import backward

    dim, width = weight.shape
    grads = grad_weight, grad_bias
    per_sample = [
        weight.new_empty((0, 0, 0) if grad is None else (len(x), rows, dim))
        for rows, grad in zip((width, 1), grads, strict=True)
    ]
    run(
        backward,
        len(x),
        *_rows(grad_x),
        *(part.numpy() for part in per_sample),
        *_rows(grad_out, x),
        *_filter(weight, bias),
        silu,
        reverse,
    )
    # The parts are added in a fixed order, whatever the number of threads.
    if grad_weight is not None:
        grad_weight.copy_(per_sample[0].sum(0).T)
    if grad_bias is not None:
        grad_bias.copy_(per_sample[1].sum((0, 1)))


def _rows(*sequences: torch.Tensor) -> list:
    return [as_rows(sequence.mT) for sequence in sequences]


def _filter(weight: torch.Tensor, bias: torch.Tensor):
    return weight.detach().T.contiguous().numpy(), bias.detach().contiguous().numpy()


_convolve = compiled_op(
    'causal_conv1d_numba',
    '(Tensor x, Tensor weight, Tensor bias, bool silu, bool reverse) -> Tensor',
    outputs=_outputs,
    forward=_forward,
    backward=_backward,
    reference=causal_conv1d_torch,
    gradient_like=empty_gradient,
    optional=['weight', 'bias'],
)

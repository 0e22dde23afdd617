"""The causal depthwise convolution on a CPU, compiled by numba at the first call.

Kernels: :mod:`memba_vision.ops.numba_kernels.conv`.
"""

import torch

from memba_vision.ops.causal_conv1d import BACKENDS
from memba_vision.ops.causal_conv1d.torch_conv import causal_conv1d_torch
from memba_vision.ops.numba_kernels.layout import as_rows, channel_obstacle
from memba_vision.ops.second_derivatives import differentiate_by_twin, gradients


@BACKENDS.register('numba', priority=20, obstacle=channel_obstacle)
def causal_conv1d_numba(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, silu: bool, reverse: bool
) -> torch.Tensor:
    """See :func:`memba_vision.ops.causal_conv1d`; the result is channel-last in memory.

    bfloat16 and float16 are convolved in float32.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    bias = x.new_zeros(len(weight), dtype=dtype) if bias is None else bias.to(dtype)
    return _convolve(x.to(dtype), weight.to(dtype), bias, silu, reverse).to(x.dtype)


@torch.library.custom_op('memba_vision::causal_conv1d_numba', mutates_args=())
def _convolve(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, silu: bool, reverse: bool
) -> torch.Tensor:
    from memba_vision.ops.numba_kernels import conv
    from memba_vision.ops.numba_kernels.threads import run

    out = _channel_last(x)
    run(conv.forward, len(x), *_rows(out, x), *_filter(weight, bias), silu, reverse)
    return out


@_convolve.register_fake
def _(x, weight, bias, silu, reverse):
    return _channel_last(x)


@torch.library.custom_op('memba_vision::causal_conv1d_numba_backward', mutates_args=())
def _convolve_backward(
    grad_out: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    silu: bool,
    reverse: bool,
    needs_grad_weight: bool,
    needs_grad_bias: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of x, weight and bias; the latter two empty where not needed."""
    from memba_vision.ops.numba_kernels import conv
    from memba_vision.ops.numba_kernels.threads import run

    dim, width = weight.shape
    grad_x = _channel_last(x)
    grad_weight, grad_bias = (
        x.new_empty((len(x), count, dim) if needed else (0, 0, 0))
        for count, needed in zip((width, 1), (needs_grad_weight, needs_grad_bias), strict=True)
    )
    run(
        conv.backward,
        len(x),
        *_rows(grad_x),
        grad_weight.numpy(),
        grad_bias.numpy(),
        *_rows(grad_out, x),
        *_filter(weight, bias),
        silu,
        reverse,
    )
    # Each sample's part is added up in a fixed order: no trace of the threads.
    return grad_x, grad_weight.sum(0).T.contiguous(), grad_bias.sum((0, 1))


@_convolve_backward.register_fake
def _(grad_out, x, weight, bias, silu, reverse, needs_grad_weight, needs_grad_bias):
    grad_weight = torch.empty_like(weight) if needs_grad_weight else weight.new_empty(0, 0)
    return _channel_last(x), grad_weight, bias.new_empty(len(bias) if needs_grad_bias else 0)


def _channel_last(x: torch.Tensor) -> torch.Tensor:
    """An uninitialised (batch, dim, length) over (batch, length, dim) memory."""
    batch, dim, length = x.shape
    return x.new_empty(batch, length, dim).transpose(1, 2)


def _rows(*tensors: torch.Tensor) -> list:
    return [as_rows(tensor.transpose(1, 2)).numpy() for tensor in tensors]


def _filter(weight: torch.Tensor, bias: torch.Tensor):
    return weight.detach().T.contiguous().numpy(), bias.detach().contiguous().numpy()


def _save(ctx, inputs, output) -> None:
    x, weight, bias, ctx.silu, ctx.reverse = inputs
    ctx.save_for_backward(x, weight, bias)


def _differentiate(ctx, grad_out):
    needs = ctx.needs_input_grad[1:3]
    grads = _convolve_backward(grad_out, *ctx.saved_tensors, ctx.silu, ctx.reverse, *needs)
    return (
        *(
            grad if needed else None
            for grad, needed in zip(grads, ctx.needs_input_grad, strict=False)
        ),
        None,
        None,
    )


_convolve.register_autograd(_differentiate, setup_context=_save)


def _twin(grad_out, x, weight, bias, silu, reverse, *_):
    inputs = x, weight, bias
    return gradients(causal_conv1d_torch(*inputs, silu, reverse), inputs, grad_out)


differentiate_by_twin(_convolve_backward, _twin)

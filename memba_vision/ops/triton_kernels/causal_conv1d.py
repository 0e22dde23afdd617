"""Launches of the convolution's kernels: they read tensors of any layout."""

import torch
import triton

from memba_vision.ops.layout import as_channel_last
from memba_vision.ops.triton_kernels import conv
from memba_vision.ops.triton_kernels.launch import launch
from memba_vision.ops.triton_kernels.layout import as_rows

#: Positions and channels of a program: a thread has eight channels of a position, 16 bytes of
#: bfloat16.
BLOCKS = dict(BLOCK_C=8, BLOCK_D=128)


def forward(out, x, weight, bias, silu, reverse):
    """Fill the convolved sequence."""
    x, row = as_rows(x)
    arguments = out, x, *_contiguous(weight, bias), *x.shape[1:], row
    launch(conv.forward, _programs(x), *arguments, **_constants(weight, silu, reverse))


def backward(grad_x, grad_weight, grad_bias, grad_out, x, weight, bias, silu, reverse):
    """Fill the gradients; those of the weight and of the bias may be None."""
    x, row = as_rows(x)
    blocks = _blocks(x)
    width, dim = weight.shape[1], len(weight)
    shares = [
        None if grad is None else x.new_empty(blocks, *shape, dtype=torch.float32)
        for grad, shape in ((grad_weight, (width, dim)), (grad_bias, (dim,)))
    ]
    arguments = as_channel_last(grad_out), x, *_contiguous(weight, bias), *x.shape[1:], row
    constants = _constants(weight, silu, reverse)
    launch(conv.backward, _programs(x), grad_x, *shares, *arguments, **constants)
    # Shares of a fixed shape, added up in a fixed order: no trace of the scheduling.
    if grad_weight is not None:
        grad_weight.copy_(shares[0].sum(0).T)
    if grad_bias is not None:
        grad_bias.copy_(shares[1].sum(0))


def _contiguous(*weights: torch.Tensor | None) -> list[torch.Tensor | None]:
    return [None if weight is None else weight.contiguous() for weight in weights]


def _constants(weight: torch.Tensor, silu: bool, reverse: bool) -> dict[str, int]:
    return dict(WIDTH=weight.shape[1], SILU=silu, SIGN=-1 if reverse else 1, **BLOCKS)


def _blocks(x: torch.Tensor) -> int:
    return len(x) * triton.cdiv(x.shape[2], BLOCKS['BLOCK_C'])


def _programs(x: torch.Tensor) -> int:
    return _blocks(x) * triton.cdiv(x.shape[1], BLOCKS['BLOCK_D'])

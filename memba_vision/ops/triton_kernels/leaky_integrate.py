"""Launches of the membrane kernels: they read tensors of any layout, and fill channel-last ones."""

import torch
import triton

from memba_vision.ops.layout import as_channel_last
from memba_vision.ops.triton_kernels import membrane
from memba_vision.ops.triton_kernels.launch import launch
from memba_vision.ops.triton_kernels.layout import in_float32

#: Positions and channels of a program.
BLOCKS = dict(BLOCK_C=16, BLOCK_D=64)


def forward(out, mean, x, initial, *settings, both=False):
    """Fill the potentials and their mean; with ``both``, from either end of the sequence."""
    x, initial = as_channel_last(x), as_channel_last(initial)
    arguments = out, mean, x, initial, *x.shape, *settings
    launch(membrane.forward, programs(x, mean), *arguments, BOTH=both, **BLOCKS)


def backward(grad_x, grad_initial, grad_out, grad_mean, x, initial, *settings, both=False):
    """Fill the gradients of x and of the initial potentials; the latter may be None."""
    inputs = map(as_channel_last, (grad_out, grad_mean, x, initial))
    half = in_float32(grad_x) if both else grad_x
    arguments = grad_x, half, grad_initial, *inputs, *x.shape, *settings
    launch(membrane.backward, programs(x, grad_mean), *arguments, BOTH=both, **BLOCKS)


def programs(x: torch.Tensor, mean: torch.Tensor) -> int:
    """Return the size of the grid for sequences (batch, dim, length) and their mean potentials."""
    position_blocks = triton.cdiv(mean.shape[2], BLOCKS['BLOCK_C'])
    return len(x) * position_blocks * triton.cdiv(x.shape[1], BLOCKS['BLOCK_D'])

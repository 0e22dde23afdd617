"""From tensors to the kernels of the membrane, and back."""

import torch
import triton

from memba_vision.ops.triton_kernels import membrane
from memba_vision.ops.triton_kernels.launch import launch
from memba_vision.ops.triton_kernels.layout import empty_mean

#: Positions and channels of a program; either may lie side by side in memory.
BLOCKS = dict(BLOCK_C=16, BLOCK_D=64)


def forward(x, initial, num_chunks, leak, threshold):
    """The potentials and their mean."""
    out, mean = torch.empty_like(x), empty_mean(x, num_chunks)
    tensors = (out, mean, x, initial)
    sizes = (*x.shape[1:], num_chunks, mean.shape[2], leak, threshold)
    launch(membrane.forward, programs(x, mean), *tensors, *sizes, *strides(*tensors), **BLOCKS)
    return out, mean


def backward(grad_out, grad_mean, x, initial, num_chunks, leak, threshold, needs_grad_initial):
    """Gradients of x and of the initial potentials; the latter empty where not needed."""
    grad_x = torch.empty_like(x)
    grad_initial = torch.empty_like(initial) if needs_grad_initial else None
    tensors = (grad_x, grad_initial, grad_out, grad_mean, x, initial)
    sizes = (*x.shape[1:], num_chunks, grad_mean.shape[2], leak, threshold)
    launch(
        membrane.backward, programs(x, grad_mean), *tensors, *sizes, *strides(*tensors), **BLOCKS
    )
    return grad_x, x.new_empty(0) if grad_initial is None else grad_initial


def programs(x: torch.Tensor, mean: torch.Tensor) -> int:
    """Size of the grid for sequences (batch, dim, length) and their mean potentials."""
    position_blocks = triton.cdiv(mean.shape[2], BLOCKS['BLOCK_C'])
    return len(x) * position_blocks * triton.cdiv(x.shape[1], BLOCKS['BLOCK_D'])


def strides(*tensors: torch.Tensor | None) -> list[int]:
    """The strides of tensors of three axes one after another; zeros for None."""
    return [s for tensor in tensors for s in ((0, 0, 0) if tensor is None else tensor.stride())]

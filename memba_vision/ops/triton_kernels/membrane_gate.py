"""From tensors to the kernels of the membrane's gate, and back."""

import torch

from memba_vision.ops.triton_kernels import gate
from memba_vision.ops.triton_kernels.launch import launch
from memba_vision.ops.triton_kernels.layout import empty_mean
from memba_vision.ops.triton_kernels.leaky_integrate import BLOCKS, programs, strides


def forward(z, forward_scan, backward_scan, initial, num_chunks, leak, threshold):
    """The merged sequence and the mean potentials."""
    merged, mean = torch.empty_like(forward_scan), empty_mean(z, num_chunks, directions=2)
    tensors = (merged, mean, z, forward_scan, backward_scan, initial)
    sizes = (*z.shape, num_chunks, mean.shape[2], leak, threshold)
    launch(gate.forward, programs(z, mean), *tensors, *sizes, *strides(*tensors), **BLOCKS)
    return merged, mean


def backward(
    grad_merged,
    grad_mean,
    z,
    forward_scan,
    backward_scan,
    initial,
    num_chunks,
    leak,
    threshold,
    needs_grad_initial,
):
    """Gradients of the four tensors; that of ``initial`` is empty where not needed."""
    grad_initial = torch.empty_like(initial) if needs_grad_initial else None
    grads = [torch.empty_like(tensor) for tensor in (z, forward_scan, backward_scan)]
    inputs = (grad_merged, grad_mean, z, forward_scan, backward_scan, initial)
    tensors = (*grads, grad_initial, torch.empty_like(z), *inputs)
    sizes = (*z.shape, num_chunks, grad_mean.shape[2], leak, threshold)
    launch(gate.backward, programs(z, grad_mean), *tensors, *sizes, *strides(*tensors), **BLOCKS)
    return *grads, z.new_empty(0) if grad_initial is None else grad_initial

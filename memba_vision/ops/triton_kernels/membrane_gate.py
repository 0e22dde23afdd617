"""Launches of the gate kernels: they read tensors of any layout, and fill channel-last ones."""

import torch

from memba_vision.ops.layout import as_channel_last
from memba_vision.ops.triton_kernels import gate
from memba_vision.ops.triton_kernels.launch import launch
from memba_vision.ops.triton_kernels.layout import as_rows, in_float32
from memba_vision.ops.triton_kernels.leaky_integrate import BLOCKS, programs


def forward(merged, mean, z, forward_scan, backward_scan, initial, *settings):
    """Fill the merged sequence and the mean potentials."""
    z, z_row = as_rows(z)
    inputs = map(as_channel_last, (forward_scan, backward_scan, initial))
    arguments = merged, in_float32(merged), mean, z, *inputs, *z.shape, *settings, z_row
    launch(gate.forward, programs(z, mean), *arguments, **BLOCKS)


def backward(*tensors_and_settings):
    """Fill the gradients of z, of both scans and of the initial potentials; these may be None.

    Takes the four gradients, those of the merged sequence and of the mean potentials, then the
    inputs and settings of :func:`forward`.
    """
    *tensors, num_chunks, leak, threshold = tensors_and_settings
    *grads, grad_merged, grad_mean, z, forward_scan, backward_scan, initial = tensors
    z, z_row = as_rows(z)
    scratch = torch.empty_like(grads[0], dtype=torch.float32)
    grad_outputs = map(as_channel_last, (grad_merged, grad_mean))
    inputs = map(as_channel_last, (forward_scan, backward_scan, initial))
    sizes = *z.shape, num_chunks, leak, threshold, z_row
    launch(
        gate.backward,
        programs(z, grad_mean),
        grads[0],
        in_float32(grads[0]),
        *grads[1:],
        scratch,
        *grad_outputs,
        z,
        *inputs,
        *sizes,
        **BLOCKS,
    )

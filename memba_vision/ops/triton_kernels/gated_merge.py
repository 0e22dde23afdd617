"""Launches of the kernels of the gate, on (batch, length, dim) tensors of any layout."""

import triton

from memba_vision.ops.triton_kernels import merge
from memba_vision.ops.triton_kernels.launch import launch
from memba_vision.ops.triton_kernels.layout import as_rows

#: Rows and channels of a program: a thread has eight channels of a row.
BLOCKS = dict(BLOCK_R=8, BLOCK_D=128)


def forward(merged, *inputs):
    """Fill the merged sequence, from both scans, the gate and its updates, which may be None."""
    _launch(merge.forward, [merged], *inputs)


def backward(grad_forward, grad_backward, grad_gate, grad_updates, grad_merged, *inputs):
    """Fill the gradients; without updates, those of the backward scan and the updates are None."""
    grads = grad_forward, grad_backward, grad_gate, grad_updates, grad_merged.contiguous()
    _launch(merge.backward, grads, *inputs)


def _launch(kernel, results, forward_scan, backward_scan, gate, updates=None):
    gate, row = as_rows(gate.mT)
    count, dim = len(gate) * gate.shape[2], gate.shape[1]
    scans = forward_scan.contiguous(), backward_scan.contiguous()
    updates = None if updates is None else updates.contiguous()
    programs = triton.cdiv(count, BLOCKS['BLOCK_R']) * triton.cdiv(dim, BLOCKS['BLOCK_D'])
    launch(kernel, programs, *results, *scans, gate, updates, count, dim, row, **BLOCKS)

"""The membrane's gate on a CPU, without a flip; compiled by numba at the first call.

Kernels: :mod:`memba_vision.ops.numba_kernels.membrane`.
"""

import torch

from memba_vision.ops.membrane_gate import BACKENDS
from memba_vision.ops.membrane_gate.torch_composed import membrane_gate_torch
from memba_vision.ops.numba_kernels.layout import channel_obstacle, empty_rows_like, state_or_zeros
from memba_vision.ops.second_derivatives import differentiate_by_twin, gradients


@BACKENDS.register('numba', priority=20, obstacle=channel_obstacle)
def membrane_gate_numba(
    z: torch.Tensor,
    forward_scan: torch.Tensor,
    backward_scan: torch.Tensor,
    initial: torch.Tensor | None,
    num_chunks: int,
    leak: float,
    threshold: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`memba_vision.ops.membrane_gate`; fastest on views of (batch, length, dim)."""
    mean_dtype = torch.promote_types(z.dtype, torch.float32)
    dtype = torch.promote_types(forward_scan.dtype, mean_dtype)
    sequences = [t.to(dtype).transpose(1, 2) for t in (z, forward_scan, backward_scan)]
    state = state_or_zeros(initial, sequences[0], num_chunks, dtype)
    merged, mean = _gate(*sequences, state, num_chunks, leak, threshold)
    return merged.to(forward_scan.dtype).transpose(1, 2), mean.to(mean_dtype).transpose(1, 2)


@torch.library.custom_op('memba_vision::membrane_gate_numba', mutates_args=())
def _gate(
    z: torch.Tensor,
    forward_scan: torch.Tensor,
    backward_scan: torch.Tensor,
    initial: torch.Tensor,
    num_chunks: int,
    leak: float,
    threshold: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    from memba_vision.ops.numba_kernels import membrane
    from memba_vision.ops.numba_kernels.threads import run_columns

    outputs = empty_rows_like(z), empty_rows_like(initial)
    tensors = *outputs, z, forward_scan, backward_scan, initial
    run_columns(membrane.gate, initial, tensors, (num_chunks, leak, threshold))
    return outputs


@torch.library.custom_op('memba_vision::membrane_gate_numba_backward', mutates_args=())
def _gate_backward(
    grad_merged: torch.Tensor,
    grad_mean: torch.Tensor,
    z: torch.Tensor,
    forward_scan: torch.Tensor,
    backward_scan: torch.Tensor,
    initial: torch.Tensor,
    num_chunks: int,
    leak: float,
    threshold: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of z, both scans and initial."""
    from memba_vision.ops.numba_kernels import membrane
    from memba_vision.ops.numba_kernels.threads import run_columns

    inputs = z, forward_scan, backward_scan, initial
    grads = tuple(empty_rows_like(tensor) for tensor in inputs)
    settings = num_chunks, leak, threshold
    run_columns(
        membrane.gate_backward, initial, (*grads, grad_merged, grad_mean, *inputs), settings
    )
    return grads


@_gate.register_fake
def _(z, forward_scan, backward_scan, initial, num_chunks, leak, threshold):
    return empty_rows_like(z), empty_rows_like(initial)


@_gate_backward.register_fake
def _(grad_merged, grad_mean, *inputs):
    return tuple(empty_rows_like(tensor) for tensor in inputs[:4])


def _save(ctx, inputs, output) -> None:
    *tensors, num_chunks, leak, threshold = inputs
    ctx.save_for_backward(*tensors)
    ctx.settings = num_chunks, leak, threshold


def _differentiate(ctx, grad_merged, grad_mean):
    grads = _gate_backward(grad_merged, grad_mean, *ctx.saved_tensors, *ctx.settings)
    return *grads, None, None, None


_gate.register_autograd(_differentiate, setup_context=_save)


def _twin(grad_merged, grad_mean, *arguments):
    inputs, settings = arguments[:4], arguments[4:]
    outputs = membrane_gate_torch(*(tensor.transpose(1, 2) for tensor in inputs), *settings)
    return gradients(outputs, inputs, (grad_merged.transpose(1, 2), grad_mean.transpose(1, 2)))


differentiate_by_twin(_gate_backward, _twin)

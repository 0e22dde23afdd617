"""The membrane's gate on a GPU, in one kernel each way for both directions.

Kernels: :mod:`memba_vision.ops.triton_kernels.gate`.
"""

import torch

from memba_vision.ops.membrane_gate import BACKENDS
from memba_vision.ops.membrane_gate.torch_composed import membrane_gate_torch
from memba_vision.ops.second_derivatives import differentiate_by_twin, gradients
from memba_vision.ops.triton_kernels.layout import empty_mean
from memba_vision.ops.triton_kernels.presence import DTYPES, PRIORITY, obstacle


@BACKENDS.register('triton', priority=PRIORITY, obstacle=obstacle, dtypes=DTYPES)
def membrane_gate_triton(
    z: torch.Tensor,
    forward_scan: torch.Tensor,
    backward_scan: torch.Tensor,
    initial: torch.Tensor | None,
    num_chunks: int,
    leak: float,
    threshold: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`memba_vision.ops.membrane_gate`. Tensors may have any strides."""
    return _gate(z, forward_scan, backward_scan, initial, num_chunks, leak, threshold)


@torch.library.custom_op('memba_vision::membrane_gate_triton', mutates_args=())
def _gate(
    z: torch.Tensor,
    forward_scan: torch.Tensor,
    backward_scan: torch.Tensor,
    initial: torch.Tensor | None,
    num_chunks: int,
    leak: float,
    threshold: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    from memba_vision.ops.triton_kernels import membrane_gate

    return membrane_gate.forward(
        z, forward_scan, backward_scan, initial, num_chunks, leak, threshold
    )


@_gate.register_fake
def _(z, forward_scan, backward_scan, initial, num_chunks, leak, threshold):
    return torch.empty_like(forward_scan), empty_mean(z, num_chunks, directions=2)


@torch.library.custom_op('memba_vision::membrane_gate_triton_backward', mutates_args=())
def _gate_backward(
    grad_merged: torch.Tensor,
    grad_mean: torch.Tensor,
    z: torch.Tensor,
    forward_scan: torch.Tensor,
    backward_scan: torch.Tensor,
    initial: torch.Tensor | None,
    num_chunks: int,
    leak: float,
    threshold: float,
    needs_grad_initial: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of z, of both scans and of initial; the last empty where not needed."""
    from memba_vision.ops.triton_kernels import membrane_gate

    return membrane_gate.backward(
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
    )


@_gate_backward.register_fake
def _(grad_merged, grad_mean, z, forward_scan, backward_scan, initial, *settings):
    grads = [torch.empty_like(tensor) for tensor in (z, forward_scan, backward_scan)]
    return *grads, torch.empty_like(initial) if settings[-1] else z.new_empty(0)


def _save(ctx, inputs, output) -> None:
    *tensors, num_chunks, leak, threshold = inputs
    ctx.save_for_backward(*tensors)
    ctx.settings = num_chunks, leak, threshold


def _differentiate(ctx, grad_merged, grad_mean):
    needs_grad_initial = ctx.needs_input_grad[3]
    *grads, grad_initial = _gate_backward(
        grad_merged, grad_mean, *ctx.saved_tensors, *ctx.settings, needs_grad_initial
    )
    return *grads, grad_initial if needs_grad_initial else None, None, None, None


_gate.register_autograd(_differentiate, setup_context=_save)


def _twin(grad_merged, grad_mean, *arguments):
    inputs, settings = arguments[:4], arguments[4:7]
    return gradients(membrane_gate_torch(*inputs, *settings), inputs, (grad_merged, grad_mean))


differentiate_by_twin(_gate_backward, _twin)

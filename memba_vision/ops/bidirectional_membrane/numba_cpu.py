"""Both membranes on a CPU, without a flip; compiled by numba at the first call.

Kernels: :mod:`memba_vision.ops.numba_kernels.membrane`.
"""

import torch

from memba_vision.ops.bidirectional_membrane import BACKENDS
from memba_vision.ops.bidirectional_membrane.torch_composed import bidirectional_membrane_torch
from memba_vision.ops.numba_kernels.layout import empty_rows_like, row_obstacle, state_or_zeros
from memba_vision.ops.second_derivatives import differentiate_by_twin, gradients


@BACKENDS.register('numba', priority=20, obstacle=row_obstacle)
def bidirectional_membrane_numba(
    current: torch.Tensor,
    initial: torch.Tensor | None,
    num_chunks: int,
    leak: float,
    threshold: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`memba_vision.ops.bidirectional_membrane`."""
    dtype = torch.promote_types(current.dtype, torch.float32)
    state = state_or_zeros(initial, current, num_chunks, dtype)
    potentials, mean = _integrate(current.to(dtype), state, num_chunks, leak, threshold)
    return potentials.to(current.dtype), mean.transpose(1, 2)


@torch.library.custom_op('memba_vision::bidirectional_membrane', mutates_args=())
def _integrate(
    current: torch.Tensor, initial: torch.Tensor, num_chunks: int, leak: float, threshold: float
) -> tuple[torch.Tensor, torch.Tensor]:
    from memba_vision.ops.numba_kernels import membrane
    from memba_vision.ops.numba_kernels.threads import run_columns

    potentials = current.new_empty(2, *current.shape)
    mean = empty_rows_like(initial)
    settings = num_chunks, leak, threshold
    run_columns(membrane.integrate, initial, (potentials, mean, current, initial), settings)
    return potentials, mean


@torch.library.custom_op('memba_vision::bidirectional_membrane_backward', mutates_args=())
def _integrate_backward(
    grad_potentials: torch.Tensor,
    grad_mean: torch.Tensor,
    current: torch.Tensor,
    initial: torch.Tensor,
    num_chunks: int,
    leak: float,
    threshold: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of current and initial."""
    from memba_vision.ops.numba_kernels import membrane
    from memba_vision.ops.numba_kernels.threads import run_columns

    grads = empty_rows_like(current), empty_rows_like(initial)
    tensors = *grads, grad_potentials, grad_mean, current, initial
    settings = num_chunks, leak, threshold
    run_columns(membrane.integrate_backward, initial, tensors, settings)
    return grads


@_integrate.register_fake
def _(current, initial, num_chunks, leak, threshold):
    return current.new_empty(2, *current.shape), empty_rows_like(initial)


@_integrate_backward.register_fake
def _(grad_potentials, grad_mean, current, initial, num_chunks, leak, threshold):
    return empty_rows_like(current), empty_rows_like(initial)


def _save(ctx, inputs, output) -> None:
    current, initial, *ctx.settings = inputs
    ctx.save_for_backward(current, initial)


def _differentiate(ctx, grad_potentials, grad_mean):
    grads = _integrate_backward(grad_potentials, grad_mean, *ctx.saved_tensors, *ctx.settings)
    return *grads, None, None, None


_integrate.register_autograd(_differentiate, setup_context=_save)


def _twin(grad_potentials, grad_mean, current, initial, *settings):
    outputs = bidirectional_membrane_torch(current, initial.transpose(1, 2), *settings)
    return gradients(outputs, (current, initial), (grad_potentials, grad_mean.transpose(1, 2)))


differentiate_by_twin(_integrate_backward, _twin)

"""The leaky-integrate membrane on a GPU, in one kernel each way.

Kernels: :mod:`memba_vision.ops.triton_kernels.membrane`.
"""

import torch

from memba_vision.ops.leaky_integrate import BACKENDS
from memba_vision.ops.leaky_integrate.torch_chunked import leaky_integrate_torch
from memba_vision.ops.second_derivatives import differentiate_by_twin, gradients
from memba_vision.ops.triton_kernels.layout import empty_mean
from memba_vision.ops.triton_kernels.presence import DTYPES, PRIORITY, obstacle


@BACKENDS.register('triton', priority=PRIORITY, obstacle=obstacle, dtypes=DTYPES)
def leaky_integrate_triton(
    x: torch.Tensor,
    initial: torch.Tensor | None,
    num_chunks: int,
    leak: float,
    threshold: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`memba_vision.ops.leaky_integrate`. Tensors may have any strides."""
    return _integrate(x, initial, num_chunks, leak, threshold)


@torch.library.custom_op('memba_vision::leaky_integrate_triton', mutates_args=())
def _integrate(
    x: torch.Tensor,
    initial: torch.Tensor | None,
    num_chunks: int,
    leak: float,
    threshold: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    from memba_vision.ops.triton_kernels import leaky_integrate

    return leaky_integrate.forward(x, initial, num_chunks, leak, threshold)


@_integrate.register_fake
def _(x, initial, num_chunks, leak, threshold):
    return torch.empty_like(x), empty_mean(x, num_chunks)


@torch.library.custom_op('memba_vision::leaky_integrate_triton_backward', mutates_args=())
def _integrate_backward(
    grad_out: torch.Tensor,
    grad_mean: torch.Tensor,
    x: torch.Tensor,
    initial: torch.Tensor | None,
    num_chunks: int,
    leak: float,
    threshold: float,
    needs_grad_initial: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of x and initial; the latter empty where not needed."""
    from memba_vision.ops.triton_kernels import leaky_integrate

    return leaky_integrate.backward(
        grad_out, grad_mean, x, initial, num_chunks, leak, threshold, needs_grad_initial
    )


@_integrate_backward.register_fake
def _(grad_out, grad_mean, x, initial, num_chunks, leak, threshold, needs_grad_initial):
    grad_initial = torch.empty_like(initial) if needs_grad_initial else x.new_empty(0)
    return torch.empty_like(x), grad_initial


def _save(ctx, inputs, output) -> None:
    x, initial, *ctx.settings = inputs
    ctx.save_for_backward(x, initial)


def _differentiate(ctx, grad_out, grad_mean):
    needs_grad_initial = ctx.needs_input_grad[1]
    grad_x, grad_initial = _integrate_backward(
        grad_out, grad_mean, *ctx.saved_tensors, *ctx.settings, needs_grad_initial
    )
    return grad_x, grad_initial if needs_grad_initial else None, None, None, None


_integrate.register_autograd(_differentiate, setup_context=_save)


def _twin(grad_out, grad_mean, x, initial, num_chunks, leak, threshold, _):
    outputs = leaky_integrate_torch(x, initial, num_chunks, leak, threshold)
    return gradients(outputs, (x, initial), (grad_out, grad_mean))


differentiate_by_twin(_integrate_backward, _twin)

"""The linear map by oneDNN, which comes with torch.

In float32 torch multiplies with MKL, which takes a slow path on CPUs of other makers than its own:
2.2 times the time on an AMD EPYC. On an Intel Xeon the two are close.
"""

import torch
from torch.autograd.function import once_differentiable

from memba_vision.ops.linear.table import BACKENDS

HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, '_linear_pointwise')


def obstacle(x: torch.Tensor) -> str | None:
    """Why oneDNN cannot multiply a tensor like this one, or None where it can."""
    if x.device.type != 'cpu' or x.dtype != torch.float32:
        return f'it takes float32 tensors on the CPU and these are {x.dtype} on {x.device}'
    if torch.is_autocast_enabled('cpu'):
        return 'autocast asks for another dtype'
    if torch.compiler.is_compiling():
        return 'compiled models choose their own library'
    if not x.numel():
        return 'the tensor is empty'
    if not HAS_ONEDNN:
        return 'this build of torch comes without it'
    return None


@BACKENDS.register('onednn', priority=10, obstacle=obstacle)
def linear_onednn(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """See :func:`memba_vision.ops.linear`."""
    return _Linear.apply(x, weight, bias)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(
            x if ctx.needs_input_grad[1] else None, weight if ctx.needs_input_grad[0] else None
        )
        return _multiply(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        rows = grad.reshape(-1, grad.shape[-1])
        grad_x = _multiply(grad, weight.t()) if ctx.needs_input_grad[0] else None
        grad_weight = _outer(rows, x.reshape(-1, x.shape[-1])) if ctx.needs_input_grad[1] else None
        grad_bias = rows.sum(0) if ctx.needs_input_grad[2] else None
        return grad_x, grad_weight, grad_bias


def _outer(grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """``grad.T @ x`` of (rows, out_features) and (rows, in_features)."""
    # oneDNN copies a first operand that is transposed, and takes a second one as it lies.
    if grad.shape[1] > x.shape[1]:
        return _multiply(x.t(), grad.t()).t().contiguous()
    return _multiply(grad.t(), x.t())


def _multiply(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    # The operator that torch's own compiler calls for a linear layer on a CPU.
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, 'none', [], '')

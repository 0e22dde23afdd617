"""The linear map by oneDNN, which comes with torch.

torch itself multiplies float32 matrices with MKL, which is slow on CPUs that Intel did not make:
it takes 2.2 times as long on an AMD EPYC. On an Intel Xeon the two are close.
"""

import torch

from memba_vision.ops.linear import BACKENDS
from memba_vision.ops.linear.torch_linear import linear_torch

HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, '_linear_pointwise')


def unsupported_reason(x: torch.Tensor) -> str | None:
    """Return the reason that oneDNN cannot multiply a tensor like this one, None if it can."""
    if x.device.type != 'cpu' or x.dtype != torch.float32:
        return f'it takes float32 tensors on the CPU and these are {x.dtype} on {x.device}'
    if torch.is_autocast_enabled('cpu'):
        return 'autocast asks for another dtype'
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return 'compiled models choose their own library'
    if torch._C._len_torch_dispatch_stack():
        return "a dispatch mode, such as a counter of flops, knows torch's own operators alone"
    if not x.numel():
        return 'the tensor is empty'
    if not HAS_ONEDNN:
        return 'this build of torch comes without it'
    return None


@BACKENDS.register('onednn', priority=10, unsupported_reason=unsupported_reason)
def linear_onednn(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """See :func:`memba_vision.ops.linear`."""
    if not len(weight):  # oneDNN cannot multiply the empty matrices of the derivative
        return linear_torch(x, weight, bias)
    out = _Product.apply(x.reshape(-1, x.shape[-1]), weight, bias)
    # For autograd this is no view, so that callers may change the result in place.
    return torch.ops.aten._unsafe_view(out, (*x.shape[:-1], len(weight)))


class _Product(torch.autograd.Function):
    """Compute ``x @ weight.T + bias`` of matrices.

    The derivatives are such products too, so that they can be differentiated again.
    """

    @staticmethod
    def forward(ctx, x, weight, bias):
        needs_grad_x, needs_grad_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if needs_grad_weight else None, weight if needs_grad_x else None)
        # The operator that torch's own compiler calls for a linear layer on a CPU.
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, 'none', [], '')

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        needs_grad_x, needs_grad_weight, needs_grad_bias = ctx.needs_input_grad
        return (
            _Product.apply(grad, weight.t(), None) if needs_grad_x else None,
            _outer(grad, x) if needs_grad_weight else None,
            grad.sum(0) if needs_grad_bias else None,
        )


def _outer(grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Compute ``grad.T @ x`` of (rows, out_features) and (rows, in_features)."""
    # oneDNN copies a transposed first operand, but reads a transposed second one in place.
    if grad.shape[1] > x.shape[1]:
        return _Product.apply(x.t(), grad.t(), None).t().contiguous()
    return _Product.apply(grad.t(), x.t(), None)

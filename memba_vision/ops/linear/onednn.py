"""The linear map by oneDNN, which comes with torch.

In float32 torch multiplies with MKL, which takes a slow path on CPUs of other makers than its own:
2.2 times the time on an AMD EPYC. On an Intel Xeon the two are close.
"""

import torch

from memba_vision.ops.linear import BACKENDS
from memba_vision.ops.linear.torch_linear import linear_torch

HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, '_linear_pointwise')


def unsupported_reason(x: torch.Tensor) -> str | None:
    """Why oneDNN cannot multiply a tensor like this one, or None where it can."""
    if x.device.type != 'cpu' or x.dtype != torch.float32:
        return f'it takes float32 tensors on the CPU and these are {x.dtype} on {x.device}'
    if torch.is_autocast_enabled('cpu'):
        return 'autocast asks for another dtype'
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return 'compiled models choose their own library'
    if torch._C._len_torch_dispatch_stack():
        return "what follows the operators, a counter of flops say, knows torch's own"
    if not x.numel():
        return 'the tensor is empty'
    if not HAS_ONEDNN:
        return 'this build of torch comes without it'
    return None


@BACKENDS.register('onednn', priority=10, unsupported_reason=unsupported_reason)
def linear_onednn(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """See :func:`memba_vision.ops.linear`."""
    if not len(weight):  # the derivative would be of empty matrices, for which it has no product
        return linear_torch(x, weight, bias)
    out = _Product.apply(x.reshape(-1, x.shape[-1]), weight, bias)
    # No view, as far as autograd can see: callers may change it in place.
    return torch.ops.aten._unsafe_view(out, (*x.shape[:-1], len(weight)))


class _Product(torch.autograd.Function):
    """``x @ weight.T + bias`` of matrices.

    Its derivatives are such products again, so that they have derivatives of their own.
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
    """``grad.T @ x`` of (rows, out_features) and (rows, in_features)."""
    # oneDNN copies a first operand that is transposed, and takes a second one as it lies.
    if grad.shape[1] > x.shape[1]:
        return _Product.apply(x.t(), grad.t(), None).t().contiguous()
    return _Product.apply(grad.t(), x.t(), None)

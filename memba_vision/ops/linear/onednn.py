"""The linear map by oneDNN, which comes with torch.

torch itself multiplies float32 matrices with MKL, which is slow on CPUs that Intel did not make:
it takes 2.2 times as long on an AMD EPYC. On an Intel Xeon the two are close.
"""

from collections.abc import Sequence

import torch

from memba_vision.ops.checks import dtype_name
from memba_vision.ops.linear import BACKENDS
from memba_vision.ops.linear.torch_linear import linear_torch

HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, '_linear_pointwise')
HAS_BFLOAT16 = HAS_ONEDNN and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def unsupported_reason(x: torch.Tensor) -> str | None:
    """Return the reason that oneDNN cannot multiply a tensor like this one, None if it can."""
    dtypes = (torch.float32, torch.bfloat16) if HAS_BFLOAT16 else (torch.float32,)
    if x.device.type != 'cpu' or x.dtype not in dtypes:
        names = ' and '.join(map(dtype_name, dtypes))
        return f'it takes {names} tensors on the CPU and these are {x.dtype} on {x.device}'
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
def linear_onednn(
    x: torch.Tensor,
    weights: Sequence[torch.Tensor],
    bias: torch.Tensor | None,
    added: torch.Tensor | None,
) -> list[torch.Tensor]:
    """See :mod:`memba_vision.ops.linear.torch_linear`."""
    if not all(map(len, weights)):  # oneDNN cannot multiply the empty matrices of the derivative
        return linear_torch(x, weights, bias, added)
    rows = x.reshape(-1, x.shape[-1])
    if added is not None:
        added = added.reshape(-1, added.shape[-1])
    outs = _Products.apply(rows, bias, added, *weights)
    # For autograd these are no views, so that callers may change the results in place.
    shapes = ((*x.shape[:-1], len(weight)) for weight in weights)
    return [torch.ops.aten._unsafe_view(*pair) for pair in zip(outs, shapes, strict=True)]


class _Products(torch.autograd.Function):
    """Compute ``x @ weight.T`` of matrices for each weight; the first gets ``bias`` and ``added``.

    The derivatives are such products too, so that they can be differentiated again.
    """

    @staticmethod
    def forward(ctx, x, bias, added, *weights):
        ctx.set_materialize_grads(False)
        needs_x, _, _, *needs_weights = ctx.needs_input_grad
        kept = (weight if needs_x else None for weight in weights)
        ctx.save_for_backward(x if any(needs_weights) else None, *kept)
        first, *others = weights
        return _multiply(x, first, bias, added), *(_multiply(x, weight) for weight in others)

    @staticmethod
    def backward(ctx, *grads):
        x, *weights = ctx.saved_tensors
        needs_x, needs_bias, needs_added, *needs_weights = ctx.needs_input_grad
        total = None
        for grad, weight in zip(grads, weights, strict=True) if needs_x else ():
            if grad is not None:
                (total,) = _Products.apply(grad, None, total, weight.t())
        first = grads[0]
        return (
            total,
            first.sum(0) if needs_bias and first is not None else None,
            first if needs_added else None,
            *(
                torch.mm(grad.t(), x) if needed and grad is not None else None
                for grad, needed in zip(grads, needs_weights, strict=True)
            ),
        )


def _multiply(x, weight, bias=None, added=None) -> torch.Tensor:
    # The operators that torch's own compiler calls for a linear layer on a CPU.
    if added is None:
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, 'none', [], '')
    return torch.ops.mkldnn._linear_pointwise.binary(x, added, weight, bias, 'add')

"""The selective scan on a GPU, compiled by Triton at the first call and kept on disk.

Needs no nvcc. Kernels: :mod:`memba_vision.ops.triton_kernels`.
"""

import torch
import torch.nn.functional as F

from memba_vision.ops.second_derivatives import register_second_derivatives
from memba_vision.ops.selective_scan import BACKENDS
from memba_vision.ops.selective_scan.groups import one_group_at_a_time
from memba_vision.ops.selective_scan.torch_portable import scan_gradients
from memba_vision.ops.triton_kernels.layout import empty_states
from memba_vision.ops.triton_kernels.presence import DTYPES, PRIORITY, unsupported_reason


# Behind mamba-ssm's kernel until both have been measured on a GPU: that one is known to be fast.
@BACKENDS.register(
    'triton', priority=PRIORITY, unsupported_reason=unsupported_reason, dtypes=DTYPES
)
@one_group_at_a_time
def selective_scan_triton(
    u: torch.Tensor,
    delta: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    D: torch.Tensor | None = None,
    z: torch.Tensor | None = None,
    delta_bias: torch.Tensor | None = None,
    delta_softplus: bool = False,
    reverse: bool = False,
) -> torch.Tensor:
    """See :func:`memba_vision.ops.selective_scan`.

    Tensors may have any strides and any of the dtypes float32, bfloat16 and float16, each its
    own; nothing is copied or cast outside the kernels. ``u`` and ``delta`` are read fastest as
    views of (batch, length, dim) memory.
    """
    out_dtype = u.dtype
    if z is not None:
        u = u.float()  # keeps the result from being rounded before the gate
    inputs = [tensor for tensor in (u, delta, A, B, C, D, delta_bias) if tensor is not None]
    keep_states = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
    out, _ = _scan(u, delta, A, B, C, D, delta_bias, delta_softplus, reverse, keep_states)
    if z is not None:
        out = out * F.silu(z.float())
    return out.to(out_dtype)


@torch.library.custom_op('memba_vision::selective_scan_triton', mutates_args=())
def _scan(
    u: torch.Tensor,
    delta: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    D: torch.Tensor | None,
    delta_bias: torch.Tensor | None,
    delta_softplus: bool,
    reverse: bool,
    keep_states: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    from memba_vision.ops.triton_kernels import selective_scan

    return selective_scan.forward(
        u, delta, A, B, C, D, delta_bias, delta_softplus, reverse, keep_states
    )


@_scan.register_fake
def _(u, delta, A, B, C, D, delta_bias, delta_softplus, reverse, keep_states):
    return torch.empty_like(u), empty_states(u, A, keep_states)


@torch.library.custom_op('memba_vision::selective_scan_triton_backward', mutates_args=())
def _scan_backward(
    grad_out: torch.Tensor,
    states: torch.Tensor,
    u: torch.Tensor,
    delta: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    D: torch.Tensor | None,
    delta_bias: torch.Tensor | None,
    delta_softplus: bool,
    reverse: bool,
    needs_grad_A: bool,
    needs_grad_D: bool,
    needs_grad_bias: bool,
) -> tuple[
    torch.Tensor,
    torch.Tensor,
    torch.Tensor,
    torch.Tensor,
    torch.Tensor,
    torch.Tensor,
    torch.Tensor,
]:
    """Gradients of u, delta, A, B, C, D, delta_bias; empty where not needed."""
    from memba_vision.ops.triton_kernels import selective_scan

    return selective_scan.backward(
        grad_out,
        states,
        u,
        delta,
        A,
        B,
        C,
        D,
        delta_bias,
        delta_softplus,
        reverse,
        (needs_grad_A, needs_grad_D, needs_grad_bias),
    )


@_scan_backward.register_fake
def _(grad_out, states, u, delta, A, B, C, D, delta_bias, softplus, reverse, *needs):
    dim, state = A.shape
    return (
        torch.empty_like(u),
        torch.empty_like(delta),
        A.new_empty(state, dim).T if needs[0] else A.new_empty(0),
        B.new_empty(B.transpose(1, 2).shape).transpose(1, 2),
        C.new_empty(C.transpose(1, 2).shape).transpose(1, 2),
        D.new_empty(dim) if needs[1] else u.new_empty(0),
        delta_bias.new_empty(dim) if needs[2] else u.new_empty(0),
    )


def _save(ctx, inputs, output) -> None:
    *tensors, delta_softplus, reverse, _ = inputs
    ctx.save_for_backward(output[1], *tensors)
    ctx.flags = delta_softplus, reverse
    ctx.set_materialize_grads(False)  # there is none of the states


def _differentiate(ctx, grad_out, grad_states):
    needs = [ctx.needs_input_grad[i] for i in (2, 5, 6)]
    grads = _scan_backward(grad_out, *ctx.saved_tensors, *ctx.flags, *needs)
    return (
        *(
            grad if needed else None
            for grad, needed in zip(grads, ctx.needs_input_grad, strict=False)
        ),
        None,
        None,
        None,
    )


_scan.register_autograd(_differentiate, setup_context=_save)


def _twin(grad_out, _, *arguments):
    return scan_gradients(grad_out, arguments[:7], *arguments[7:9])


register_second_derivatives(_scan_backward, _twin)

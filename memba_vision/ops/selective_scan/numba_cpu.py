"""The selective scan on a CPU, compiled by numba at the first call and kept on disk.

Needs no compiler on the machine. Kernels: :mod:`memba_vision.ops.numba_kernels`.
"""

import torch
import torch.nn.functional as F

from memba_vision.ops.numba_kernels.layout import empty_like, empty_states, obstacle
from memba_vision.ops.second_derivatives import differentiate_by_twin
from memba_vision.ops.selective_scan import BACKENDS
from memba_vision.ops.selective_scan.groups import one_group_at_a_time
from memba_vision.ops.selective_scan.torch_portable import scan_gradients


@BACKENDS.register('numba', priority=20, obstacle=obstacle)
@one_group_at_a_time
def selective_scan_numba(
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

    ``u`` and ``delta`` may be views of (batch, length, dim) memory, and are fastest so. Float16
    and bfloat16 are scanned in float32; float64 is exact and slow.
    """
    out_dtype = u.dtype
    dtype = torch.promote_types(out_dtype, torch.float32)
    u, delta, A, B, C = (tensor.to(dtype) for tensor in (u, delta, A, B, C))
    D, delta_bias = (None if tensor is None else tensor.to(dtype) for tensor in (D, delta_bias))
    inputs = [tensor for tensor in (u, delta, A, B, C, D, delta_bias) if tensor is not None]
    keep_states = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
    out, _ = _scan(u, delta, A, B, C, D, delta_bias, delta_softplus, reverse, keep_states)
    if z is not None:
        out = out * F.silu(z.to(dtype))
    return out.to(out_dtype)


@torch.library.custom_op('memba_vision::selective_scan_numba', mutates_args=())
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
    from memba_vision.ops.numba_kernels import selective_scan

    return selective_scan.forward(
        u, delta, A, B, C, D, delta_bias, delta_softplus, [reverse], [1], keep_states
    )


@_scan.register_fake
def _(u, delta, A, B, C, D, delta_bias, delta_softplus, reverse, keep_states):
    return empty_like(u), empty_states(u, A, keep_states)


@torch.library.custom_op('memba_vision::selective_scan_numba_backward', mutates_args=())
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
    from memba_vision.ops.numba_kernels import selective_scan

    return tuple(selective_scan.backward(
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
        [reverse], [1],
        (needs_grad_A, needs_grad_D, needs_grad_bias),
    ))


@_scan_backward.register_fake
def _(grad_out, states, u, delta, A, B, C, D, delta_bias, delta_softplus, reverse, *needs):
    dim, state = A.shape
    return (
        empty_like(u),
        empty_like(delta),
        u.new_empty(state, dim).T if needs[0] else u.new_empty(0, 0),
        u.new_empty(B.transpose(1, 2).shape).transpose(1, 2),
        u.new_empty(B.transpose(1, 2).shape).transpose(1, 2),
        u.new_empty(dim if needs[1] else 0),
        u.new_empty(dim if needs[2] else 0),
    )


def _save(ctx, inputs, output) -> None:
    *tensors, delta_softplus, reverse, _ = inputs
    ctx.save_for_backward(output[1], *tensors)
    ctx.flags = delta_softplus, reverse
    ctx.set_materialize_grads(False)  # the states get no gradient: spare the zeros


def _differentiate(ctx, grad_out, grad_states):
    if grad_out is None:
        return (None,) * len(ctx.needs_input_grad)
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


differentiate_by_twin(_scan_backward, _twin)

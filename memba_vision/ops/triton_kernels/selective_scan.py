"""From tensors to the kernels of the selective scan, and back."""

import torch
import triton

from memba_vision.ops.triton_kernels import scan_backward, scan_forward
from memba_vision.ops.triton_kernels.launch import launch
from memba_vision.ops.triton_kernels.layout import (
    BLOCK,
    CHUNK,
    STATES_PER_WARP,
    empty_states,
)

# Registers of a thread in the backward pass. With 168, an H100 holds all programs of batch 64 of
# Vim-S at once; left to itself the compiler takes 255, and a third of them would have to wait.
REGISTERS = 168


def forward(u, delta, A, B, C, D, delta_bias, delta_softplus, reverse, keep_states):
    """The result, and the states that :func:`backward` starts from."""
    out, states = torch.empty_like(u), empty_states(u, A, keep_states)
    launch(
        scan_forward.forward,
        _programs(u),
        *(out, states, u, delta, A, B, C, _dense(D), _dense(delta_bias)),
        *(*u.shape[1:], *out.stride(), 1, *u.stride(), *delta.stride()),
        *(*A.stride(), *B.stride(), *C.stride()),
        SOFTPLUS=delta_softplus,
        REVERSE=reverse,
        KEEP=keep_states,
        **_sizes(A),
    )
    return out, states


def backward(grad_out, states, u, delta, A, B, C, D, delta_bias, softplus, reverse, needs):
    """Gradients of u, delta, A, B, C, D, delta_bias; empty for those three not in ``needs``.

    ``needs`` says for A, D and delta_bias whether the gradient is asked for.
    """
    (batch, dim, length), state = u.shape, A.shape[1]
    sizes, programs = _sizes(A), _programs(u)
    float32 = dict(dtype=torch.float32, device=u.device)
    grad_u, grad_delta = torch.empty_like(u), torch.empty_like(delta)
    grad_A, grad_D, grad_bias = (
        torch.empty(batch, rows, dim, **float32) if needed else None
        for rows, needed in zip((state, 1, 1), needs, strict=True)
    )
    grad_B, grad_C = torch.empty(2, batch, programs // batch, length, state, **float32)
    groups = CHUNK // scan_backward.GROUP.value
    scratch = torch.empty(programs, groups, sizes['ROWS'], BLOCK, **float32)
    launch(
        scan_backward.backward,
        programs,
        *(grad_u, grad_delta, grad_A, grad_B, grad_C, grad_D, grad_bias, scratch),
        *(grad_out, states, u, delta, A, B, C, _dense(D), _dense(delta_bias)),
        *(dim, length, 1, *grad_u.stride(), *grad_delta.stride(), *grad_out.stride()),
        *(*u.stride(), *delta.stride(), *A.stride(), *B.stride(), *C.stride()),
        SOFTPLUS=softplus,
        REVERSE=reverse,
        registers=REGISTERS,
        **sizes,
    )
    # Partial sums of a fixed shape, added up in a fixed order: no trace of the scheduling.
    return (
        grad_u,
        grad_delta,
        u.new_empty(0) if grad_A is None else grad_A.sum(0).to(A.dtype).T,
        grad_B.sum(1).to(B.dtype).transpose(1, 2),
        grad_C.sum(1).to(C.dtype).transpose(1, 2),
        u.new_empty(0) if grad_D is None else grad_D.sum((0, 1)).to(D.dtype),
        u.new_empty(0) if grad_bias is None else grad_bias.sum((0, 1)).to(delta_bias.dtype),
    )


def _programs(u: torch.Tensor) -> int:
    return u.shape[0] * triton.cdiv(u.shape[1], BLOCK)


def _sizes(A: torch.Tensor) -> dict[str, int]:
    rows = triton.next_power_of_2(A.shape[1])
    return dict(
        STATE=A.shape[1],
        ROWS=rows,
        BLOCK=BLOCK,
        CHUNK=CHUNK,
        num_warps=max(1, rows // STATES_PER_WARP),
    )


def _dense(weight: torch.Tensor | None) -> torch.Tensor | None:
    return None if weight is None else weight.contiguous()

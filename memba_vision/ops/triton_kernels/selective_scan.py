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


#: u, delta, A, B, C, D and delta_bias of a direction.
Inputs = tuple[torch.Tensor | None, ...]


def forward(*arguments):
    """One direction: the result, and the states that :func:`backward` starts from.

    Takes u, delta, A, B, C, D and delta_bias, then delta_softplus, reverse and keep_states.
    """
    *inputs, delta_softplus, reverse, keep_states = arguments
    return _forward([inputs], delta_softplus, reverse, keep_states)


def forward_both(first: Inputs, second: Inputs, delta_softplus: bool, keep_states: bool):
    """Both directions in one launch: their results, and the states, the backward ones last.

    The tensors of either direction must have the same dtypes and strides.
    """
    return _forward([first, second], delta_softplus, False, keep_states)


def backward(grad_out, states, *arguments):
    """Gradients of u, delta, A, B, C, D, delta_bias; empty for those three not in ``needs``.

    Takes the arguments of :func:`forward` but for keep_states, and ``needs``, which says for A, D
    and delta_bias whether the gradient is asked for.
    """
    *inputs, softplus, reverse, needs = arguments
    return _backward([grad_out], states, [inputs], softplus, reverse, needs)[0]


def backward_both(grad_outs, states, first: Inputs, second: Inputs, softplus: bool, needs):
    """As :func:`backward`, of either direction, in one launch; ``grad_outs`` have equal strides."""
    return _backward(grad_outs, states, [first, second], softplus, False, needs)


def _forward(ways, softplus, reverse, keep_states):
    u, delta, A, B, C, *_ = ways[0]
    outs = [torch.empty_like(u) for _ in ways]
    states = empty_states(u, A, keep_states, len(ways))
    per_way = [(out, *_dense_weights(inputs)) for out, inputs in zip(outs, ways, strict=True)]
    first, second = [*per_way, (None,) * len(per_way[0])][:2]
    launch(
        scan_forward.forward,
        _grid(u, ways),
        *(first[0], states, *first[1:], *second),
        *(*u.shape[1:], *outs[0].stride(), 1, *u.stride(), *delta.stride()),
        *(*A.stride(), *B.stride(), *C.stride()),
        SOFTPLUS=softplus,
        REVERSE=reverse,
        BOTH=len(ways) == 2,
        KEEP=keep_states,
        **_sizes(A),
    )
    return *outs, states


def _backward(grad_outs, states, ways, softplus, reverse, needs):
    u, delta, A, B, C, D, bias = ways[0]
    (batch, dim, length), state = u.shape, A.shape[1]
    sizes, programs = _sizes(A), _programs(u)
    float32 = dict(dtype=torch.float32, device=u.device)
    grad_us = [torch.empty_like(u) for _ in ways]
    grad_deltas = [torch.empty_like(delta) for _ in ways]
    grad_A, grad_D, grad_bias = (
        torch.empty(len(ways), batch, rows, dim, **float32) if needed else None
        for rows, needed in zip((state, 1, 1), needs, strict=True)
    )
    shape = 2, len(ways), batch, triton.cdiv(dim, BLOCK), length, state
    grad_B, grad_C = torch.empty(shape, **float32)
    groups = CHUNK // scan_backward.GROUP.value
    scratch = torch.empty(len(ways), programs, groups, sizes['ROWS'], BLOCK, **float32)
    second = [None] * 10
    if len(ways) == 2:
        second = [grad_us[1], grad_deltas[1], grad_outs[1], *_dense_weights(ways[1])]
    launch(
        scan_backward.backward,
        _grid(u, ways),
        *(grad_us[0], grad_deltas[0], grad_A, grad_B, grad_C, grad_D, grad_bias, scratch),
        *(grad_outs[0], states, *_dense_weights(ways[0]), *second),
        *(dim, length, 1, *grad_us[0].stride(), *grad_deltas[0].stride(), *grad_outs[0].stride()),
        *(*u.stride(), *delta.stride(), *A.stride(), *B.stride(), *C.stride()),
        SOFTPLUS=softplus,
        REVERSE=reverse,
        BOTH=len(ways) == 2,
        registers=REGISTERS,
        **sizes,
    )
    # Partial sums of a fixed shape, added up in a fixed order: no trace of the scheduling.
    nothing = (u.new_empty(0) for _ in range(3 * len(ways)))
    return [
        (
            grad_us[way],
            grad_deltas[way],
            next(nothing) if grad_A is None else grad_A[way].sum(0).to(A.dtype).T,
            grad_B[way].sum(1).to(B.dtype).transpose(1, 2),
            grad_C[way].sum(1).to(C.dtype).transpose(1, 2),
            next(nothing) if grad_D is None else grad_D[way].sum((0, 1)).to(D.dtype),
            next(nothing) if grad_bias is None else grad_bias[way].sum((0, 1)).to(bias.dtype),
        )
        for way in range(len(ways))
    ]


def _grid(u: torch.Tensor, ways: list[Inputs]) -> int | tuple[int, int]:
    return _programs(u) if len(ways) == 1 else (_programs(u), 2)


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


def _dense_weights(inputs: Inputs) -> Inputs:
    return *inputs[:5], *(None if weight is None else weight.contiguous() for weight in inputs[5:])

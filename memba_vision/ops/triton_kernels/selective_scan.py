"""Calls of the kernels of the selective scan: tensors to their layout, and back."""

import math

import torch
import triton

from memba_vision.ops.layout import empty_channel_last
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
    """Run one direction: return the result, and the states that :func:`backward` starts from.

    Takes u, delta, A, B, C, D and delta_bias, then delta_softplus, reverse and rows, and
    keep_states; delta, reverse and rows are lists of one.
    """
    u, delta, *others, softplus, reverse, rows, keep_states = arguments
    return forward_ways([[u, *delta, *others]], softplus, reverse[0], rows[0], keep_states)


def backward(grad_out, states, *arguments):
    """Return the gradients of u, delta, A, B, C, D, delta_bias; empty for those not in ``needs``.

    Takes the arguments of :func:`forward` but for keep_states, and ``needs``, which says for A, D
    and delta_bias whether the gradient is asked for.
    """
    u, delta, *others, softplus, reverse, rows, needs = arguments
    flags = softplus, reverse[0], rows[0]
    return backward_ways([grad_out], states, [[u, *delta, *others]], *flags, needs)[0]


def forward_ways(ways: list[Inputs], softplus, reverse: bool, rows: int, keep_states: bool):
    """Run one direction, or a forward and a backward one in one launch.

    Returns the result of each and the states, the backward ones last. The tensors of both
    directions must have the same dtypes; ``reverse`` counts where there is one.
    """
    u, _, A, *_ = ways[0]
    outs = [empty_channel_last(u) for _ in ways]
    states = empty_states(u, A, keep_states, len(ways))
    inputs, strides, aligned = _laid_out(ways)
    per_way = [[out, *way] for out, way in zip(outs, inputs, strict=True)]
    first, second = [*per_way, [None] * 8][:2]
    launch(
        scan_forward.forward,
        _grid(u, ways),
        *(first[0], states, *first[1:], *second),
        *(*u.shape[1:], rows, *strides, 0),
        SOFTPLUS=softplus,
        REVERSE=reverse,
        BOTH=len(ways) == 2,
        KEEP=keep_states,
        ALIGNED=aligned,
        **_sizes(A),
    )
    return *outs, states


def backward_ways(grad_outs, states, ways: list[Inputs], softplus, reverse, rows, needs):
    """Return the gradients as :func:`backward`, for each direction of :func:`forward_ways`."""
    u, delta, A, B, C, D, bias = ways[0]
    (batch, dim, length), state = u.shape, A.shape[1]
    sizes, programs = _sizes(A), _programs(u)
    float32 = dict(dtype=torch.float32, device=u.device)
    grad_us = [empty_channel_last(u) for _ in ways]
    grad_deltas = [empty_channel_last(delta) for _ in ways]
    grad_A, grad_D, grad_bias = (
        torch.empty(len(ways), batch, count, dim, **float32) if needed else None
        for count, needed in zip((state, 1, 1), needs, strict=True)
    )
    shape = 2, len(ways), batch, triton.cdiv(dim, BLOCK), length, state
    grad_B, grad_C = torch.empty(shape, **float32)
    groups = CHUNK // scan_backward.GROUP.value
    scratch = torch.empty(len(ways), programs, groups, sizes['ROWS'], BLOCK, **float32)
    inputs, strides, aligned = _laid_out(ways)
    grad_outs = [grad.mT.contiguous() for grad in grad_outs]
    second = [None] * 10
    if len(ways) == 2:
        second = [grad_us[1], grad_deltas[1], grad_outs[1], *inputs[1]]
    launch(
        scan_backward.backward,
        _grid(u, ways),
        *(grad_us[0], grad_deltas[0], grad_A, grad_B, grad_C, grad_D, grad_bias, scratch),
        *(grad_outs[0], states, *inputs[0], *second),
        *(dim, length, rows, *strides, 0),
        SOFTPLUS=softplus,
        REVERSE=reverse,
        BOTH=len(ways) == 2,
        ALIGNED=aligned,
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


def _laid_out(ways: list[Inputs]) -> tuple[list[Inputs], tuple[int, int], int]:
    """Return the tensors as the kernels take them, and how far the rows of B and of C are apart.

    The distances are given in units of the last result, a power of two up to eight: the kernels
    load as many numbers at once.
    """
    matrices = [_rows([way[i] for way in ways]) for i in (3, 4)]
    inputs = [
        [u.mT.contiguous(), delta.mT.contiguous(), A.T.contiguous(), B, C]
        + [None if weight is None else weight.contiguous() for weight in weights]
        for (u, delta, A, _, _, *weights), B, C in zip(
            ways, *(rows for rows, _ in matrices), strict=True
        )
    ]
    strides = [stride for _, stride in matrices]
    aligned = math.gcd(8, *strides)
    return inputs, tuple(stride // aligned for stride in strides), aligned


def _rows(matrices: list[torch.Tensor]) -> tuple[list[torch.Tensor], int]:
    """Return B or C of all directions as (batch, length, state), and the stride of their rows.

    They are copied unless their rows lie equally far apart, as parts of a projection do.
    """
    rows = [matrix.mT for matrix in matrices]
    stride = rows[0].stride(1)
    if all(each.stride() == (each.shape[1] * stride, stride, 1) for each in rows):
        return rows, stride
    return [each.contiguous() for each in rows], rows[0].shape[2]

"""The selective scan: backward. A program takes one direction, sample and block of channels.

Chunk by chunk from the scan's end. Of a chunk, the state before each group of positions is worked
out first, from the one that the forward pass kept; then group by group from the end, the states in
a group are worked out again and stay in registers while the gradient passes over them.
"""

import triton
import triton.language as tl

from memba_vision.ops.triton_kernels.channels import row_of_lane, sum_channels
from memba_vision.ops.triton_kernels.maths import LN2, sigmoid
from memba_vision.ops.triton_kernels.scan_steps import (
    activate,
    load_decay_rate,
    load_row,
    load_weight,
    position_of,
    within,
)

#: Positions of a group; :func:`backward` is written out for this many. The states of more would
#: not fit into the registers.
GROUP = tl.constexpr(2)


@triton.jit
def _advance(h, u_now, step, a, b):
    """Return the state before a step, decayed, and the state after it."""
    decayed = tl.exp2(step[None, :] * a) * h
    return decayed, decayed + (step * u_now)[None, :] * b.to(tl.float32)[:, None]


@triton.jit
def _retreat(carry, decayed, dy, u_now, raw, step, a, b, c, SOFTPLUS: tl.constexpr):
    """Take ``carry``, the gradient of the state after a step, back over the step.

    Returns:
        The gradient of the state before it; the share of each channel in the gradient of B; the
        gradient of the exponent ``step * A``, all three (state, channels); and per channel those
        of ``u``, without the skip's share, and of the step size before its activation.
    """
    grad_h = carry + dy[None, :] * c.to(tl.float32)[:, None]
    grad_input = tl.sum(grad_h * b.to(tl.float32)[:, None], axis=0)
    exponent = grad_h * decayed
    grad_step = tl.sum(exponent * a, axis=0) * LN2 + grad_input * u_now
    if SOFTPLUS:
        grad_step *= sigmoid(raw)
    carry = grad_h * tl.exp2(step[None, :] * a)
    return carry, grad_h * (step * u_now)[None, :], exponent, grad_input * step, grad_step


@triton.jit
def _store_sums(sums, t, block, length, STATE: tl.constexpr, rows, reverse):
    """Write the sums of (state, channels) over the channels to the row of step ``t``."""
    position = position_of(t, length, rows, reverse)
    row = row_of_lane(block.shape[0])
    mask = within(t, length, row < STATE)
    tl.store(sums + position * STATE + row, sum_channels(block), mask=mask)


@triton.jit
def _store_row(sequence, t, stride, values, length, rows, reverse, mask):
    """Write the values of step ``t`` of the scan."""
    position = position_of(t, length, rows, reverse)
    mask = within(t, length, mask)
    tl.store(sequence + position * stride, values.to(sequence.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=['unit'])
def backward(
    grad_u,
    grad_delta,
    grad_A,
    grad_B,
    grad_C,
    grad_D,
    grad_bias,
    scratch,
    grad_out,
    states,
    u,
    delta,
    A,
    B,
    C,
    D,
    bias,
    back_grad_u,
    back_grad_delta,
    back_grad_out,
    back_u,
    back_delta,
    back_A,
    back_B,
    back_C,
    back_D,
    back_bias,
    dim,
    length,
    rows,
    B_row,
    C_row,
    unit,
    STATE: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    REVERSE: tl.constexpr,
    BOTH: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Differentiate :func:`forward`, whose arguments these are where the names are the same.

    Args:
        grad_u, grad_delta: (batch, length, dim).
        grad_A: (ways, batch, state, dim) float32, or None where nobody asks for it; so below.
        grad_B, grad_C: (ways, batch, blocks, length, state) float32, a share per block of channels.
        grad_D, grad_bias: (ways, batch, dim) float32, or None.
        scratch: (ways, programs, CHUNK / GROUP, ROWS, BLOCK) float32.
        grad_out: (batch, length, dim).
    """
    blocks = tl.cdiv(dim, BLOCK)
    chunks = tl.cdiv(length, CHUNK)
    sample = (tl.program_id(0) // blocks).to(tl.int64)
    lane, n = tl.arange(0, BLOCK), tl.arange(0, ROWS)
    d = tl.program_id(0) % blocks * BLOCK + lane
    has_d, has_n = d < dim, n < STATE
    has_both = has_n[:, None] & has_d[None, :]
    program, row = tl.program_id(0).to(tl.int64), sample
    reverse = REVERSE
    if BOTH:
        reverse = tl.program_id(1) == 1
        if reverse:
            grad_u, grad_delta, grad_out = back_grad_u, back_grad_delta, back_grad_out
            u, delta, A, B, C = back_u, back_delta, back_A, back_B, back_C
            program += tl.num_programs(0)
            row += tl.num_programs(0) // blocks
            if D is not None:
                D = back_D
            if bias is not None:
                bias = back_bias

    a = load_decay_rate(A, n, d, unit, STATE, has_both)
    skip = load_weight(D, d, has_d)
    shift = load_weight(bias, d, has_d)
    offset = sample * length
    u += offset * dim + d
    delta += offset * dim + d
    grad_out += offset * dim + d
    grad_u += offset * dim + d
    grad_delta += offset * dim + d
    B += offset * B_row + n
    C += offset * C_row + n
    grad_B += program * length * STATE
    grad_C += program * length * STATE
    states += (row * chunks * STATE + n[:, None]) * dim + d[None, :] * unit
    scratch += (program * (CHUNK // GROUP) * ROWS + n[:, None]) * BLOCK + lane[None, :] * unit

    carry = tl.zeros((ROWS, BLOCK), tl.float32)
    sum_A = tl.zeros((ROWS, BLOCK), tl.float32)
    sum_D = tl.zeros((BLOCK,), tl.float32)
    sum_bias = tl.zeros((BLOCK,), tl.float32)
    for from_end in range(chunks):
        start = (chunks - 1 - from_end) * CHUNK
        groups = tl.cdiv(tl.minimum(CHUNK, length - start), GROUP)
        h = tl.load(states + (chunks - 1 - from_end) * STATE * dim, mask=has_both, other=0.0)
        for group in range(groups):
            tl.store(scratch + group * ROWS * BLOCK, h)
            for k in tl.static_range(GROUP):
                t = start + group * GROUP + k
                u0 = load_row(u, t, dim, length, rows, reverse, has_d).to(tl.float32)
                raw0 = load_row(delta, t, dim, length, rows, reverse, has_d)
                b0 = load_row(B, t, B_row, length, rows, reverse, has_n)
                _, h = _advance(h, u0, activate(raw0, shift, SOFTPLUS), a, b0)
        tl.debug_barrier()
        for group in range(groups):
            first = start + (groups - 1 - group) * GROUP
            last = first + 1
            h = tl.load(scratch + (groups - 1 - group) * ROWS * BLOCK)
            u0 = load_row(u, first, dim, length, rows, reverse, has_d).to(tl.float32)
            u1 = load_row(u, last, dim, length, rows, reverse, has_d).to(tl.float32)
            raw0 = load_row(delta, first, dim, length, rows, reverse, has_d) + shift
            raw1 = load_row(delta, last, dim, length, rows, reverse, has_d) + shift
            dy0 = load_row(grad_out, first, dim, length, rows, reverse, has_d)
            dy1 = load_row(grad_out, last, dim, length, rows, reverse, has_d)
            b0 = load_row(B, first, B_row, length, rows, reverse, has_n)
            b1 = load_row(B, last, B_row, length, rows, reverse, has_n)
            dy0, dy1 = dy0.to(tl.float32), dy1.to(tl.float32)
            step0 = activate(raw0, 0.0, SOFTPLUS)
            step1 = tl.where(last < length, activate(raw1, 0.0, SOFTPLUS), 0.0)

            decayed0, h = _advance(h, u0, step0, a, b0)
            _store_sums(grad_C, first, h * dy0[None, :], length, STATE, rows, reverse)
            decayed1, h = _advance(h, u1, step1, a, b1)
            _store_sums(grad_C, last, h * dy1[None, :], length, STATE, rows, reverse)

            c1 = load_row(C, last, C_row, length, rows, reverse, has_n)
            carry, grad_b1, exponent1, grad_u1, grad_delta1 = _retreat(
                carry, decayed1, dy1, u1, raw1, step1, a, b1, c1, SOFTPLUS
            )
            _store_sums(grad_B, last, grad_b1, length, STATE, rows, reverse)
            c0 = load_row(C, first, C_row, length, rows, reverse, has_n)
            carry, grad_b0, exponent0, grad_u0, grad_delta0 = _retreat(
                carry, decayed0, dy0, u0, raw0, step0, a, b0, c0, SOFTPLUS
            )
            _store_sums(grad_B, first, grad_b0, length, STATE, rows, reverse)
            grad_u0 += dy0 * skip
            grad_u1 += dy1 * skip
            _store_row(grad_u, first, dim, grad_u0, length, rows, reverse, has_d)
            _store_row(grad_u, last, dim, grad_u1, length, rows, reverse, has_d)
            _store_row(grad_delta, first, dim, grad_delta0, length, rows, reverse, has_d)
            _store_row(grad_delta, last, dim, grad_delta1, length, rows, reverse, has_d)
            sum_A += exponent0 * step0[None, :] + exponent1 * step1[None, :]
            sum_D += dy0 * u0 + dy1 * u1
            sum_bias += grad_delta0 + grad_delta1
        tl.debug_barrier()

    # Triton leaves out the sums that nobody stores.
    if grad_A is not None:
        grad_A += (row * STATE + n[:, None]) * dim + d[None, :] * unit
        tl.store(grad_A, sum_A, mask=has_both)
    if grad_D is not None:
        tl.store(grad_D + row * dim + d, sum_D, mask=has_d)
    if grad_bias is not None:
        tl.store(grad_bias + row * dim + d, sum_bias, mask=has_d)

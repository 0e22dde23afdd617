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
    """The state before a step, decayed, and the state after it."""
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
def _store_sums(rows, t, block, length, STATE: tl.constexpr, reverse):
    """Write the sums of (state, channels) over the channels to the row of step ``t``."""
    position = position_of(t, length, reverse)
    row = row_of_lane(block.shape[0])
    mask = within(t, length, row < STATE)
    tl.store(rows + position * STATE + row, sum_channels(block), mask=mask)


@triton.jit
def _store_row(rows, t, stride, values, length, mask, reverse):
    """Write the values of step ``t`` of the scan."""
    position = position_of(t, length, reverse)
    mask = within(t, length, mask)
    tl.store(rows + position * stride, values.to(rows.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=['A_channel', 'A_state', 'unit'])
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
    unit,
    grad_u_batch,
    grad_u_channel,
    grad_u_position,
    grad_delta_batch,
    grad_delta_channel,
    grad_delta_position,
    grad_out_batch,
    grad_out_channel,
    grad_out_position,
    u_batch,
    u_channel,
    u_position,
    delta_batch,
    delta_channel,
    delta_position,
    A_channel,
    A_state,
    B_batch,
    B_state,
    B_position,
    C_batch,
    C_state,
    C_position,
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
        grad_u, grad_delta: (batch, dim, length), of any strides.
        grad_A: (ways, batch, state, dim) float32, or None where nobody asks for it; so below.
        grad_B, grad_C: (ways, batch, blocks, length, state) float32, a share per block of channels.
        grad_D, grad_bias: (ways, batch, dim) float32, or None.
        scratch: (ways, programs, CHUNK / GROUP, ROWS, BLOCK) float32.
        grad_out: (batch, dim, length), of any strides.
        unit: the number one, unknown to the compiler.
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

    a = load_decay_rate(A, n, d, A_channel, A_state, has_both)
    skip = load_weight(D, d, has_d)
    shift = load_weight(bias, d, has_d)
    u += sample * u_batch + d * u_channel
    delta += sample * delta_batch + d * delta_channel
    grad_out += sample * grad_out_batch + d * grad_out_channel
    grad_u += sample * grad_u_batch + d * grad_u_channel
    grad_delta += sample * grad_delta_batch + d * grad_delta_channel
    B += sample * B_batch + n * B_state
    C += sample * C_batch + n * C_state
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
                u0 = load_row(u, t, u_position, length, has_d, reverse).to(tl.float32)
                raw0 = load_row(delta, t, delta_position, length, has_d, reverse)
                b0 = load_row(B, t, B_position, length, has_n, reverse)
                _, h = _advance(h, u0, activate(raw0, shift, SOFTPLUS), a, b0)
        tl.debug_barrier()
        for group in range(groups):
            first = start + (groups - 1 - group) * GROUP
            last = first + 1
            h = tl.load(scratch + (groups - 1 - group) * ROWS * BLOCK)
            u0 = load_row(u, first, u_position, length, has_d, reverse).to(tl.float32)
            u1 = load_row(u, last, u_position, length, has_d, reverse).to(tl.float32)
            raw0 = load_row(delta, first, delta_position, length, has_d, reverse) + shift
            raw1 = load_row(delta, last, delta_position, length, has_d, reverse) + shift
            dy0 = load_row(grad_out, first, grad_out_position, length, has_d, reverse)
            dy1 = load_row(grad_out, last, grad_out_position, length, has_d, reverse)
            b0 = load_row(B, first, B_position, length, has_n, reverse)
            b1 = load_row(B, last, B_position, length, has_n, reverse)
            dy0, dy1 = dy0.to(tl.float32), dy1.to(tl.float32)
            step0 = activate(raw0, 0.0, SOFTPLUS)
            step1 = tl.where(last < length, activate(raw1, 0.0, SOFTPLUS), 0.0)

            decayed0, h = _advance(h, u0, step0, a, b0)
            _store_sums(grad_C, first, h * dy0[None, :], length, STATE, reverse)
            decayed1, h = _advance(h, u1, step1, a, b1)
            _store_sums(grad_C, last, h * dy1[None, :], length, STATE, reverse)

            c1 = load_row(C, last, C_position, length, has_n, reverse)
            carry, grad_b1, exponent1, grad_u1, grad_delta1 = _retreat(
                carry, decayed1, dy1, u1, raw1, step1, a, b1, c1, SOFTPLUS
            )
            _store_sums(grad_B, last, grad_b1, length, STATE, reverse)
            c0 = load_row(C, first, C_position, length, has_n, reverse)
            carry, grad_b0, exponent0, grad_u0, grad_delta0 = _retreat(
                carry, decayed0, dy0, u0, raw0, step0, a, b0, c0, SOFTPLUS
            )
            _store_sums(grad_B, first, grad_b0, length, STATE, reverse)
            grad_u0 += dy0 * skip
            grad_u1 += dy1 * skip
            _store_row(grad_u, first, grad_u_position, grad_u0, length, has_d, reverse)
            _store_row(grad_u, last, grad_u_position, grad_u1, length, has_d, reverse)
            _store_row(grad_delta, first, grad_delta_position, grad_delta0, length, has_d, reverse)
            _store_row(grad_delta, last, grad_delta_position, grad_delta1, length, has_d, reverse)
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

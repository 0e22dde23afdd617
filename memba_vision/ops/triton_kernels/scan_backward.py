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
    block_offsets,
    load_at,
    load_decay_rate,
    load_weight,
    position_of,
    within,
)

#: Positions of a group; :func:`backward` is written out for this many. The states of more would
#: not fit into the registers.
GROUP = tl.constexpr(2)


@triton.jit
def _load_step(u, delta, B, at, dim, B_row, shift, has_d, has_n, SOFTPLUS: tl.constexpr):
    """Load ``u``, the step size before and after its activation, and ``B`` at a position.

    Past the end of the scan the step size is zero, which leaves the state as it is.
    """
    raw = load_at(delta, at, dim, has_d) + shift
    step = tl.where(has_d, activate(raw, 0.0, SOFTPLUS), 0.0)
    return load_at(u, at, dim, has_d).to(tl.float32), raw, step, load_at(B, at, B_row, has_n)


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
def _store_sums(sums, t, at, block, length, STATE: tl.constexpr):
    """Write the sums of (state, channels) over the channels to the row of step ``t``."""
    row = row_of_lane(block.shape[0])
    mask = within(t, length, row < STATE)
    tl.store(sums + at * STATE + row, sum_channels(block), mask=mask)


@triton.jit
def _store_at(sequence, at, stride, values, mask):
    """Write the row at a position."""
    tl.store(sequence + at * stride, values.to(sequence.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=['zero'])
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
    zero,
    STATE: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    REVERSE: tl.constexpr,
    BOTH: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
    ALIGNED: tl.constexpr,
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

    a = load_decay_rate(A, n, d, dim, zero, has_both)
    skip = load_weight(D, d, has_d)
    shift = load_weight(bias, d, has_d)
    offset = sample * length
    u += offset * dim + d
    delta += offset * dim + d
    grad_out += offset * dim + d
    grad_u += offset * dim + d
    grad_delta += offset * dim + d
    B_row *= ALIGNED
    C_row *= ALIGNED
    B += offset * B_row + n
    C += offset * C_row + n
    grad_B += program * length * STATE
    grad_C += program * length * STATE
    states += row * chunks * STATE * dim + block_offsets(n, d, dim, zero)
    scratch += program * (CHUNK // GROUP) * ROWS * BLOCK + block_offsets(n, lane, BLOCK, zero)

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
                at0 = position_of(t, length, rows, reverse)
                has_d0, has_n0 = within(t, length, has_d), within(t, length, has_n)
                u0, _, step0, b0 = _load_step(
                    u, delta, B, at0, dim, B_row, shift, has_d0, has_n0, SOFTPLUS
                )
                _, h = _advance(h, u0, step0, a, b0)
        tl.debug_barrier()
        for group in range(groups):
            t = start + (groups - 1 - group) * GROUP
            at0 = position_of(t, length, rows, reverse)
            at1 = position_of(t + 1, length, rows, reverse)
            has_d1, has_n1 = within(t + 1, length, has_d), within(t + 1, length, has_n)
            h = tl.load(scratch + (groups - 1 - group) * ROWS * BLOCK)
            u0, raw0, step0, b0 = _load_step(
                u, delta, B, at0, dim, B_row, shift, has_d, has_n, SOFTPLUS
            )
            u1, raw1, step1, b1 = _load_step(
                u, delta, B, at1, dim, B_row, shift, has_d1, has_n1, SOFTPLUS
            )
            dy0 = load_at(grad_out, at0, dim, has_d).to(tl.float32)
            dy1 = load_at(grad_out, at1, dim, has_d1).to(tl.float32)

            decayed0, h = _advance(h, u0, step0, a, b0)
            _store_sums(grad_C, t, at0, h * dy0[None, :], length, STATE)
            decayed1, h = _advance(h, u1, step1, a, b1)
            _store_sums(grad_C, t + 1, at1, h * dy1[None, :], length, STATE)

            c1 = load_at(C, at1, C_row, has_n1)
            carry, grad_b1, exponent1, grad_u1, grad_delta1 = _retreat(
                carry, decayed1, dy1, u1, raw1, step1, a, b1, c1, SOFTPLUS
            )
            _store_sums(grad_B, t + 1, at1, grad_b1, length, STATE)
            c0 = load_at(C, at0, C_row, has_n)
            carry, grad_b0, exponent0, grad_u0, grad_delta0 = _retreat(
                carry, decayed0, dy0, u0, raw0, step0, a, b0, c0, SOFTPLUS
            )
            _store_sums(grad_B, t, at0, grad_b0, length, STATE)
            _store_at(grad_u, at0, dim, grad_u0 + dy0 * skip, has_d)
            _store_at(grad_u, at1, dim, grad_u1 + dy1 * skip, has_d1)
            _store_at(grad_delta, at0, dim, grad_delta0, has_d)
            _store_at(grad_delta, at1, dim, grad_delta1, has_d1)
            sum_A += exponent0 * step0[None, :] + exponent1 * step1[None, :]
            sum_D += dy0 * u0 + dy1 * u1
            sum_bias += grad_delta0 + grad_delta1
        tl.debug_barrier()

    # Triton leaves out the sums that nobody stores.
    if grad_A is not None:
        grad_A += row * STATE * dim + block_offsets(n, d, dim, zero)
        tl.store(grad_A, sum_A, mask=has_both)
    if grad_D is not None:
        tl.store(grad_D + row * dim + d, sum_D, mask=has_d)
    if grad_bias is not None:
        tl.store(grad_bias + row * dim + d, sum_bias, mask=has_d)

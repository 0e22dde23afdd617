"""The selective scan: forward. A program takes one direction, sample and block of channels."""

import triton
import triton.language as tl

from memba_vision.ops.triton_kernels.scan_steps import (
    activate,
    block_offsets,
    load_at,
    load_decay_rate,
    load_weight,
    position_of,
    within,
)


@triton.jit
def _load_both(u, delta, position, stride, mask):
    """Load the rows of ``u`` and ``delta`` at a position."""
    return load_at(u, position, stride, mask), load_at(delta, position, stride, mask)


@triton.jit(do_not_specialize=['zero'])
def forward(
    out,
    states,
    u,
    delta,
    A,
    B,
    C,
    D,
    bias,
    back_out,
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
    KEEP: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
    ALIGNED: tl.constexpr,
):
    """Scan (batch, length, dim) sequences.

    Args:
        out: the result, (batch, length, dim).
        states: (ways, batch, chunks, state, dim) float32, the state before each chunk, where
            ``KEEP``.
        u, delta: (batch, length, dim).
        A: (state, dim).
        B, C: (batch, length, state), whose rows lie ``B_row`` and ``C_row`` times
            ``ALIGNED`` numbers apart.
        D, bias: (dim,), or None.
        back_…: the same for the backward direction, where ``BOTH``, or None.
        dim, length: of the sequences.
        rows: of the image down whose columns the scan goes; 1 for a plain sequence.
        zero: the number 0, unknown to the compiler.
        STATE, ROWS: number of states, and the next power of two.
        SOFTPLUS, REVERSE: as in :func:`memba_vision.ops.selective_scan`.
        BOTH: scan forwards and, by the programs of a second row of the grid, backwards.
        CHUNK: positions of a chunk.
        BLOCK: channels of a program.
    """
    blocks = tl.cdiv(dim, BLOCK)
    sample = (tl.program_id(0) // blocks).to(tl.int64)
    d = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    n = tl.arange(0, ROWS)
    has_d, has_n = d < dim, n < STATE
    has_both = has_n[:, None] & has_d[None, :]
    first_state = sample
    reverse = REVERSE
    if BOTH:
        reverse = tl.program_id(1) == 1
        if reverse:
            out, u, delta, A, B, C = back_out, back_u, back_delta, back_A, back_B, back_C
            first_state += tl.num_programs(0) // blocks
            if D is not None:
                D = back_D
            if bias is not None:
                bias = back_bias

    a = load_decay_rate(A, n, d, dim, zero, has_both)
    skip = load_weight(D, d, has_d)
    shift = load_weight(bias, d, has_d)
    start = sample * length
    u += start * dim + d
    delta += start * dim + d
    out += start * dim + d
    B_row *= ALIGNED
    C_row *= ALIGNED
    B += start * B_row + n
    C += start * C_row + n
    states += first_state * tl.cdiv(length, CHUNK) * STATE * dim
    states += block_offsets(n, d, dim, zero)

    # Loaded ahead: u and delta come from memory, B and C mostly from the cache, since the programs
    # of a sample share them.
    at0 = position_of(0, length, rows, reverse)
    at1 = position_of(1, length, rows, reverse)
    at2 = position_of(2, length, rows, reverse)
    u0, raw0 = _load_both(u, delta, at0, dim, within(0, length, has_d))
    u1, raw1 = _load_both(u, delta, at1, dim, within(1, length, has_d))
    u2, raw2 = _load_both(u, delta, at2, dim, within(2, length, has_d))
    next_b, next_c = load_at(B, at0, B_row, has_n), load_at(C, at0, C_row, has_n)
    h = tl.zeros((ROWS, BLOCK), tl.float32)
    for t in range(length):
        if KEEP and t % CHUNK == 0:
            tl.store(states + (t // CHUNK) * STATE * dim, h, mask=has_both)
        u_now, step = u0.to(tl.float32), activate(raw0, shift, SOFTPLUS)
        b, c = next_b.to(tl.float32), next_c.to(tl.float32)
        now, at0, at1, at2 = at0, at1, at2, position_of(t + 3, length, rows, reverse)
        u3, raw3 = _load_both(u, delta, at2, dim, within(t + 3, length, has_d))
        u0, u1, u2 = u1, u2, u3
        raw0, raw1, raw2 = raw1, raw2, raw3
        has_next = within(t + 1, length, has_n)
        next_b, next_c = load_at(B, at0, B_row, has_next), load_at(C, at0, C_row, has_next)

        h = tl.exp2(step[None, :] * a) * h + (step * u_now)[None, :] * b[:, None]
        y = tl.sum(h * c[:, None], axis=0) + skip * u_now
        tl.store(out + now * dim, y.to(out.dtype.element_ty), mask=has_d)

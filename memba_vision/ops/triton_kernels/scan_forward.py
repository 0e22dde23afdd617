"""The selective scan: forward. A program takes one direction, sample and block of channels."""

import triton
import triton.language as tl

from memba_vision.ops.triton_kernels.scan_steps import (
    activate,
    load_decay_rate,
    load_row,
    load_weight,
    position_of,
)


@triton.jit(do_not_specialize=['unit'])
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
    unit,
    STATE: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    REVERSE: tl.constexpr,
    BOTH: tl.constexpr,
    KEEP: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Scan (batch, length, dim) sequences.

    Args:
        out: the result, (batch, length, dim).
        states: (ways, batch, chunks, state, dim) float32, the state before each chunk, where
            ``KEEP``.
        u, delta: (batch, length, dim).
        A: (dim, state).
        B, C: (batch, length, state), whose rows lie ``B_row`` and ``C_row`` numbers apart.
        D, bias: (dim,), or None.
        back_…: those of the backward direction, where ``BOTH``, or None.
        dim, length: of the sequences.
        rows: those of the image down whose columns the scan goes, 1 for a plain sequence.
        unit: the number one, unknown to the compiler.
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

    a = load_decay_rate(A, n, d, unit, STATE, has_both)
    skip = load_weight(D, d, has_d)
    shift = load_weight(bias, d, has_d)
    start = sample * length
    u += start * dim + d
    delta += start * dim + d
    out += start * dim + d
    B += start * B_row + n
    C += start * C_row + n
    states += first_state * tl.cdiv(length, CHUNK) * STATE * dim
    states += n[:, None] * dim + d[None, :] * unit

    # Loaded ahead: u and delta come from memory, B and C mostly from the cache, since the programs
    # of a sample share them.
    u0 = load_row(u, 0, dim, length, rows, reverse, has_d)
    u1 = load_row(u, 1, dim, length, rows, reverse, has_d)
    u2 = load_row(u, 2, dim, length, rows, reverse, has_d)
    raw0 = load_row(delta, 0, dim, length, rows, reverse, has_d)
    raw1 = load_row(delta, 1, dim, length, rows, reverse, has_d)
    raw2 = load_row(delta, 2, dim, length, rows, reverse, has_d)
    next_b = load_row(B, 0, B_row, length, rows, reverse, has_n)
    next_c = load_row(C, 0, C_row, length, rows, reverse, has_n)
    h = tl.zeros((ROWS, BLOCK), tl.float32)
    for t in range(length):
        if KEEP and t % CHUNK == 0:
            tl.store(states + (t // CHUNK) * STATE * dim, h, mask=has_both)
        u_now, step = u0.to(tl.float32), activate(raw0, shift, SOFTPLUS)
        b, c = next_b.to(tl.float32), next_c.to(tl.float32)
        u0, u1, u2 = u1, u2, load_row(u, t + 3, dim, length, rows, reverse, has_d)
        next_raw = load_row(delta, t + 3, dim, length, rows, reverse, has_d)
        raw0, raw1, raw2 = raw1, raw2, next_raw
        next_b = load_row(B, t + 1, B_row, length, rows, reverse, has_n)
        next_c = load_row(C, t + 1, C_row, length, rows, reverse, has_n)

        h = tl.exp2(step[None, :] * a) * h + (step * u_now)[None, :] * b[:, None]
        y = tl.sum(h * c[:, None], axis=0) + skip * u_now
        position = position_of(t, length, rows, reverse)
        tl.store(out + position * dim, y.to(out.dtype.element_ty), mask=has_d)

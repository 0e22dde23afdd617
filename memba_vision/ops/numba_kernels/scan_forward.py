"""The selective scan on tiles of channels: forward."""

import numpy as np

from memba_vision.ops.numba_kernels.jit import kernel, part, widest_vectors
from memba_vision.ops.numba_kernels.layout import STEPS, WIDTH
from memba_vision.ops.numba_kernels.maths import exp2, softplus
from memba_vision.ops.numba_kernels.tiles import (
    copy,
    empty_rows,
    fill,
    load,
    load_channels,
    load_matrix,
    store,
)


@part()
def activate(delta, slope, bias, use_softplus, steps):
    """Turn a tile of raw step sizes into those of the recurrence, and note the slope."""
    for k in range(steps):
        if use_softplus:
            for w in range(WIDTH):
                delta[k, w], slope[k, w] = softplus(delta[k, w] + bias[0, w])
        else:
            for w in range(WIDTH):
                delta[k, w] += bias[0, w]
                slope[k, w] = 1


@part()
def scan_tile(out, h, u, delta, A, B, C, D, steps):
    """Advance ``h``, (state, WIDTH), over a tile; read out into ``out``. Overwrites ``u``."""
    for k in range(steps):
        for w in range(WIDTH):
            out[k, w] = D[0, w] * u[k, w]
            u[k, w] *= delta[k, w]
        for n in range(h.shape[0]):
            b = B[k, n]
            c = C[k, n]
            for w in range(WIDTH):
                value = exp2(delta[k, w] * A[n, w]) * h[n, w] + u[k, w] * b
                h[n, w] = value
                out[k, w] += value * c


@kernel
def forward(
    first, last, out, states, u, u_last, delta, delta_last, A, B, C, D, bias, use_softplus, reverse
):
    """Scan items ``first`` to ``last`` of (batch, blocks of WIDTH channels).

    Args:
        first, last: the range of items.
        out: result, laid out as ``u``.
        states: (batch, blocks, tiles, state, WIDTH), takes the state at the start of each tile;
            may be empty.
        u: (batch, length, dim) where ``u_last``, else (batch, dim, length).
        u_last: whether the channels of ``u`` are the last axis.
        delta: like ``u``.
        delta_last: like ``u_last``.
        A: (state, dim), times log2(e).
        B: (batch, length, state).
        C: (batch, length, state).
        D: (1, dim).
        bias: (1, dim), added to ``delta``.
        use_softplus: pass ``delta`` through softplus.
        reverse: from the last position to the first.
    """
    widest_vectors()
    dtype = out.dtype
    length, state = B.shape[1:]
    blocks = -(-A.shape[1] // WIDTH)
    h, A_tile = empty_rows(state, dtype), empty_rows(state, dtype)
    D_row, bias_row = empty_rows(1, dtype), empty_rows(1, dtype)
    u_tile, delta_tile = empty_rows(STEPS, dtype), empty_rows(STEPS, dtype)
    out_tile, slope = empty_rows(STEPS, dtype), empty_rows(STEPS, dtype)
    B_tile, C_tile = np.empty((STEPS, state), dtype), np.empty((STEPS, state), dtype)
    for item in range(first, last):
        sample, block = item // blocks, item % blocks
        channel = block * WIDTH
        load_channels(A_tile, A, channel)
        load_channels(D_row, D, channel)
        load_channels(bias_row, bias, channel)
        fill(h, 0)
        for step in range(0, length, STEPS):
            steps = min(STEPS, length - step)
            if states.size:
                copy(states[sample, block, step // STEPS], h)
            load(u_tile, u, u_last, sample, channel, step, length, reverse)
            load(delta_tile, delta, delta_last, sample, channel, step, length, reverse)
            load_matrix(B_tile, B, sample, step, length, reverse)
            load_matrix(C_tile, C, sample, step, length, reverse)
            activate(delta_tile, slope, bias_row, use_softplus, steps)
            scan_tile(out_tile, h, u_tile, delta_tile, A_tile, B_tile, C_tile, D_row, steps)
            store(out_tile, out, u_last, sample, channel, step, length, reverse)

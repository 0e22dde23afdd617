"""The selective scan on tiles of channels: forward."""

from memba_vision.ops.numba_kernels.jit import kernel, part, widest_vectors
from memba_vision.ops.numba_kernels.layout import GROUP, STEPS, WIDTH
from memba_vision.ops.numba_kernels.maths import softplus
from memba_vision.ops.numba_kernels.simd import broadcast, exp2
from memba_vision.ops.numba_kernels.simd import load as load_row
from memba_vision.ops.numba_kernels.simd import store as store_row
from memba_vision.ops.numba_kernels.tiles import (
    copy,
    empty_rows,
    fill,
    load,
    load_channels,
    position,
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
def skip(out, x, u, delta, D, steps):
    """Start ``out`` with the skip connection, and write ``delta * u`` to ``x``."""
    skip_weight = load_row(D, (0, 0))
    for k in range(steps):
        u_row = load_row(u, (k, 0))
        store_row(out, (k, 0), skip_weight * u_row)
        store_row(x, (k, 0), load_row(delta, (k, 0)) * u_row)


@part()
def advance(h, out, delta, x, A, b, c):
    """One step of one state dimension: its new value, and the read-out with it."""
    h = exp2(delta * A) * h + x * broadcast(b)
    return h, out + h * broadcast(c)


@part()
def scan_group(out, h, x, delta, A, B, C, n, start, stride, steps):
    """Advance ``GROUP`` dimensions of ``h``, (state, WIDTH), over a tile; add them to ``out``.

    ``B`` and ``C``, (length, state), are read from position ``start`` on, every ``stride``.
    """
    A0, A1 = load_row(A, (n, 0)), load_row(A, (n + 1, 0))
    A2, A3 = load_row(A, (n + 2, 0)), load_row(A, (n + 3, 0))
    h0, h1 = load_row(h, (n, 0)), load_row(h, (n + 1, 0))
    h2, h3 = load_row(h, (n + 2, 0)), load_row(h, (n + 3, 0))
    for k in range(steps):
        t = start + k * stride
        d, v, o = load_row(delta, (k, 0)), load_row(x, (k, 0)), load_row(out, (k, 0))
        h0, o = advance(h0, o, d, v, A0, B[t, n], C[t, n])
        h1, o = advance(h1, o, d, v, A1, B[t, n + 1], C[t, n + 1])
        h2, o = advance(h2, o, d, v, A2, B[t, n + 2], C[t, n + 2])
        h3, o = advance(h3, o, d, v, A3, B[t, n + 3], C[t, n + 3])
        store_row(out, (k, 0), o)
    store_row(h, (n, 0), h0)
    store_row(h, (n + 1, 0), h1)
    store_row(h, (n + 2, 0), h2)
    store_row(h, (n + 3, 0), h3)


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
        A: (state, dim), times log2(e); ``state`` is a multiple of ``GROUP``.
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
    x = empty_rows(STEPS, dtype)
    stride = -1 if reverse else 1
    for item in range(first, last):
        sample, block = item // blocks, item % blocks
        channel = block * WIDTH
        B_rows, C_rows = B[sample], C[sample]
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
            activate(delta_tile, slope, bias_row, use_softplus, steps)
            skip(out_tile, x, u_tile, delta_tile, D_row, steps)
            start = position(step, length, reverse)
            for n in range(0, state, GROUP):
                scan_group(
                    out_tile, h, x, delta_tile, A_tile, B_rows, C_rows, n, start, stride, steps
                )
            store(out_tile, out, u_last, sample, channel, step, length, reverse)

"""The selective scan on tiles of channels: backward.

Tile by tile from the scan's end: the states within a tile are computed again from the one that the
forward pass kept at its start.
"""

from memba_vision.ops.numba_kernels.jit import kernel, part, widest_vectors
from memba_vision.ops.numba_kernels.layout import GROUP, STEPS, WIDTH
from memba_vision.ops.numba_kernels.maths import LN2
from memba_vision.ops.numba_kernels.scan_forward import activate
from memba_vision.ops.numba_kernels.simd import broadcast, exp2, sums
from memba_vision.ops.numba_kernels.simd import load as load_row
from memba_vision.ops.numba_kernels.simd import store as store_row
from memba_vision.ops.numba_kernels.tiles import (
    empty_rows,
    fill,
    load,
    load_channels,
    position,
    store,
    store_channels,
)


@part()
def recompute(h, decay, x, delta, A, B, n, start, stride, steps):
    """Fill ``h``, (STEPS + 1, GROUP, WIDTH), from its first entry on, and ``decay``."""
    A0, A1 = load_row(A, (n, 0)), load_row(A, (n + 1, 0))
    A2, A3 = load_row(A, (n + 2, 0)), load_row(A, (n + 3, 0))
    h0, h1 = load_row(h, (0, 0, 0)), load_row(h, (0, 1, 0))
    h2, h3 = load_row(h, (0, 2, 0)), load_row(h, (0, 3, 0))
    for k in range(steps):
        t = start + k * stride
        d, v = load_row(delta, (k, 0)), load_row(x, (k, 0))
        h0 = step_state(h, decay, h0, d * A0, v * broadcast(B[t, n]), k, 0)
        h1 = step_state(h, decay, h1, d * A1, v * broadcast(B[t, n + 1]), k, 1)
        h2 = step_state(h, decay, h2, d * A2, v * broadcast(B[t, n + 2]), k, 2)
        h3 = step_state(h, decay, h3, d * A3, v * broadcast(B[t, n + 3]), k, 3)


@part()
def step_state(h, decay, before, exponent, added, k, i):
    """The state after a step, noted in ``h`` as its decay is in ``decay``."""
    factor = exp2(exponent)
    after = factor * before + added
    store_row(decay, (k, i, 0), factor)
    store_row(h, (k + 1, i, 0), after)
    return after


@part()
def sweep(
    carry,
    grad_x,
    grad_delta,
    grad_B,
    grad_C,
    grad_out,
    h,
    decay,
    x,
    A,
    B,
    C,
    n,
    start,
    stride,
    steps,
):
    """Take ``GROUP`` dimensions of ``carry``, the gradient of the state, back through a tile.

    Adds to ``grad_x`` and, in units of A's, to ``grad_delta``. Replaces ``decay`` by the gradient
    of its exponent delta * A.
    """
    A0, A1 = load_row(A, (n, 0)), load_row(A, (n + 1, 0))
    A2, A3 = load_row(A, (n + 2, 0)), load_row(A, (n + 3, 0))
    c0, c1 = load_row(carry, (n, 0)), load_row(carry, (n + 1, 0))
    c2, c3 = load_row(carry, (n + 2, 0)), load_row(carry, (n + 3, 0))
    for k in range(steps - 1, -1, -1):
        t = start + k * stride
        g, v = load_row(grad_out, (k, 0)), load_row(x, (k, 0))
        gx, gd = load_row(grad_x, (k, 0)), load_row(grad_delta, (k, 0))
        c0 = c0 + g * broadcast(C[t, n])
        c1 = c1 + g * broadcast(C[t, n + 1])
        c2 = c2 + g * broadcast(C[t, n + 2])
        c3 = c3 + g * broadcast(C[t, n + 3])
        grad_B[t, n], grad_B[t, n + 1], grad_B[t, n + 2], grad_B[t, n + 3] = sums(
            c0 * v, c1 * v, c2 * v, c3 * v
        )
        grad_C[t, n], grad_C[t, n + 1], grad_C[t, n + 2], grad_C[t, n + 3] = sums(
            g * load_row(h, (k + 1, 0, 0)),
            g * load_row(h, (k + 1, 1, 0)),
            g * load_row(h, (k + 1, 2, 0)),
            g * load_row(h, (k + 1, 3, 0)),
        )
        gx = gx + c0 * broadcast(B[t, n])
        gx = gx + c1 * broadcast(B[t, n + 1])
        gx = gx + c2 * broadcast(B[t, n + 2])
        gx = gx + c3 * broadcast(B[t, n + 3])
        c0, gd = decay_back(h, decay, c0, gd, A0, k, 0)
        c1, gd = decay_back(h, decay, c1, gd, A1, k, 1)
        c2, gd = decay_back(h, decay, c2, gd, A2, k, 2)
        c3, gd = decay_back(h, decay, c3, gd, A3, k, 3)
        store_row(grad_x, (k, 0), gx)
        store_row(grad_delta, (k, 0), gd)
    store_row(carry, (n, 0), c0)
    store_row(carry, (n + 1, 0), c1)
    store_row(carry, (n + 2, 0), c2)
    store_row(carry, (n + 3, 0), c3)


@part()
def decay_back(h, decay, grad_h, grad_delta, A, k, i):
    """The gradient of the state before a step, and that of delta with it."""
    carry = grad_h * load_row(decay, (k, i, 0))
    exponent = carry * load_row(h, (k, i, 0))
    store_row(decay, (k, i, 0), exponent)
    return carry, grad_delta + exponent * A


@part()
def finish(grad_u, grad_delta, grad_out, u, delta, slope, D, steps):
    """Turn the gradients of delta * u, here in ``grad_u``, and delta into the inputs'."""
    ln2, skip_weight = broadcast(delta.dtype.type(LN2)), load_row(D, (0, 0))
    for k in range(steps):
        through_x, u_row = load_row(grad_u, (k, 0)), load_row(u, (k, 0))
        through_delta = load_row(grad_delta, (k, 0)) * ln2 + through_x * u_row
        store_row(grad_delta, (k, 0), load_row(slope, (k, 0)) * through_delta)
        through_skip = load_row(grad_out, (k, 0)) * skip_weight
        store_row(grad_u, (k, 0), through_x * load_row(delta, (k, 0)) + through_skip)


@part()
def add_products(total, a, b, steps):
    """Add the sum over positions of ``a * b`` to ``total``, (1, WIDTH)."""
    row = load_row(total, (0, 0))
    for k in range(steps):
        row = row + load_row(a, (k, 0)) * load_row(b, (k, 0))
    store_row(total, (0, 0), row)


@part()
def add_rows(total, a, steps):
    """Add the sum over positions of ``a`` to ``total``, (1, WIDTH)."""
    row = load_row(total, (0, 0))
    for k in range(steps):
        row = row + load_row(a, (k, 0))
    store_row(total, (0, 0), row)


@part()
def add_outer(grad_A, exponent, delta, n, steps):
    """Add the sum over positions of ``exponent * delta`` to ``GROUP`` rows of ``grad_A``."""
    for i in range(GROUP):
        total = load_row(grad_A, (n + i, 0))
        for k in range(steps):
            total = total + load_row(exponent, (k, i, 0)) * load_row(delta, (k, 0))
        store_row(grad_A, (n + i, 0), total)


@part()
def start_states(h, states, n):
    """Copy ``GROUP`` rows of ``states``, (state, WIDTH), to the first entry of ``h``."""
    for i in range(GROUP):
        store_row(h, (0, i, 0), load_row(states, (n + i, 0)))


@part()
def multiply(x, u, delta, steps):
    """Write ``u * delta`` to ``x``."""
    for k in range(steps):
        store_row(x, (k, 0), load_row(u, (k, 0)) * load_row(delta, (k, 0)))


@kernel
def backward(
    first,
    last,
    grad_u,
    grad_delta,
    grad_A,
    grad_B,
    grad_C,
    grad_D,
    grad_bias,
    grad_out,
    out_last,
    states,
    u,
    u_last,
    delta,
    delta_last,
    A,
    B,
    C,
    D,
    bias,
    use_softplus,
    reverse,
):
    """Differentiate items ``first`` to ``last`` of :func:`forward`, whose arguments these are.

    Args:
        first, last: the range of items.
        grad_u: laid out as ``u``.
        grad_delta: laid out as ``delta``.
        grad_A: (batch, state, dim), or empty where nobody asks for it.
        grad_B: (batch, blocks, length, state).
        grad_C: (batch, blocks, length, state).
        grad_D: (batch, 1, dim), or empty.
        grad_bias: (batch, 1, dim), or empty.
        grad_out: (batch, length, dim) where ``out_last``, else (batch, dim, length).
        out_last: whether the channels of ``grad_out`` are the last axis.
        states: what the forward pass wrote.
        u, u_last, delta, delta_last, A, B, C, D, bias, use_softplus, reverse: as given to it.
    """
    widest_vectors()
    dtype = u.dtype
    length, state = B.shape[1:]
    blocks = -(-A.shape[1] // WIDTH)
    h = empty_rows((STEPS + 1) * GROUP, dtype).reshape(STEPS + 1, GROUP, WIDTH)
    decay = empty_rows(STEPS * GROUP, dtype).reshape(STEPS, GROUP, WIDTH)
    carry, A_tile = empty_rows(state, dtype), empty_rows(state, dtype)
    grad_A_tile = empty_rows(state, dtype)
    D_row, bias_row = empty_rows(1, dtype), empty_rows(1, dtype)
    grad_D_row, grad_bias_row = empty_rows(1, dtype), empty_rows(1, dtype)
    u_tile, delta_tile = empty_rows(STEPS, dtype), empty_rows(STEPS, dtype)
    x, slope = empty_rows(STEPS, dtype), empty_rows(STEPS, dtype)
    grad_out_tile, grad_u_tile = empty_rows(STEPS, dtype), empty_rows(STEPS, dtype)
    grad_delta_tile = empty_rows(STEPS, dtype)
    stride = -1 if reverse else 1
    for item in range(first, last):
        sample, block = item // blocks, item % blocks
        channel = block * WIDTH
        B_rows, C_rows = B[sample], C[sample]
        grad_B_rows, grad_C_rows = grad_B[sample, block], grad_C[sample, block]
        load_channels(A_tile, A, channel)
        load_channels(D_row, D, channel)
        load_channels(bias_row, bias, channel)
        fill(carry, 0)
        fill(grad_A_tile, 0)
        fill(grad_D_row, 0)
        fill(grad_bias_row, 0)
        for tile in range((length - 1) // STEPS, -1, -1):
            step = tile * STEPS
            steps = min(STEPS, length - step)
            load(u_tile, u, u_last, sample, channel, step, length, reverse)
            load(delta_tile, delta, delta_last, sample, channel, step, length, reverse)
            load(grad_out_tile, grad_out, out_last, sample, channel, step, length, reverse)
            activate(delta_tile, slope, bias_row, use_softplus, steps)
            multiply(x, u_tile, delta_tile, steps)
            fill(grad_u_tile, 0)
            fill(grad_delta_tile, 0)
            start = position(step, length, reverse)
            for n in range(0, state, GROUP):
                start_states(h, states[sample, block, tile], n)
                recompute(h, decay, x, delta_tile, A_tile, B_rows, n, start, stride, steps)
                sweep(
                    carry,
                    grad_u_tile,
                    grad_delta_tile,
                    grad_B_rows,
                    grad_C_rows,
                    grad_out_tile,
                    h,
                    decay,
                    x,
                    A_tile,
                    B_rows,
                    C_rows,
                    n,
                    start,
                    stride,
                    steps,
                )
                if grad_A.size:
                    add_outer(grad_A_tile, decay, delta_tile, n, steps)
            if grad_D.size:
                add_products(grad_D_row, grad_out_tile, u_tile, steps)
            finish(
                grad_u_tile, grad_delta_tile, grad_out_tile, u_tile, delta_tile, slope, D_row, steps
            )
            if grad_bias.size:
                add_rows(grad_bias_row, grad_delta_tile, steps)
            store(grad_u_tile, grad_u, u_last, sample, channel, step, length, reverse)
            store(grad_delta_tile, grad_delta, delta_last, sample, channel, step, length, reverse)
        if grad_A.size:
            store_channels(grad_A_tile, grad_A, sample, channel)
        if grad_D.size:
            store_channels(grad_D_row, grad_D, sample, channel)
        if grad_bias.size:
            store_channels(grad_bias_row, grad_bias, sample, channel)

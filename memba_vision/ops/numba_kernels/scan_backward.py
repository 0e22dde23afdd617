"""The selective scan on tiles of channels: backward.

Tile by tile from the scan's end: the states within a tile are computed again from the one that the
forward pass kept at its start.
"""

import numpy as np

from memba_vision.ops.numba_kernels.jit import kernel, part, widest_vectors
from memba_vision.ops.numba_kernels.layout import STEPS, WIDTH
from memba_vision.ops.numba_kernels.maths import LN2, exp2
from memba_vision.ops.numba_kernels.scan_forward import activate
from memba_vision.ops.numba_kernels.tiles import (
    copy,
    empty_rows,
    fill,
    load,
    load_channels,
    load_matrix,
    store,
    store_channels,
    store_matrix,
)


@part()
def recompute(h, decay, x, delta, A, B, steps):
    """Fill ``h`` from its first entry on, (STEPS + 1, state, WIDTH), and ``decay``."""
    for k in range(steps):
        for n in range(A.shape[0]):
            b = B[k, n]
            for w in range(WIDTH):
                factor = exp2(delta[k, w] * A[n, w])
                decay[k, n, w] = factor
                h[k + 1, n, w] = factor * h[k, n, w] + x[k, w] * b


@part(fastmath={'contract', 'reassoc'})
def sweep(carry, grad_x, grad_delta, grad_B, grad_C, grad_out, h, decay, x, A, B, C, steps):
    """Take ``carry``, the gradient of the state, back through a tile.

    Replaces ``decay`` by the gradient of its exponent delta * A; ``grad_delta`` takes that
    exponent's share in units of A. Sums over the channels in SIMD's order, which is always the
    same.
    """
    for k in range(steps - 1, -1, -1):
        for w in range(WIDTH):
            grad_x[k, w] = 0
            grad_delta[k, w] = 0
        for n in range(A.shape[0]):
            b = B[k, n]
            c = C[k, n]
            sum_B = x[k, 0] * 0
            sum_C = x[k, 0] * 0
            for w in range(WIDTH):
                grad_h = carry[n, w] + grad_out[k, w] * c
                sum_B += grad_h * x[k, w]
                sum_C += grad_out[k, w] * h[k + 1, n, w]
                grad_x[k, w] += grad_h * b
                decayed = grad_h * decay[k, n, w]
                carry[n, w] = decayed
                exponent = decayed * h[k, n, w]
                decay[k, n, w] = exponent
                grad_delta[k, w] += exponent * A[n, w]
            grad_B[k, n] = sum_B
            grad_C[k, n] = sum_C


@part()
def finish(grad_u, grad_delta, grad_out, u, delta, slope, D, steps):
    """Turn the gradients of delta * u, here in ``grad_u``, and delta into the inputs'."""
    ln2 = delta.dtype.type(LN2)
    for k in range(steps):
        for w in range(WIDTH):
            through_x = grad_u[k, w]
            grad_delta[k, w] = slope[k, w] * (grad_delta[k, w] * ln2 + through_x * u[k, w])
            grad_u[k, w] = through_x * delta[k, w] + grad_out[k, w] * D[0, w]


@part()
def add_products(row, a, b, steps):
    """Add the sum over positions of ``a * b`` to ``row``, (1, WIDTH)."""
    for k in range(steps):
        for w in range(WIDTH):
            row[0, w] += a[k, w] * b[k, w]


@part()
def add_rows(row, a, steps):
    """Add the sum over positions of ``a`` to ``row``, (1, WIDTH)."""
    for k in range(steps):
        for w in range(WIDTH):
            row[0, w] += a[k, w]


@part()
def add_outer(grad_A, exponent, delta, steps):
    """Add the sum over positions of ``exponent * delta`` to ``grad_A``, (state, WIDTH)."""
    for k in range(steps):
        for n in range(grad_A.shape[0]):
            for w in range(WIDTH):
                grad_A[n, w] += exponent[k, n, w] * delta[k, w]


@part()
def multiply(x, u, delta, steps):
    """Write ``u * delta`` to ``x``."""
    for k in range(steps):
        for w in range(WIDTH):
            x[k, w] = u[k, w] * delta[k, w]


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
    h = empty_rows((STEPS + 1) * state, dtype).reshape(STEPS + 1, state, WIDTH)
    decay = empty_rows(STEPS * state, dtype).reshape(STEPS, state, WIDTH)
    carry, A_tile = empty_rows(state, dtype), empty_rows(state, dtype)
    grad_A_tile = empty_rows(state, dtype)
    D_row, bias_row = empty_rows(1, dtype), empty_rows(1, dtype)
    grad_D_row, grad_bias_row = empty_rows(1, dtype), empty_rows(1, dtype)
    u_tile, delta_tile = empty_rows(STEPS, dtype), empty_rows(STEPS, dtype)
    x, slope = empty_rows(STEPS, dtype), empty_rows(STEPS, dtype)
    grad_out_tile, grad_u_tile = empty_rows(STEPS, dtype), empty_rows(STEPS, dtype)
    grad_delta_tile = empty_rows(STEPS, dtype)
    B_tile, C_tile = np.empty((STEPS, state), dtype), np.empty((STEPS, state), dtype)
    grad_B_tile, grad_C_tile = np.empty((STEPS, state), dtype), np.empty((STEPS, state), dtype)
    for item in range(first, last):
        sample, block = item // blocks, item % blocks
        channel = block * WIDTH
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
            copy(h[0], states[sample, block, tile])
            load(u_tile, u, u_last, sample, channel, step, length, reverse)
            load(delta_tile, delta, delta_last, sample, channel, step, length, reverse)
            load(grad_out_tile, grad_out, out_last, sample, channel, step, length, reverse)
            load_matrix(B_tile, B, sample, step, length, reverse)
            load_matrix(C_tile, C, sample, step, length, reverse)
            activate(delta_tile, slope, bias_row, use_softplus, steps)
            multiply(x, u_tile, delta_tile, steps)
            recompute(h, decay, x, delta_tile, A_tile, B_tile, steps)
            sweep(
                carry,
                grad_u_tile,
                grad_delta_tile,
                grad_B_tile,
                grad_C_tile,
                grad_out_tile,
                h,
                decay,
                x,
                A_tile,
                B_tile,
                C_tile,
                steps,
            )
            if grad_A.size:
                add_outer(grad_A_tile, decay, delta_tile, steps)
            if grad_D.size:
                add_products(grad_D_row, grad_out_tile, u_tile, steps)
            finish(
                grad_u_tile, grad_delta_tile, grad_out_tile, u_tile, delta_tile, slope, D_row, steps
            )
            if grad_bias.size:
                add_rows(grad_bias_row, grad_delta_tile, steps)
            store(grad_u_tile, grad_u, u_last, sample, channel, step, length, reverse)
            store(grad_delta_tile, grad_delta, delta_last, sample, channel, step, length, reverse)
            store_matrix(grad_B_tile, grad_B, sample, block, step, length, reverse)
            store_matrix(grad_C_tile, grad_C, sample, block, step, length, reverse)
        if grad_A.size:
            store_channels(grad_A_tile, grad_A, sample, channel)
        if grad_D.size:
            store_channels(grad_D_row, grad_D, sample, channel)
        if grad_bias.size:
            store_channels(grad_bias_row, grad_bias, sample, channel)

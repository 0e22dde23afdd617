"""The selective scan on tiles of channels: backward.

Tile by tile from the scan's end: the states within a tile are computed again from the one that the
forward pass kept at its start.
"""

from typing import NamedTuple

import numpy as np

from memba_vision.ops.numba_kernels.jit import kernel, part
from memba_vision.ops.numba_kernels.layout import STEPS, WIDTH
from memba_vision.ops.numba_kernels.maths import LN2, exp2
from memba_vision.ops.numba_kernels.scan_forward import activate
from memba_vision.ops.numba_kernels.simd import (
    add_up,
    broadcast,
    broadcast_each,
    load_rows,
    store_rows,
    store_sums,
)
from memba_vision.ops.numba_kernels.simd import load as load_row
from memba_vision.ops.numba_kernels.simd import store as store_row
from memba_vision.ops.numba_kernels.tiles import (
    empty_rows,
    fill,
    load,
    load_channels,
    store,
    store_channels,
)


class Gradients(NamedTuple):
    """Memory for the results of :func:`backward`.

    Attributes:
        u: laid out as ``u``.
        delta: an array for each scan, laid out as ``delta``.
        A: (scans, batch, state, dim), or empty where nobody asks for it.
        B: (scans, batch, blocks, length, state).
        C: (scans, batch, blocks, length, state).
        D: (scans, batch, 1, dim), or empty.
        bias: (scans, batch, 1, dim), or empty.
    """

    u: np.ndarray
    delta: tuple[np.ndarray, ...]
    A: np.ndarray
    B: np.ndarray
    C: np.ndarray
    D: np.ndarray
    bias: np.ndarray


@part()
def recompute(h, decay, x, delta, A, B, n, at, group):
    """Fill ``h``, (STEPS + 1, group, WIDTH), from its first entry on, and ``decay``."""
    rate, state = load_rows(A, (n, 0), group), load_rows(h, (0, 0, 0), group)
    for k in range(at.size):
        factor = exp2(load_row(delta, (k, 0)) * rate)
        added = load_row(x, (k, 0)) * broadcast_each(B, (at[k], n), group)
        state = factor * state + added
        store_rows(decay, (k, 0, 0), factor)
        store_rows(h, (k + 1, 0, 0), state)


@part()
def sweep(carry, grads, grad_out, h, decay, x, A, B, C, n, at, group):
    """Take ``group`` of ``carry``, the gradient of the state, back through a tile.

    ``grads`` are those of x and delta, which are added to, the latter in units of A's, and those of
    B and C. Replaces ``decay`` by the gradient of its exponent delta * A.
    """
    grad_x, grad_delta, grad_B, grad_C = grads
    rate, grad_h = load_rows(A, (n, 0), group), load_rows(carry, (n, 0), group)
    for k in range(at.size - 1, -1, -1):
        t = at[k]
        grad = load_row(grad_out, (k, 0))
        grad_h = grad_h + grad * broadcast_each(C, (t, n), group)
        store_sums(grad_B, (t, n), grad_h * load_row(x, (k, 0)))
        store_sums(grad_C, (t, n), grad * load_rows(h, (k + 1, 0, 0), group))
        through_B = grad_h * broadcast_each(B, (t, n), group)
        store_row(grad_x, (k, 0), add_up(load_row(grad_x, (k, 0)), through_B))
        grad_h = grad_h * load_rows(decay, (k, 0, 0), group)
        exponent = grad_h * load_rows(h, (k, 0, 0), group)
        store_rows(decay, (k, 0, 0), exponent)
        store_row(grad_delta, (k, 0), add_up(load_row(grad_delta, (k, 0)), exponent * rate))
    store_rows(carry, (n, 0), grad_h)


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
def add_outer(grad_A, exponent, delta, n, steps, group):
    """Add the sum over positions of ``exponent * delta`` to ``group`` rows of ``grad_A``."""
    total = load_rows(grad_A, (n, 0), group)
    for k in range(steps):
        total = total + load_rows(exponent, (k, 0, 0), group) * load_row(delta, (k, 0))
    store_rows(grad_A, (n, 0), total)


@part()
def multiply(x, u, delta, steps):
    """Write ``u * delta`` to ``x``."""
    for k in range(steps):
        store_row(x, (k, 0), load_row(u, (k, 0)) * load_row(delta, (k, 0)))


@kernel
def backward(first, last, grads, grad_out, out_last, states, inputs):
    """Differentiate items ``first`` to ``last`` of :func:`forward`, whose ``inputs`` these are.

    Args:
        first, last: the range of items.
        grads: a :class:`Gradients`.
        grad_out: (batch, length, dim) where ``out_last``, else (batch, dim, length).
        out_last: True if the channels of ``grad_out`` are the last axis.
        states: the states that the forward pass wrote.
        inputs: as given to it.
    """
    dtype, group = inputs.A.dtype, inputs.group
    scans, length = inputs.order.shape
    state, dim = inputs.A.shape[1:]
    blocks = -(-dim // WIDTH)
    h = empty_rows((STEPS + 1) * len(group), dtype).reshape(STEPS + 1, len(group), WIDTH)
    decay = empty_rows(STEPS * len(group), dtype).reshape(STEPS, len(group), WIDTH)
    carry, A, grad_A = empty_rows(state, dtype), empty_rows(state, dtype), empty_rows(state, dtype)
    D, grad_D = empty_rows(1, dtype), empty_rows(1, dtype)
    bias, grad_bias = empty_rows(1, dtype), empty_rows(1, dtype)
    u, grad_u = empty_rows(STEPS, dtype), empty_rows(STEPS, dtype)
    delta, grad_delta = empty_rows(STEPS, dtype), empty_rows(STEPS, dtype)
    x, slope, grad = empty_rows(STEPS, dtype), empty_rows(STEPS, dtype), empty_rows(STEPS, dtype)
    for item in range(first, last):
        sample, block = item // blocks, item % blocks
        channel = block * WIDTH
        for scan in range(scans):
            B, C = inputs.B[scan, sample], inputs.C[scan, sample]
            per_position = (
                grad_u,
                grad_delta,
                grads.B[scan, sample, block],
                grads.C[scan, sample, block],
            )
            load_channels(A, inputs.A[scan], channel)
            load_channels(D, inputs.D[scan], channel)
            load_channels(bias, inputs.bias[scan], channel)
            fill(carry, 0)
            fill(grad_A, 0)
            fill(grad_D, 0)
            fill(grad_bias, 0)
            for tile in range((length - 1) // STEPS, -1, -1):
                at = inputs.order[scan, tile * STEPS : (tile + 1) * STEPS]
                load(u, inputs.u, inputs.u_last, sample, channel, at)
                load(delta, inputs.delta[scan], inputs.delta_last, sample, channel, at)
                load(grad, grad_out, out_last, sample, channel, at)
                activate(delta, slope, bias, inputs.use_softplus, at.size)
                multiply(x, u, delta, at.size)
                fill(grad_u, 0)
                fill(grad_delta, 0)
                for n in range(0, state, len(group)):
                    kept = states[scan, sample, block, tile]
                    store_rows(h, (0, 0, 0), load_rows(kept, (n, 0), group))
                    recompute(h, decay, x, delta, A, B, n, at, group)
                    sweep(carry, per_position, grad, h, decay, x, A, B, C, n, at, group)
                    if grads.A.size:
                        add_outer(grad_A, decay, delta, n, at.size, group)
                if grads.D.size:
                    add_products(grad_D, grad, u, at.size)
                finish(grad_u, grad_delta, grad, u, delta, slope, D, at.size)
                if grads.bias.size:
                    add_rows(grad_bias, grad_delta, at.size)
                store(grad_u, grads.u, inputs.u_last, sample, channel, at, scan > 0)
                store(grad_delta, grads.delta[scan], inputs.delta_last, sample, channel, at, False)
            if grads.A.size:
                store_channels(grad_A, grads.A[scan], sample, channel)
            if grads.D.size:
                store_channels(grad_D, grads.D[scan], sample, channel)
            if grads.bias.size:
                store_channels(grad_bias, grads.bias[scan], sample, channel)

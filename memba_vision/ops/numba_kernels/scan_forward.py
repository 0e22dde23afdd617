"""The selective scan on tiles of channels: forward."""

from typing import NamedTuple

import numpy as np

from memba_vision.ops.numba_kernels.jit import kernel, part
from memba_vision.ops.numba_kernels.layout import STEPS, WIDTH
from memba_vision.ops.numba_kernels.maths import exp2, softplus
from memba_vision.ops.numba_kernels.simd import (
    add_up,
    broadcast_each,
    load_rows,
    repeat,
    store_rows,
)
from memba_vision.ops.numba_kernels.simd import load as load_row
from memba_vision.ops.numba_kernels.simd import store as store_row
from memba_vision.ops.numba_kernels.tiles import copy, empty_rows, fill, load, load_channels, store


class Inputs(NamedTuple):
    """Arguments of the kernels that differentiate a scan, and of those that run it.

    The sequences ``u`` and ``delta`` may be of bfloat16; all else is of the precision that kernels
    compute in.

    There may be several scans of the same ``u``, of other directions, whose results are summed.

    Attributes:
        u: (batch, length, dim) where ``u_last``, else (batch, dim, length).
        u_last: True if the channels of ``u`` are the last axis.
        delta: an array like ``u`` for each scan.
        delta_last: True if the channels of ``delta`` are the last axis.
        order: the positions in the order of the scan, (scans, length) int32.
        A: (scans, state, dim), times log2(e); ``state`` is a multiple of ``len(group)``.
        B: (scans, batch, length, state).
        C: (scans, batch, length, state).
        D: (scans, 1, dim).
        bias: (scans, 1, dim), added to ``delta``.
        use_softplus: True if ``delta`` is passed through softplus.
        group: a tuple as long as the number of state dimensions that are worked on at once.
    """

    u: np.ndarray
    u_last: bool
    delta: tuple[np.ndarray, ...]
    delta_last: bool
    order: np.ndarray
    A: np.ndarray
    B: np.ndarray
    C: np.ndarray
    D: np.ndarray
    bias: np.ndarray
    use_softplus: bool
    group: tuple[int, ...]


@part()
def activate(delta, slope, bias, use_softplus, steps):
    """Turn a tile of raw step sizes into those of the recurrence; fill ``slope`` unless None."""
    added = load_row(bias, (0, 0))
    for k in range(steps):
        step = load_row(delta, (k, 0)) + added
        rise = repeat(1, step)
        if use_softplus:
            step, rise = softplus(step)
        store_row(delta, (k, 0), step)
        if slope is not None:
            store_row(slope, (k, 0), rise)


@part()
def skip(out, x, u, delta, D, steps):
    """Start ``out`` with the skip connection, and write ``delta * u`` to ``x``."""
    skip_weight = load_row(D, (0, 0))
    for k in range(steps):
        u_row = load_row(u, (k, 0))
        store_row(out, (k, 0), skip_weight * u_row)
        store_row(x, (k, 0), load_row(delta, (k, 0)) * u_row)


@part()
def scan_group(out, h, x, delta, A, B, C, n, at, group):
    """Advance the ``group`` from ``n`` on of ``h``, (state, WIDTH), over a tile; add it to ``out``.

    ``B`` and ``C``, (length, state), are read at the positions ``at``.
    """
    rate, state = load_rows(A, (n, 0), group), load_rows(h, (n, 0), group)
    for k in range(at.size):
        step, added = load_row(delta, (k, 0)), load_row(x, (k, 0))
        state = exp2(step * rate) * state + added * broadcast_each(B, (at[k], n), group)
        read = state * broadcast_each(C, (at[k], n), group)
        store_row(out, (k, 0), add_up(load_row(out, (k, 0)), read))
    store_rows(h, (n, 0), state)


@kernel
def forward(first, last, out, states, inputs):
    """Scan items ``first`` to ``last`` of (batch, blocks of WIDTH channels).

    Args:
        first, last: the range of items.
        out: the sum of all scans, laid out as ``u``.
        states: (scans, batch, blocks, tiles, state, WIDTH), takes the state at the start of each
            tile; may be empty.
        inputs: an :class:`Inputs`.
    """
    dtype = inputs.A.dtype
    scans, length = inputs.order.shape
    state, dim = inputs.A.shape[1:]
    blocks = -(-dim // WIDTH)
    h, A = empty_rows(state, dtype), empty_rows(state, dtype)
    D, bias = empty_rows(1, dtype), empty_rows(1, dtype)
    u, delta = empty_rows(STEPS, dtype), empty_rows(STEPS, dtype)
    out_tile, x = empty_rows(STEPS, dtype), empty_rows(STEPS, dtype)
    for item in range(first, last):
        sample, block = item // blocks, item % blocks
        channel = block * WIDTH
        for scan in range(scans):
            B, C = inputs.B[scan, sample], inputs.C[scan, sample]
            load_channels(A, inputs.A[scan], channel)
            load_channels(D, inputs.D[scan], channel)
            load_channels(bias, inputs.bias[scan], channel)
            fill(h, 0)
            for tile in range(-(-length // STEPS)):
                at = inputs.order[scan, tile * STEPS : (tile + 1) * STEPS]
                if states.size:
                    copy(states[scan, sample, block, tile], h)
                load(u, inputs.u, inputs.u_last, sample, channel, at)
                load(delta, inputs.delta[scan], inputs.delta_last, sample, channel, at)
                activate(delta, None, bias, inputs.use_softplus, at.size)
                skip(out_tile, x, u, delta, D, at.size)
                for n in range(0, state, len(inputs.group)):
                    scan_group(out_tile, h, x, delta, A, B, C, n, at, inputs.group)
                store(out_tile, out, inputs.u_last, sample, channel, at, scan > 0)

"""Local tiles of (positions, channels): kernels work on them, in any layout outside."""

import numpy as np

from memba_vision.ops.numba_kernels.jit import part
from memba_vision.ops.numba_kernels.layout import WIDTH
from memba_vision.ops.numba_kernels.simd import broadcast, load_number, store_number
from memba_vision.ops.numba_kernels.simd import load as load_row
from memba_vision.ops.numba_kernels.simd import store as store_row


@part()
def empty_rows(rows, dtype):
    """Allocate a tile, (rows, WIDTH), from a cache line on: no vector lies across two of them."""
    memory = np.empty(rows * WIDTH + 64, dtype)
    start = (-memory.ctypes.data % 64) // memory.itemsize
    return memory[start : start + rows * WIDTH].reshape(rows, WIDTH)


@part()
def position(step, length, reverse):
    """Return the position in the sequence at which the scan is at ``step``."""
    return length - 1 - step if reverse else step


@part()
def load(tile, source, channel_last, sample, channel, at):
    """Fill ``tile``, (STEPS, WIDTH), from the positions ``at`` and ``channel`` on.

    Channels that ``source`` has not are zeros.
    """
    steps = at.size
    if channel_last:
        width = min(WIDTH, source.shape[2] - channel)
        if width == WIDTH:
            for k in range(steps):
                store_row(tile, (k, 0), load_row(source, (sample, at[k], channel)))
            return
        for k in range(steps):
            for w in range(width):
                tile[k, w] = load_number(source, (sample, at[k], channel + w))
    else:
        width = min(WIDTH, source.shape[1] - channel)
        for w in range(width):
            for k in range(steps):
                tile[k, w] = load_number(source, (sample, channel + w, at[k]))
    for k in range(steps):
        for w in range(width, WIDTH):
            tile[k, w] = 0


@part()
def store(tile, target, channel_last, sample, channel, at, add):
    """Write ``tile`` to where :func:`load` reads it, or with ``add`` add it to what is there."""
    steps = at.size
    if channel_last:
        width = min(WIDTH, target.shape[2] - channel)
        if width == WIDTH:
            for k in range(steps):
                row = load_row(tile, (k, 0))
                if add:
                    row = load_row(target, (sample, at[k], channel)) + row
                store_row(target, (sample, at[k], channel), row)
            return
        for k in range(steps):
            for w in range(width):
                if add:
                    tile[k, w] += load_number(target, (sample, at[k], channel + w))
                store_number(target, (sample, at[k], channel + w), tile[k, w])
    else:
        width = min(WIDTH, target.shape[1] - channel)
        for w in range(width):
            for k in range(steps):
                if add:
                    tile[k, w] += load_number(target, (sample, channel + w, at[k]))
                store_number(target, (sample, channel + w, at[k]), tile[k, w])


@part()
def load_channels(tile, source, channel):
    """Fill ``tile``, (rows, WIDTH), from ``channel`` on of ``source``, (rows, dim), with zeros."""
    width = min(WIDTH, source.shape[1] - channel)
    for row in range(source.shape[0]):
        for w in range(width):
            tile[row, w] = source[row, channel + w]
        for w in range(width, WIDTH):
            tile[row, w] = 0


@part()
def store_channels(tile, target, sample, channel):
    """Write ``tile``, (rows, WIDTH), into ``target``, (batch, rows, dim), from ``channel`` on."""
    for row in range(target.shape[1]):
        for w in range(min(WIDTH, target.shape[2] - channel)):
            target[sample, row, channel + w] = tile[row, w]


@part()
def fill(tile, value):
    """Set all of ``tile``, (rows, WIDTH)."""
    row = broadcast(tile.dtype.type(value))
    for k in range(tile.shape[0]):
        store_row(tile, (k, 0), row)


@part()
def copy(target, source):
    """Copy a tile, (rows, WIDTH)."""
    for k in range(source.shape[0]):
        store_row(target, (k, 0), load_row(source, (k, 0)))

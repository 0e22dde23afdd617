"""Local tiles of (positions, channels): the kernels work on them whatever the layout outside."""

import numpy as np

from memba_vision.ops.numba_kernels.jit import part
from memba_vision.ops.numba_kernels.layout import STEPS, WIDTH
from memba_vision.ops.numba_kernels.simd import broadcast
from memba_vision.ops.numba_kernels.simd import load as load_row
from memba_vision.ops.numba_kernels.simd import store as store_row


@part()
def empty_rows(rows, dtype):
    """A tile, (rows, WIDTH), that starts on a cache line: no vector lies across two of them."""
    memory = np.empty(rows * WIDTH + 64, dtype)
    start = (-memory.ctypes.data % 64) // memory.itemsize
    return memory[start : start + rows * WIDTH].reshape(rows, WIDTH)


@part()
def position(step, length, reverse):
    """Where in the sequence the scan is at ``step``."""
    return length - 1 - step if reverse else step


@part()
def load(tile, source, channel_last, sample, channel, step, length, reverse):
    """Fill ``tile``, (STEPS, WIDTH), from ``step`` and ``channel`` on; zeros outside of source."""
    steps = min(STEPS, length - step)
    if channel_last:
        width = min(WIDTH, source.shape[2] - channel)
        if width == WIDTH:
            for k in range(steps):
                t = position(step + k, length, reverse)
                store_row(tile, (k, 0), load_row(source, (sample, t, channel)))
            return
        for k in range(steps):
            t = position(step + k, length, reverse)
            for w in range(width):
                tile[k, w] = source[sample, t, channel + w]
    else:
        width = min(WIDTH, source.shape[1] - channel)
        for w in range(width):
            for k in range(steps):
                tile[k, w] = source[sample, channel + w, position(step + k, length, reverse)]
    for k in range(steps):
        for w in range(width, WIDTH):
            tile[k, w] = 0


@part()
def store(tile, target, channel_last, sample, channel, step, length, reverse):
    """The way back of :func:`load`."""
    steps = min(STEPS, length - step)
    if channel_last:
        width = min(WIDTH, target.shape[2] - channel)
        if width == WIDTH:
            for k in range(steps):
                t = position(step + k, length, reverse)
                store_row(target, (sample, t, channel), load_row(tile, (k, 0)))
            return
        for k in range(steps):
            t = position(step + k, length, reverse)
            for w in range(width):
                target[sample, t, channel + w] = tile[k, w]
    else:
        width = min(WIDTH, target.shape[1] - channel)
        for w in range(width):
            for k in range(steps):
                target[sample, channel + w, position(step + k, length, reverse)] = tile[k, w]


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

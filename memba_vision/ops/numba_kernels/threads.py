"""Run a compiled kernel over a range of independent items on several threads.

The threads are Python's, and the kernels release the GIL. numba's own threads would abort the
process when two Python threads enter them at once, and take several times as long to compile.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

from memba_vision.ops.numba_kernels.layout import as_rows

# With more pieces than threads, the others take over the share of a thread that is held up.
PIECES_PER_THREAD = 4

_pool = None


def run(kernel: Callable, items: int, *args) -> None:
    """Call ``kernel(first, last, *args)`` on pieces that cover ``range(items)``.

    It uses ``torch.get_num_threads()`` threads. The result for an item must not depend on the
    piece that the item is in.
    """
    threads = min(torch.get_num_threads(), items)
    if threads <= 1:
        kernel(0, items, *args)
        return
    if not kernel.signatures:
        kernel(0, 0, *args)  # compile, or load from disk, before the other threads start
    size = -(-items // (threads * PIECES_PER_THREAD))
    pieces = iter(range(0, items, size))

    def work() -> None:
        for first in pieces:
            kernel(first, min(first + size, items), *args)

    helpers = [_threads().submit(work) for _ in range(threads - 1)]
    work()
    for helper in helpers:
        helper.result()


def run_columns(kernel: Callable, *tensors_and_settings) -> None:
    """Run a kernel of :mod:`memba_vision.ops.numba_kernels.membrane` over all samples' columns.

    Args:
        kernel: the kernel.
        tensors_and_settings: its arrays as tensors with the channels in the last axis but one,
            (2 * batch, dim, chunk) the last of them, then ``num_chunks``, ``leak`` and
            ``threshold``, which the kernel gets in the precision of the tensors.
    """
    *tensors, num_chunks, leak, threshold = tensors_and_settings
    arrays = [as_rows(tensor.mT).numpy() for tensor in tensors]
    precision = arrays[0].dtype.type
    rows, chunk, _ = arrays[-1].shape
    settings = num_chunks, precision(leak), precision(threshold)
    run(kernel, rows // 2 * chunk, *arrays, settings)


def _threads() -> ThreadPoolExecutor:
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(max(os.cpu_count() or 1, 2), 'memba_vision')
    return _pool


def _forget_threads() -> None:
    """Drop the pool in a forked child, which inherits it without its threads."""
    global _pool
    _pool = None


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_forget_threads)

"""Run a compiled kernel over a range of independent items on several threads.

Python threads and kernels that drop the GIL, in place of numba's own threads: those abort the
process when two Python threads enter them at once, and compile several times as long.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import torch

from memba_vision.ops.numba_kernels.layout import as_rows

# More pieces than threads, for a thread that is held up leaves its share to the others.
PIECES_PER_THREAD = 4

_pool = None


def run(kernel: Callable, items: int, *args) -> None:
    """Call ``kernel(first, last, *args)`` on pieces that cover ``range(items)``.

    Uses as many threads as ``torch.get_num_threads()`` says. What is computed for an item must
    not depend on the piece it is in.
    """
    threads = min(torch.get_num_threads(), items)
    if threads <= 1:
        kernel(0, items, *args)
        return
    if not kernel.signatures:
        kernel(0, 0, *args)  # compiles, or loads, before other threads come in
    size = -(-items // (threads * PIECES_PER_THREAD))
    pieces = iter(range(0, items, size))

    def work() -> None:
        for first in pieces:
            kernel(first, min(first + size, items), *args)

    helpers = [_threads().submit(work) for _ in range(threads - 1)]
    work()
    for helper in helpers:
        helper.result()


def run_columns(
    kernel: Callable, initial: torch.Tensor, tensors: Iterable[torch.Tensor], settings: tuple
) -> None:
    """Run a kernel of the membranes, whose items are the columns of all samples.

    Float settings are passed in the precision of the tensors.

    Args:
        kernel: one of :mod:`memba_vision.ops.numba_kernels.membrane`.
        initial: the state that both directions start from, (2 * batch, chunk, dim).
        tensors: all arrays of the kernel.
        settings: the numbers behind them.
    """
    arrays = [as_rows(tensor).numpy() for tensor in tensors]
    precision = arrays[0].dtype.type
    numbers = [precision(s) if isinstance(s, float) else s for s in settings]
    run(kernel, initial.shape[0] // 2 * initial.shape[1], *arrays, *numbers)


def _threads() -> ThreadPoolExecutor:
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(max(os.cpu_count() or 1, 2), 'memba_vision')
    return _pool


def _forget_threads() -> None:
    """A forked child inherits the pool, but none of its threads."""
    global _pool
    _pool = None


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_forget_threads)

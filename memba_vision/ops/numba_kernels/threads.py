"""Run a compiled kernel over a range of independent items on several threads.

They are the threads of torch, see :mod:`memba_vision.ops.numba_kernels.parallel`. numba's own would
abort the process when two Python threads enter them at once, and take several times as long to
compile.
"""

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import torch

from memba_vision.ops.numba_kernels.layout import as_rows

# With more pieces than threads, the others take over the share of a thread that is held up.
PIECES_PER_THREAD = 4

_forked = False


def run(kernel: Callable, items: int, *args) -> None:
    """Call ``kernel(first, last, *args)`` on pieces that cover ``range(items)``.

    It uses ``torch.get_num_threads()`` threads. The result for an item must not depend on the
    piece that the item is in.

    Raises:
        MemoryError: the kernel failed, which it does only where it gets no memory for its tiles.
    """
    threads = max(1, min(torch.get_num_threads(), items))
    pieces = threads * PIECES_PER_THREAD if threads > 1 else 1
    team = _team() if threads > 1 else 0
    if kernel(team, threads, items, max(1, -(-items // pieces)), *args):
        raise MemoryError('a CPU kernel of memba_vision got no memory')


def run_columns(kernel: Callable, *tensors_and_settings) -> None:
    """Run a kernel of :mod:`memba_vision.ops.numba_kernels.membrane` over all samples' columns.

    Args:
        kernel: the kernel.
        tensors_and_settings: its arrays as tensors with the channels in the last axis but one,
            (2 * batch, dim, chunk) the last of them, then ``num_chunks``, ``leak`` and
            ``threshold``, which the kernel gets in the precision of that last one.
    """
    *tensors, num_chunks, leak, threshold = tensors_and_settings
    arrays = [as_rows(tensor.mT) for tensor in tensors]
    precision = arrays[-1].dtype.type
    rows, chunk, _ = arrays[-1].shape
    settings = num_chunks, precision(leak), precision(threshold)
    run(kernel, rows // 2 * chunk, *arrays, settings)


def _team() -> int:
    """Return the address of the function that enters a team of threads."""
    # A forked child inherits OpenMP's state without its threads, and would wait for them for ever.
    address = None if _forked else _openmp()
    return address or ctypes.cast(_enter_python_threads, ctypes.c_void_p).value


@cache
def _openmp() -> int | None:
    """Return the address of the function of the OpenMP library that torch uses, if it has one."""
    folder = Path(torch.__file__).parent / 'lib'
    for library in sorted(folder.glob('libtorch_cpu.*')):
        try:
            # The system looks it up in the libraries that this one was loaded with, too.
            function = ctypes.CDLL(str(library)).GOMP_parallel
        except (OSError, AttributeError):
            continue
        return ctypes.cast(function, ctypes.c_void_p).value
    return None


@ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
def _enter_python_threads(work: int, data: int, threads: int, _: int) -> None:
    """Call ``work(data)`` from several of Python's threads."""
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(work)
    helpers = [_python_threads().submit(call, data) for _ in range(threads - 1)]
    call(data)
    for helper in helpers:
        helper.result()


@cache
def _python_threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(os.cpu_count() or 1, 2), 'memba_vision')


def _note_fork() -> None:
    """Drop the pool in a forked child, which inherits it without its threads."""
    global _forked
    _forked = True
    _python_threads.cache_clear()


def trust_openmp() -> None:
    """Use OpenMP's threads in this forked process: no process that it was forked from had any."""
    global _forked
    _forked = False


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_note_fork)

"""Decorators that compile kernels, and the functions that kernels call."""

from collections.abc import Callable
from functools import partial

from numba import njit

from memba_vision.ops.numba_kernels.cache import KernelCache
from memba_vision.ops.numba_kernels.parallel import share_out

# 'contract' allows fused multiply-adds and nothing else: reordered sums would break the rounding in
# `maths`, and code that assumes no NaN would lose them. numpy's error model leaves out the check of
# each divisor for zero, which would keep LLVM from vectorising.
#
# Functions are inlined. Of a function that is called, numba would compile a second copy, and run
# that in the process that compiles, but not in those that load the kernel from disk. The copies may
# differ in their last bits, and a resumed run would not end like an uninterrupted one.
part = partial(njit, forceinline=True, fastmath={'contract'}, error_model='numpy')


def kernel(function: Callable) -> Callable:
    """Compile ``function(first, last, *args)`` at its first call, and cache it on disk.

    Returns:
        A function of (team, threads, items, size, *args), see
        :func:`memba_vision.ops.numba_kernels.parallel.share_out`. It runs without the GIL.
    """
    body = part(function)

    def launch(team, threads, items, size, *args):
        return share_out(body, team, threads, items, size, args)

    compiled = part(launch, nogil=True, forceinline=False)
    compiled._cache = KernelCache(function)
    return compiled

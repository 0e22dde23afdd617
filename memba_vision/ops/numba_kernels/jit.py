"""Decorators that compile kernels, and the functions that kernels call."""

from collections.abc import Callable
from functools import partial

from numba import njit, types
from numba.extending import intrinsic

from memba_vision.ops.numba_kernels.cache import KernelCache

# 'contract' allows fused multiply-adds and nothing else: reordered sums would break the rounding in
# `maths`, and code that assumes no NaN would lose them. numpy's error model leaves out the check of
# each divisor for zero, which would keep LLVM from vectorising.
#
# Functions are inlined. Of a function that is called, numba would compile a second copy, and run
# that in the process that compiles, but not in those that load the kernel from disk. The copies may
# differ in their last bits, and a resumed run would not end like an uninterrupted one.
part = partial(njit, forceinline=True, fastmath={'contract'}, error_model='numpy')


def kernel(function: Callable) -> Callable:
    """Compile ``function`` at its first call, to run without the GIL, and cache it on disk."""
    compiled = part(function, nogil=True, forceinline=False)
    compiled._cache = KernelCache(function)
    return compiled


@intrinsic
def widest_vectors(typing_context):
    """Let LLVM use vectors of 512 bits in the kernel that calls this, if the CPU has them.

    On many Intel CPUs it prefers 256 bits, which suits code that rarely uses vectors. The attribute
    is that of clang's -mprefer-vector-width=512; llvmlite's list of attributes does not have it.
    """

    def generate(context, builder, signature, args):
        attributes = builder.function.attributes
        if isinstance(attributes, set):
            set.add(attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.none(), generate

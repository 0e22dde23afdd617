"""How every kernel and its parts are compiled."""

from collections.abc import Callable
from functools import partial

from numba import njit, types
from numba.extending import intrinsic

from memba_vision.ops.numba_kernels.cache import KernelCache

# Contraction is fused multiply-add and nothing more: reordering sums would break the rounding in
# `maths`, and assuming that there is no NaN would lose it. numpy's division checks for no zero,
# which would keep LLVM from vectorising.
#
# Parts are inlined: of one that is called, numba compiles a copy beside the kernel's own, and runs
# it in the process that compiles but not in those that load the kernel from the disk. The two may
# differ in their last bits, and a resumed run would not end as an uninterrupted one.
part = partial(njit, forceinline=True, fastmath={'contract'}, error_model='numpy')


def kernel(function: Callable) -> Callable:
    """Compile ``function`` at its first call, without the GIL, and keep it on disk if it can be."""
    compiled = part(function, nogil=True, forceinline=False)
    compiled._cache = KernelCache(function)
    return compiled


@intrinsic
def widest_vectors(typing_context):
    """Let LLVM use all 512 bits in the kernel that calls this, where a CPU has them.

    It prefers 256 on many Intel CPUs, for code that is rarely in vectors. This is what clang's
    -mprefer-vector-width=512 sets; llvmlite's own list of attributes leaves it out.
    """

    def generate(context, builder, signature, args):
        attributes = builder.function.attributes
        if isinstance(attributes, set):
            set.add(attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.none(), generate

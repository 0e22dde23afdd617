"""How every kernel and its parts are compiled."""

from functools import partial

from numba import njit, types
from numba.extending import intrinsic

# Contraction is fused multiply-add and nothing more: reordering sums would break the rounding in
# `maths`, and assuming that there is no NaN would lose it. numpy's division checks for no zero,
# which would keep LLVM from vectorising.
part = partial(njit, fastmath={'contract'}, error_model='numpy')
kernel = partial(part, cache=True, nogil=True)


@intrinsic
def widest_vectors(typing_context):
    """Let LLVM use all 512 bits in the function that calls this, where a CPU has them.

    It prefers 256 on many Intel CPUs, for code that is rarely in vectors. This is what clang's
    -mprefer-vector-width=512 sets; llvmlite's own list of attributes leaves it out.
    """

    def generate(context, builder, signature, args):
        attributes = builder.function.attributes
        if isinstance(attributes, set):
            set.add(attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.none(), generate

"""How every kernel and its parts are compiled."""

from functools import partial

from numba import njit

# Contraction is fused multiply-add and nothing more: reordering sums would break the rounding in
# `maths`, and assuming that there is no NaN would lose it. numpy's division checks for no zero,
# which would keep LLVM from vectorising.
part = partial(njit, fastmath={'contract'}, error_model='numpy')
kernel = partial(part, cache=True, nogil=True)

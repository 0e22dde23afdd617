"""Elementary functions on float32 blocks."""

import triton
import triton.language as tl

LN2 = tl.constexpr(0.6931471805599453)
LOG2E = tl.constexpr(1.4426950408889634)
# 2 * atanh(s) = s * (2 + s**2 * (L1 + s**2 * (L2 + ...))) for s in [0, 1/3], with an error of 5e-9.
L1 = tl.constexpr(6.666641628e-01)
L2 = tl.constexpr(4.002152731e-01)
L3 = tl.constexpr(2.800180394e-01)
L4 = tl.constexpr(2.801199415e-01)


@triton.jit
def sigmoid(x):
    """Return 1 / (1 + exp(-x)), without overflow."""
    e = tl.exp2(-tl.abs(x) * LOG2E)
    return tl.where(x < 0, e, 1.0) / (1.0 + e)


@triton.jit
def softplus(x):
    """Return log(1 + exp(x)), exact to the last digits for small results too."""
    e = tl.exp2(-tl.abs(x) * LOG2E)
    s = e / (e + 2.0)
    q = s * s
    return tl.maximum(x, 0.0) + s * (2.0 + q * (L1 + q * (L2 + q * (L3 + q * L4))))

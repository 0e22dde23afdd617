"""Elementary functions that LLVM vectorises, with a formula for each precision.

float32 is for speed: polynomials with a relative error near 2e-7. float64 is for tests: the
functions of the C library.
"""

import math

import numpy as np
from llvmlite import ir
from numba import float32, int32, types
from numba.extending import intrinsic, overload

from memba_vision.ops.numba_kernels.jit import part

LN2 = math.log(2)
LOG2E = 1 / LN2

ZERO, ONE, TWO = np.float32(0), np.float32(1), np.float32(2)
LOG2E_32 = np.float32(LOG2E)
# Added to a float32 below 2**22 in magnitude, it leaves the nearest integer in the low bits.
ROUND = np.float32(1.5 * 2**23)
LOWEST, HIGHEST = np.float32(-126), np.float32(127)
# 2**r = 1 + r * (E1 + r * (E2 + ...)) for r in [-1/2, 1/2], with a relative error up to 9e-8.
E1, E2, E3, E4, E5 = np.float32(
    [6.931469776e-01, 2.402224208e-01, 5.550733745e-02, 9.671512812e-03, 1.326472721e-03]
)
# 2 * atanh(s) = s * (2 + s**2 * (L1 + s**2 * (L2 + ...))) for s in [0, 1/3], with an error of 5e-9.
L1, L2, L3, L4 = np.float32([6.666641628e-01, 4.002152731e-01, 2.800180394e-01, 2.801199415e-01])
# Above it, torch's softplus is the identity.
THRESHOLD = 20.0


@intrinsic
def _bits(typing_context, value):
    """Return the bits of a float32 as an int32."""

    def generate(context, builder, signature, args):
        return builder.bitcast(args[0], ir.IntType(32))

    return int32(float32), generate


@intrinsic
def _add_to_exponent(typing_context, value, exponent):
    """Multiply the float32 ``value`` by 2 to the power of the low bits of ``exponent``."""

    def generate(context, builder, signature, args):
        value, exponent = args
        shifted = builder.shl(exponent, ir.Constant(ir.IntType(32), 23))
        bits = builder.add(builder.bitcast(value, ir.IntType(32)), shifted)
        return builder.bitcast(bits, ir.FloatType())

    return float32(float32, int32), generate


@part()
def _exp2_float32(x):
    bounded = HIGHEST if x > HIGHEST else x
    rounded = bounded + ROUND
    r = bounded - (rounded - ROUND)
    power = ONE + r * (E1 + r * (E2 + r * (E3 + r * (E4 + r * E5))))
    return ZERO if x < LOWEST else _add_to_exponent(power, _bits(rounded))


@part()
def _exp2_float64(x):
    return math.exp(x * LN2)


@part()
def _softplus_float32(x):
    e = _exp2_float32(-abs(x) * LOG2E_32)
    s = e / (e + TWO)
    q = s * s
    log1p = s * (TWO + q * (L1 + q * (L2 + q * (L3 + q * L4))))
    slope = (e if x < ZERO else ONE) / (e + ONE)
    return (ZERO if x < ZERO else x) + log1p, slope


@part()
def _softplus_float64(x):
    if x > THRESHOLD:
        return x, 1.0
    e = math.exp(-abs(x))
    return max(x, 0.0) + math.log1p(e), (e if x < 0 else 1.0) / (1.0 + e)


def exp2(x):
    """Return 2 to the power of x: 0 below the normal float32 numbers, finite for any finite x."""


def softplus(x):
    """Return log(1 + exp(x)) and its derivative."""


@overload(exp2)
def _exp2(x):
    if x == types.float32:
        return lambda x: _exp2_float32(x)
    return lambda x: _exp2_float64(x)


@overload(softplus)
def _softplus(x):
    if x == types.float32:
        return lambda x: _softplus_float32(x)
    return lambda x: _softplus_float64(x)

"""Elementary functions of rows of channels, with a formula for each precision.

float32 is for speed: polynomials with a relative error near 2e-7. float64 is for tests: the
functions of the C library.
"""

import math

import numpy as np
from llvmlite import ir
from numba import float32, float64
from numba.core import cgutils
from numba.extending import intrinsic, overload

from memba_vision.ops.numba_kernels.jit import part
from memba_vision.ops.numba_kernels.layout import WIDTH
from memba_vision.ops.numba_kernels.simd import (
    Row,
    join_rows,
    masked_fill,
    maximum,
    minimum,
    repeat,
    split_rows,
    vector_of,
    where_negative,
)

LN2 = math.log(2)
LOG2E = 1 / LN2

# Added to a float32 below 2**22 in magnitude, it leaves the nearest integer in the low bits.
ROUND = 1.5 * 2**23
# At -127 the exponent's bits are all zero, and so is the result.
LOWEST, HIGHEST = -127.0, 127.0
# 2**r = 1 + r * (E1 + r * (E2 + ...)) for r in [-1/2, 1/2], with a relative error up to 9e-8.
POWERS = np.float32(
    [1.0, 6.931469776e-01, 2.402224208e-01, 5.550733745e-02, 9.671512812e-03, 1.326472721e-03]
)
# 2 * atanh(s) = s * (2 + s**2 * (L1 + s**2 * (L2 + ...))) for s in [0, 1/3], with an error of 5e-9.
L1, L2, L3, L4 = 6.666641628e-01, 4.002152731e-01, 2.800180394e-01, 2.801199415e-01
# Above it, torch's softplus is the identity.
THRESHOLD = 20


@intrinsic
def exp2(typing_context, row):
    """Return 2 to the power of each lane: below 2**-126 as good as 0, finite for finite numbers."""
    formula = {float32: _exp2_float32, float64: _exp2_float64}[row.dtype]

    def generate(context, builder, signature, args):
        return join_rows(builder, [formula(builder, x) for x in split_rows(builder, args[0])])

    return row(row), generate


def _exp2_float32(builder, x):
    def constant(value):
        return ir.Constant(vector_of(ir.FloatType()), [float(value)] * WIDTH)

    def multiply_add(a, b, c):
        flags = ('contract',)
        return builder.fadd(builder.fmul(a, b, flags=flags), constant(c), flags=flags)

    for comparison, number in ('>', HIGHEST), ('<', LOWEST):
        bound = constant(number)
        x = builder.select(builder.fcmp_ordered(comparison, x, bound), bound, x)
    rounded = builder.fadd(x, constant(ROUND))
    r = builder.fsub(x, builder.fsub(rounded, constant(ROUND)))
    *coefficients, last = POWERS
    power = constant(last)
    for coefficient in reversed(coefficients):
        power = multiply_add(power, r, coefficient)
    bits = vector_of(ir.IntType(32))
    exponent = builder.shl(builder.bitcast(rounded, bits), ir.Constant(bits, [23] * WIDTH))
    return builder.bitcast(builder.add(builder.bitcast(power, bits), exponent), power.type)


def _exp2_float64(builder, x):
    return _call(builder, 'exp2', x)


def _call(builder, name: str, x):
    """Call the function of the C library for each lane of a row of float64."""
    kind = ir.FunctionType(x.type, [x.type])
    function = cgutils.get_or_insert_function(builder.module, kind, f'llvm.{name}.v{WIDTH}f64')
    return builder.call(function, [x])


@intrinsic
def _log(typing_context, row):
    """Return the logarithm of each lane of a row of float64."""

    def generate(context, builder, signature, args):
        return _call(builder, 'log', args[0])

    return row(row), generate


@part()
def _log1p_float32(e):
    s = e / (e + repeat(2, e))
    q = s * s
    inner = repeat(L3, e) + q * repeat(L4, e)
    return s * (repeat(2, e) + q * (repeat(L1, e) + q * (repeat(L2, e) + q * inner)))


@part()
def _log1p_float64(e):
    # The quotient makes up for what 1 + e is rounded by, where it is not rounded to 1.
    one = repeat(1, e)
    rounded = (one + e) - one
    exact = _log(one + e) * (e / rounded)
    return where_negative(repeat(0, e) - rounded, exact, e)


def log1p(e):
    """Return log(1 + e) of each lane, for numbers from 0 to 1."""


@overload(log1p)
def _(e):
    if e == Row(float32):
        return lambda e: _log1p_float32(e)
    return lambda e: _log1p_float64(e)


@part()
def softplus(x):
    """Return log(1 + exp(x)) of each lane and its derivative."""
    zero, one = repeat(0, x), repeat(1, x)
    e = exp2(minimum(x, zero - x) * repeat(LOG2E, x))
    e = masked_fill(e, x, THRESHOLD)
    return maximum(x, zero) + log1p(e), where_negative(x, e, one) / (e + one)

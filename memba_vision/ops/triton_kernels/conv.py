"""The causal depthwise convolution with its SiLU, forward and backward.

Sequences are (batch, length, dim) in memory; those of ``x`` may be part of wider rows, ``x_row``
apart. A program takes one sample, a block of positions and a block of channels, and reads its
positions again for every tap: from the cache. The backward pass works out again what the SiLU got.
"""

import triton
import triton.language as tl

from memba_vision.ops.triton_kernels.maths import sigmoid
from memba_vision.ops.triton_kernels.membrane import block_of_program, load, store


@triton.jit
def _tap(weight, d, dim, tap: tl.constexpr, WIDTH: tl.constexpr):
    """Load the factors of a tap, (1, channels)."""
    return tl.load(weight + d * WIDTH + tap, mask=d < dim, other=0.0).to(tl.float32)


@triton.jit
def _before_silu(
    x,
    weight,
    bias,
    t,
    at: tl.constexpr,
    d,
    dim,
    length,
    x_row,
    WIDTH: tl.constexpr,
    SIGN: tl.constexpr,
):
    """Convolve at the positions ``t + SIGN * at``."""
    inside = d < dim
    if bias is None:
        total = tl.zeros(t.shape, tl.float32)
    else:
        total = tl.load(bias + d, mask=inside, other=0.0).to(tl.float32)
    for tap in tl.static_range(WIDTH):
        position = t + SIGN * (at + tap - (WIDTH - 1))
        total += _tap(weight, d, dim, tap, WIDTH) * load(x, position, x_row, inside, length)
    return total


@triton.jit
def forward(
    out,
    x,
    weight,
    bias,
    dim,
    length,
    x_row,
    WIDTH: tl.constexpr,
    SILU: tl.constexpr,
    SIGN: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """See :func:`memba_vision.ops.causal_conv1d`.

    Args:
        out: (batch, length, dim).
        x: (batch, length, dim), ``x_row`` numbers from one position to the next.
        weight: (dim, WIDTH).
        bias: (dim,), or None.
        dim, length: sizes.
        SILU: apply the SiLU.
        SIGN: 1 looks back, -1 looks ahead.
        BLOCK_C, BLOCK_D: positions and channels of a program.
    """
    sample, t, d, inside = block_of_program(dim, length, BLOCK_C, BLOCK_D)
    x += sample * length * x_row + d
    out += sample * length * dim + d
    value = _before_silu(x, weight, bias, t, 0, d, dim, length, x_row, WIDTH, SIGN)
    if SILU:
        value *= sigmoid(value)
    store(out, t, dim, value, inside, length)


@triton.jit
def _grad_before_silu(
    grad_out,
    x,
    weight,
    bias,
    t,
    at: tl.constexpr,
    d,
    dim,
    length,
    x_row,
    WIDTH: tl.constexpr,
    SILU: tl.constexpr,
    SIGN: tl.constexpr,
):
    """Return the gradient of what the SiLU got at the positions ``t + SIGN * at``."""
    grad = load(grad_out, t + SIGN * at, dim, d < dim, length)
    if SILU:
        value = _before_silu(x, weight, bias, t, at, d, dim, length, x_row, WIDTH, SIGN)
        open_share = sigmoid(value)
        grad *= open_share * (1.0 + value * (1.0 - open_share))
    return grad


@triton.jit
def backward(
    grad_x,
    grad_weight,
    grad_bias,
    grad_out,
    x,
    weight,
    bias,
    dim,
    length,
    x_row,
    WIDTH: tl.constexpr,
    SILU: tl.constexpr,
    SIGN: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Differentiate :func:`forward`.

    ``grad_weight``, (blocks, WIDTH, dim), and ``grad_bias``, (blocks, dim), both float32, take a
    share from each block of positions; they are None where nobody asks for them.
    """
    sample, t, d, inside = block_of_program(dim, length, BLOCK_C, BLOCK_D)
    x += sample * length * x_row + d
    grad_out += sample * length * dim + d
    grad_x += sample * length * dim + d
    total = tl.zeros((BLOCK_C, BLOCK_D), tl.float32)
    # fmt: off
    for tap in tl.static_range(WIDTH):
        grad = _grad_before_silu(
            grad_out, x, weight, bias, t, WIDTH - 1 - tap, d, dim, length, x_row, WIDTH, SILU, SIGN
        )
        total += _tap(weight, d, dim, tap, WIDTH) * grad
    # fmt: on
    store(grad_x, t, dim, total, inside, length)
    if grad_weight is not None or grad_bias is not None:
        block = (tl.program_id(0) // tl.cdiv(dim, BLOCK_D)).to(tl.int64)
        channels = tl.program_id(0) % tl.cdiv(dim, BLOCK_D) * BLOCK_D + tl.arange(0, BLOCK_D)
        grad = _grad_before_silu(
            grad_out, x, weight, bias, t, 0, d, dim, length, x_row, WIDTH, SILU, SIGN
        )
        if grad_bias is not None:
            tl.store(grad_bias + block * dim + channels, tl.sum(grad, axis=0), mask=channels < dim)
        if grad_weight is not None:
            for tap in tl.static_range(WIDTH):
                position = t + SIGN * (tap - (WIDTH - 1))
                share = tl.sum(grad * load(x, position, x_row, inside, length), axis=0)
                row = (block * WIDTH + tap) * dim
                tl.store(grad_weight + row + channels, share, mask=channels < dim)

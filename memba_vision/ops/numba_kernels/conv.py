"""The causal depthwise convolution with its SiLU, position by position: forward and backward.

Sequences are (batch, length, dim). Their rows lie ``dim`` or more numbers apart, and ``dim`` is at
least ``WIDTH``. The last block of channels may overlap the one before. They may be of bfloat16, and
are computed with in the precision of the filter.
"""

from memba_vision.ops.numba_kernels.gate import constants, sigmoid, silu_gradient
from memba_vision.ops.numba_kernels.jit import kernel, part
from memba_vision.ops.numba_kernels.layout import WIDTH
from memba_vision.ops.numba_kernels.simd import broadcast, load, store
from memba_vision.ops.numba_kernels.tiles import empty_rows, position


@part()
def convolve(x, weight, bias, sample, step, channel, reverse):
    """Return the filter's output at ``step``, a row from ``channel`` on."""
    width, length = weight.shape[0], x.shape[1]
    total = load(bias, (channel,))
    for lag in range(min(width, step + 1)):
        source = load(x, (sample, position(step - lag, length, reverse), channel))
        total = total + load(weight, (width - 1 - lag, channel)) * source
    return total


@kernel
def forward(first, last, out, x, weight, bias, silu, reverse):
    """Convolve samples ``first`` to ``last``.

    Args:
        first, last: the range of samples.
        out: result, (batch, length, dim).
        x: (batch, length, dim).
        weight: (width, dim).
        bias: (dim,).
        silu: apply the SiLU.
        reverse: convolve from the last position to the first.
    """
    length, dim = out.shape[1:]
    one, _, scale = constants(load(bias, (0,)))
    for sample in range(first, last):
        for step in range(length):
            t = position(step, length, reverse)
            for block in range(0, dim, WIDTH):
                channel = min(block, dim - WIDTH)
                row = convolve(x, weight, bias, sample, step, channel, reverse)
                if silu:
                    row = row * sigmoid(row, one, scale)
                store(out, (sample, t, channel), row)


@part()
def input_gradient(slopes, weight, step, length, block, channel):
    """Return the gradient of the input at ``step``.

    ``slopes`` is a ring buffer, (width * blocks, WIDTH), of the gradients of the last outputs.
    """
    width, blocks = weight.shape[0], slopes.shape[0] // weight.shape[0]
    total = broadcast(slopes.dtype.type(0))
    for lag in range(min(width, length - step)):
        slope = load(slopes, ((step + lag) % width * blocks + block, 0))
        total = total + load(weight, (width - 1 - lag, channel)) * slope
    return total


@part()
def add_products(sums, slope, x, weight, sample, step, block, channel, reverse):
    """Add the gradient of the filter from one output to ``sums``, (width * blocks, WIDTH)."""
    width, length = weight.shape[0], x.shape[1]
    blocks = sums.shape[0] // width
    for lag in range(min(width, step + 1)):
        source = load(x, (sample, position(step - lag, length, reverse), channel))
        at = (width - 1 - lag) * blocks + block, 0
        store(sums, at, load(sums, at) + slope * source)


@part()
def clear(rows):
    """Set all of (rows, WIDTH) to zero."""
    zero = broadcast(rows.dtype.type(0))
    for row in range(rows.shape[0]):
        store(rows, (row, 0), zero)


@part()
def write(target, sample, sums):
    """Write ``sums``, (rows * blocks, WIDTH), to a sample of ``target``, (batch, rows, dim)."""
    rows, dim = target.shape[1:]
    blocks = -(-dim // WIDTH)
    for row in range(rows):
        for block in range(blocks):
            channel = min(block * WIDTH, dim - WIDTH)
            store(target, (sample, row, channel), load(sums, (row * blocks + block, 0)))


@kernel
def backward(first, last, grad_x, grad_weight, grad_bias, grad_out, x, weight, bias, silu, reverse):
    """Compute the gradients of :func:`forward` for samples ``first`` to ``last``.

    Args:
        first, last: the range of samples.
        grad_x: (batch, length, dim).
        grad_weight: (batch, width, dim), receives each sample's part; empty if not needed.
        grad_bias: (batch, 1, dim), likewise.
        grad_out: (batch, length, dim).
        x, weight, bias, silu, reverse: as for :func:`forward`.
    """
    dtype = weight.dtype
    length, dim = grad_x.shape[1:]
    width, blocks = weight.shape[0], -(-dim // WIDTH)
    slopes = empty_rows(width * blocks, dtype)
    weight_sums, bias_sums = empty_rows(width * blocks, dtype), empty_rows(blocks, dtype)
    one, _, scale = constants(load(bias, (0,)))
    for sample in range(first, last):
        clear(weight_sums)
        clear(bias_sums)
        for step in range(length - 1, -1, -1):
            t = position(step, length, reverse)
            for block in range(blocks):
                channel = min(block * WIDTH, dim - WIDTH)
                slope = load(grad_out, (sample, t, channel))
                if silu:
                    row = convolve(x, weight, bias, sample, step, channel, reverse)
                    slope = slope * silu_gradient(row, sigmoid(row, one, scale), one)
                store(slopes, (step % width * blocks + block, 0), slope)
                row = input_gradient(slopes, weight, step, length, block, channel)
                store(grad_x, (sample, t, channel), row)
                if grad_weight.size:
                    add_products(
                        weight_sums, slope, x, weight, sample, step, block, channel, reverse
                    )
                if grad_bias.size:
                    store(bias_sums, (block, 0), load(bias_sums, (block, 0)) + slope)
        if grad_weight.size:
            write(grad_weight, sample, weight_sums)
        if grad_bias.size:
            write(grad_bias, sample, bias_sums)

"""The causal depthwise convolution with its SiLU, row by row: forward and backward."""

import numpy as np

from memba_vision.ops.numba_kernels.jit import kernel, part, widest_vectors
from memba_vision.ops.numba_kernels.maths import LOG2E, exp2


@part()
def position(step, length, reverse):
    """The position that is scanned at ``step``."""
    return length - 1 - step if reverse else step


@part()
def convolve(row, recent, weight, bias, step):
    """The filter's output at ``step`` into ``row``; ``recent`` is a ring of the last inputs."""
    width = weight.shape[0]
    for d in range(row.size):
        row[d] = bias[d]
    for lag in range(min(width, step + 1)):
        source = recent[(step - lag) % width]
        taps = weight[width - 1 - lag]
        for d in range(row.size):
            row[d] += taps[d] * source[d]


@part()
def apply_silu(row, scale):
    """``row * sigmoid(row)`` in place; ``scale`` is -log2(e) in the precision of the row."""
    for d in range(row.size):
        row[d] = row[d] / (exp2(row[d] * scale) + row.dtype.type(1))


@part()
def silu_gradient(row, grad, scale):
    """Replace ``row``, the input of a SiLU, by ``grad`` times the slope there."""
    one = row.dtype.type(1)
    for d in range(row.size):
        sigmoid = one / (exp2(row[d] * scale) + one)
        row[d] = grad[d] * sigmoid * (one + row[d] * (one - sigmoid))


@part()
def copy_row(target, source):
    """Copy a row of channels, whatever its stride."""
    for d in range(target.size):
        target[d] = source[d]


@part()
def add_product(target, first, second):
    """``target += first * second``, row by row."""
    for d in range(target.size):
        target[d] += first[d] * second[d]


@kernel
def forward(first, last, out, x, weight, bias, silu, reverse):
    """Convolve samples ``first`` to ``last``.

    Args:
        first, last: the range of samples.
        out: result, (batch, length, dim).
        x: (batch, length, dim), any strides.
        weight: (width, dim).
        bias: (dim,).
        silu: apply the SiLU.
        reverse: from the last position to the first.
    """
    widest_vectors()
    length, dim = out.shape[1:]
    recent = np.empty((weight.shape[0], dim), out.dtype)
    scale = out.dtype.type(-LOG2E)
    for sample in range(first, last):
        for step in range(length):
            at = position(step, length, reverse)
            copy_row(recent[step % weight.shape[0]], x[sample, at])
            convolve(out[sample, at], recent, weight, bias, step)
            if silu:
                apply_silu(out[sample, at], scale)


@kernel
def backward(first, last, grad_x, grad_weight, grad_bias, grad_out, x, weight, bias, silu, reverse):
    """Gradients of :func:`forward` for samples ``first`` to ``last``.

    Args:
        first, last: the range of samples.
        grad_x: (batch, length, dim).
        grad_weight: (batch, width, dim), zeros, takes each sample's part; may be empty.
        grad_bias: (batch, 1, dim), likewise.
        grad_out: (batch, length, dim), any strides.
        x, weight, bias, silu, reverse: as for :func:`forward`.
    """
    widest_vectors()
    length, dim = grad_x.shape[1:]
    width = weight.shape[0]
    recent = np.empty((width, dim), grad_x.dtype)
    row, grad = np.empty(dim, grad_x.dtype), np.empty(dim, grad_x.dtype)
    scale = grad_x.dtype.type(-LOG2E)
    for sample in range(first, last):
        grad_x[sample] = 0
        for step in range(length):
            at = position(step, length, reverse)
            copy_row(recent[step % width], x[sample, at])
            copy_row(grad, grad_out[sample, at])
            if silu:
                convolve(row, recent, weight, bias, step)
                silu_gradient(row, grad, scale)
            else:
                copy_row(row, grad)
            for lag in range(min(width, step + 1)):
                earlier = position(step - lag, length, reverse)
                add_product(grad_x[sample, earlier], row, weight[width - 1 - lag])
                if grad_weight.size:
                    source = recent[(step - lag) % width]
                    add_product(grad_weight[sample, width - 1 - lag], row, source)
            if grad_bias.size:
                for d in range(dim):
                    grad_bias[sample, 0, d] += row[d]

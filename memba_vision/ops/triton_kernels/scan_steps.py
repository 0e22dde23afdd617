"""Parts of the selective scan's forward and backward pass that read the inputs.

A block is (state, channels), one channel a lane of a warp: the states of a channel are then in the
registers of one thread, and sums over them need no exchange. Triton takes that layout where it
sees that channels lie side by side in memory, and not that four of them could be loaded at once: so
the offset ``zero``, unknown to it (`do_not_specialize`), is added to the addresses of blocks.
"""

import triton
import triton.language as tl

from memba_vision.ops.triton_kernels.maths import LOG2E, softplus


@triton.jit
def block_offsets(n, d, row, zero):
    """Return the offsets of a block in memory whose rows of channels are ``row`` numbers long."""
    return n[:, None] * row + d[None, :] + zero


@triton.jit
def load_decay_rate(A, n, d, dim, zero, mask):
    """Load A, (state, dim) in memory, in units of log2, (state, channels)."""
    rate = tl.load(A + block_offsets(n, d, dim, zero), mask=mask, other=0.0)
    return rate.to(tl.float32) * LOG2E


@triton.jit
def load_weight(weight, d, mask):
    """Load a weight per channel; zeros where there is none."""
    if weight is None:
        values = tl.zeros(d.shape, tl.float32)
    else:
        values = tl.load(weight + d, mask=mask, other=0.0).to(tl.float32)
    return values


@triton.jit
def within(t, length, mask):
    """Restrict ``mask`` to the steps of the scan: False past its end."""
    return mask & (tl.full(mask.shape, t, tl.int32) < length)


@triton.jit
def position_of(t, length, rows, reverse):
    """Return the position of the scan at step ``t``, in an image of ``rows`` rows."""
    t = length - 1 - t if reverse else t
    return t % rows * (length // rows) + t // rows


@triton.jit
def load_at(sequence, position, stride, mask):
    """Load the row at a position; zeros outside of ``mask``."""
    return tl.load(sequence + position * stride, mask=mask, other=0.0)


@triton.jit
def activate(raw, shift, SOFTPLUS: tl.constexpr):
    """Return the step size."""
    step = raw.to(tl.float32) + shift
    if SOFTPLUS:
        step = softplus(step)
    return step

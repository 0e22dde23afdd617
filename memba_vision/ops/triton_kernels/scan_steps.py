"""Parts of the selective scan's forward and backward pass that read the inputs.

A block is (state, channels), one channel a lane of a warp: the states of a channel are then in the
registers of one thread, and sums over them need no exchange. Triton would choose another layout
for what lies side by side in memory, so a stride of one is kept from it (`do_not_specialize`).
"""

import triton
import triton.language as tl

from memba_vision.ops.triton_kernels.maths import LOG2E, softplus


@triton.jit
def load_decay_rate(A, n, d, unit, STATE: tl.constexpr, mask):
    """Load A in units of log2, (state, channels)."""
    rate = tl.load(A + d[None, :] * STATE + n[:, None] * unit, mask=mask, other=0.0)
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

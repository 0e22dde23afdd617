"""The gate of a bidirectional mixer, forward and backward.

Sequences are rows of ``dim`` numbers; those of the gate may be part of wider rows, ``gate_row``
apart. ``updates`` has the rows of the forward direction, then those of the backward one.
"""

import triton
import triton.language as tl

from memba_vision.ops.triton_kernels.maths import sigmoid


@triton.jit
def _block_of_program(count, dim, BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr):
    """Return a program's rows (BLOCK_R, 1), channels (1, BLOCK_D), and their mask."""
    blocks = tl.cdiv(dim, BLOCK_D)
    row = (tl.program_id(0) // blocks * BLOCK_R + tl.arange(0, BLOCK_R))[:, None].to(tl.int64)
    d = (tl.program_id(0) % blocks * BLOCK_D + tl.arange(0, BLOCK_D))[None, :]
    return row, d, (row < count) & (d < dim)


@triton.jit
def _load(rows, offsets, inside):
    return tl.load(rows + offsets, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _store(rows, offsets, values, inside):
    tl.store(rows + offsets, values.to(rows.dtype.element_ty), mask=inside)


@triton.jit
def _slope(gate, open_share):
    """Return the derivative of the SiLU."""
    return open_share * (1.0 + gate * (1.0 - open_share))


@triton.jit
def forward(
    merged,
    forward_scan,
    backward_scan,
    gate,
    updates,
    count,
    dim,
    gate_row,
    BLOCK_R: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """See :func:`memba_vision.ops.gated_merge`; ``updates`` may be None, ``count`` is of rows."""
    row, d, inside = _block_of_program(count, dim, BLOCK_R, BLOCK_D)
    at = row * dim + d
    ahead, back = _load(forward_scan, at, inside), _load(backward_scan, at, inside)
    base = _load(gate, row * gate_row + d, inside)
    if updates is None:
        value = (ahead + back) * (base * sigmoid(base) * 0.5)
    else:
        first = base + _load(updates, at, inside)
        second = base + _load(updates, at + tl.cast(count, tl.int64) * dim, inside)
        value = (ahead * (first * sigmoid(first)) + back * (second * sigmoid(second))) * 0.5
    _store(merged, at, value, inside)


@triton.jit
def backward(
    grad_forward,
    grad_backward,
    grad_gate,
    grad_updates,
    grad_merged,
    forward_scan,
    backward_scan,
    gate,
    updates,
    count,
    dim,
    gate_row,
    BLOCK_R: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Differentiate :func:`forward`.

    Without ``updates`` the gradients of both scans are the same: ``grad_backward`` is None.
    """
    row, d, inside = _block_of_program(count, dim, BLOCK_R, BLOCK_D)
    at = row * dim + d
    half = _load(grad_merged, at, inside) * 0.5
    ahead, back = _load(forward_scan, at, inside), _load(backward_scan, at, inside)
    base = _load(gate, row * gate_row + d, inside)
    if updates is None:
        open_share = sigmoid(base)
        _store(grad_forward, at, half * base * open_share, inside)
        _store(grad_gate, at, half * (ahead + back) * _slope(base, open_share), inside)
    else:
        second_half = at + tl.cast(count, tl.int64) * dim
        first = base + _load(updates, at, inside)
        second = base + _load(updates, second_half, inside)
        open_first, open_second = sigmoid(first), sigmoid(second)
        _store(grad_forward, at, half * first * open_first, inside)
        _store(grad_backward, at, half * second * open_second, inside)
        grad_first = half * ahead * _slope(first, open_first)
        grad_second = half * back * _slope(second, open_second)
        _store(grad_updates, at, grad_first, inside)
        _store(grad_updates, second_half, grad_second, inside)
        _store(grad_gate, at, grad_first + grad_second, inside)

"""The gate of both scan directions behind their membranes, forward and backward.

Sequences are (batch, length, dim) in memory; those of ``z`` may be part of wider rows, ``z_row``
apart. Initial and mean potentials are (2 * batch, chunk, dim). A program takes one sample, a block
of positions in a chunk and a block of channels. The positions that follow each other chunk by chunk
are the same from both ends of the sequence, so one program serves both directions, one after the
other.
"""

import triton
import triton.language as tl

from memba_vision.ops.triton_kernels.maths import sigmoid
from memba_vision.ops.triton_kernels.membrane import (
    SEGMENT,
    block_of_program,
    differentiate_chunks,
    ends,
    integrate,
    integrate_chunks,
    load,
    load_initial,
    store,
    store_initial_gradient,
)


@triton.jit
def _merge(
    merged,
    half,
    mean,
    z,
    scan,
    initial,
    state,
    start,
    stride,
    dim,
    z_row,
    inside,
    length,
    num_chunks,
    leak,
    threshold,
    ADD: tl.constexpr,
):
    """Write one direction's half, or add it to the other's as the result; and its mean potential.

    The half is float32, so that the sum alone is rounded. Chunk i has the positions
    ``start + i * stride``; ``state`` is the offset in ``initial``.
    """
    potential = load_initial(initial, state, inside)
    total = tl.zeros(inside.shape, tl.float32)
    for number in range(num_chunks):
        position = start + number * stride
        current = load(z, position, z_row, inside, length)
        potential, _ = integrate(potential, current, leak, threshold)
        total += potential
        value = load(scan, position, dim, inside, length) * (potential * sigmoid(potential) * 0.5)
        if ADD:
            value += load(half, position, dim, inside, length)
            store(merged, position, dim, value, inside, length)
        else:
            store(half, position, dim, value, inside, length)
    tl.store(mean + state, total / num_chunks, mask=inside)


@triton.jit
def forward(
    merged,
    half,
    mean,
    z,
    forward_scan,
    backward_scan,
    initial,
    batch,
    dim,
    length,
    num_chunks,
    leak,
    threshold,
    z_row,
    BLOCK_C: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """See :func:`memba_vision.ops.membrane_gate`; sizes and settings follow the tensors.

    ``half`` is memory to work in, float32 of the shape of the result; it may be that itself.
    """
    chunk = tl.cdiv(length, num_chunks)
    sample, c, d, inside = block_of_program(dim, chunk, BLOCK_C, BLOCK_D)
    first, last, state, mirrored = ends(batch, dim, length, chunk, sample, c, d)
    offset = sample * length * dim + d
    merged += offset
    half += offset
    forward_scan += offset
    backward_scan += offset
    z += sample * length * z_row + d
    # fmt: off
    _merge(
        merged, half, mean, z, forward_scan, initial, state, first, chunk, dim, z_row,
        inside, length, num_chunks, leak, threshold, ADD=False,
    )
    tl.debug_barrier()
    _merge(
        merged, half, mean, z, backward_scan, initial, mirrored, last, -chunk, dim, z_row,
        inside, length, num_chunks, leak, threshold, ADD=True,
    )
    # fmt: on


@triton.jit
def _differentiate(
    grad_z,
    earlier,
    grad_scan,
    grad_initial,
    scratch,
    grad_merged,
    grad_mean,
    z,
    scan,
    initial,
    state,
    start,
    stride,
    dim,
    z_row,
    inside,
    length,
    num_chunks,
    leak,
    threshold,
    ADD: tl.constexpr,
):
    """Differentiate :func:`_merge`; with ``ADD``, the gradient of z gets the earlier one added.

    For each segment of chunks, the way forward finds the potentials and the gradient of the scan,
    and stores the gradient of the potentials, as gates, in ``scratch``. The way back goes along the
    membrane.
    """
    share = tl.load(grad_mean + state, mask=inside, other=0.0) / num_chunks
    at_start = load_initial(initial, state, inside)
    grad = tl.zeros(inside.shape, tl.float32)
    segments = tl.cdiv(num_chunks, SEGMENT)
    for from_end in range(segments):
        first = (segments - 1 - from_end) * SEGMENT
        count = tl.minimum(SEGMENT, num_chunks - first)
        potential = integrate_chunks(
            at_start, z, start, stride, z_row, first, inside, length, leak, threshold
        )
        resets = tl.zeros(inside.shape, tl.int32)
        for bit in range(count):
            position = start + (first + bit) * stride
            current = load(z, position, z_row, inside, length)
            potential, reset = integrate(potential, current, leak, threshold)
            resets |= reset.to(tl.int32) << bit
            half = load(grad_merged, position, dim, inside, length) * 0.5
            value = load(scan, position, dim, inside, length)
            open_share = sigmoid(potential)
            store(grad_scan, position, dim, half * potential * open_share, inside, length)
            slope = open_share * (1.0 + potential * (1.0 - open_share))
            store(scratch, position, dim, half * value * slope, inside, length)
        tl.debug_barrier()
        grad = differentiate_chunks(
            grad,
            resets,
            grad_z,
            earlier,
            scratch,
            share,
            start,
            stride,
            dim,
            first,
            count,
            inside,
            length,
            leak,
            ADD,
        )
        tl.debug_barrier()
    store_initial_gradient(grad_initial, state, leak * grad, inside)


@triton.jit
def backward(
    grad_z,
    half,
    grad_forward,
    grad_backward,
    grad_initial,
    scratch,
    grad_merged,
    grad_mean,
    z,
    forward_scan,
    backward_scan,
    initial,
    batch,
    dim,
    length,
    num_chunks,
    leak,
    threshold,
    z_row,
    BLOCK_C: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Differentiate :func:`forward`.

    ``half`` and ``scratch`` are memory to work in, float32 (batch, length, dim); ``half`` may be
    ``grad_z`` itself. ``grad_initial`` is None if it is not needed.
    """
    chunk = tl.cdiv(length, num_chunks)
    sample, c, d, inside = block_of_program(dim, chunk, BLOCK_C, BLOCK_D)
    first, last, state, mirrored = ends(batch, dim, length, chunk, sample, c, d)
    offset = sample * length * dim + d
    grad_z += offset
    half += offset
    grad_forward += offset
    grad_backward += offset
    scratch += offset
    grad_merged += offset
    forward_scan += offset
    backward_scan += offset
    z += sample * length * z_row + d
    # fmt: off
    _differentiate(
        half, None, grad_forward, grad_initial, scratch, grad_merged, grad_mean, z, forward_scan,
        initial, state, first, chunk, dim, z_row, inside, length, num_chunks, leak, threshold,
        ADD=False,
    )
    _differentiate(
        grad_z, half, grad_backward, grad_initial, scratch, grad_merged, grad_mean, z,
        backward_scan, initial, mirrored, last, -chunk, dim, z_row, inside, length, num_chunks,
        leak, threshold,
        ADD=True,
    )
    # fmt: on

"""The gate of both scan directions behind their membranes, forward and backward.

A program takes one sample, a block of positions in a chunk and a block of channels. The positions
that follow each other chunk by chunk are the same from both ends of the sequence, so one program
serves both directions, one after the other.
"""

import triton
import triton.language as tl

from memba_vision.ops.triton_kernels.maths import sigmoid
from memba_vision.ops.triton_kernels.membrane import SEGMENT, integrate, load_initial, place


@triton.jit
def _last(c, length, chunk):
    """The last of the positions c, c + chunk, c + 2 * chunk, ... in the sequence."""
    return c + (length - 1 - c) // chunk * chunk


@triton.jit
def _merge(
    merged,
    z,
    scan,
    potential,
    start,
    stride,
    merged_position,
    z_position,
    scan_position,
    inside,
    length,
    num_chunks,
    leak,
    threshold,
    ADD: tl.constexpr,
):
    """Write one direction's half of the result, or add it; returns the mean potential."""
    total = tl.zeros(inside.shape, tl.float32)
    for number in range(num_chunks):
        position = start + number * stride
        mask = inside & (position >= 0) & (position < length)
        current = tl.load(z + position * z_position, mask=mask, other=0.0)
        potential, _ = integrate(potential, current, leak, threshold)
        total += potential
        value = tl.load(scan + position * scan_position, mask=mask, other=0.0).to(tl.float32)
        value *= potential * sigmoid(potential) * 0.5
        if ADD:
            other = tl.load(merged + position * merged_position, mask=mask, other=0.0)
            value += other.to(tl.float32)
        value = value.to(merged.dtype.element_ty)
        tl.store(merged + position * merged_position, value, mask=mask)
    return total / num_chunks


@triton.jit
def forward(
    merged,
    mean,
    z,
    forward_scan,
    backward_scan,
    initial,
    batch,
    dim,
    length,
    num_chunks,
    chunk,
    leak,
    threshold,
    merged_batch,
    merged_channel,
    merged_position,
    mean_batch,
    mean_channel,
    mean_position,
    z_batch,
    z_channel,
    z_position,
    forward_batch,
    forward_channel,
    forward_position,
    backward_batch,
    backward_channel,
    backward_position,
    initial_batch,
    initial_channel,
    initial_position,
    BLOCK_C: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """See :func:`memba_vision.ops.membrane_gate`; after the tensors come sizes and strides."""
    sample, c, d = place(dim, chunk, BLOCK_C, BLOCK_D)
    inside = (c < chunk) & (d < dim)
    last = _last(c, length, chunk)
    mirrored = length - 1 - last
    merged += sample * merged_batch + d * merged_channel
    z += sample * z_batch + d * z_channel
    forward_scan += sample * forward_batch + d * forward_channel
    backward_scan += sample * backward_batch + d * backward_channel
    initial_at = sample * initial_batch + c * initial_position + d * initial_channel
    mirrored_at = (sample + batch) * initial_batch + mirrored * initial_position
    mirrored_at += d * initial_channel

    mean_forward = _merge(
        merged,
        z,
        forward_scan,
        load_initial(initial, initial_at, inside),
        c,
        chunk,
        merged_position,
        z_position,
        forward_position,
        inside,
        length,
        num_chunks,
        leak,
        threshold,
        ADD=False,
    )
    tl.debug_barrier()
    mean_backward = _merge(
        merged,
        z,
        backward_scan,
        load_initial(initial, mirrored_at, inside),
        last,
        -chunk,
        merged_position,
        z_position,
        backward_position,
        inside,
        length,
        num_chunks,
        leak,
        threshold,
        ADD=True,
    )
    mean += d * mean_channel
    tl.store(mean + sample * mean_batch + c * mean_position, mean_forward, mask=inside)
    mean += (sample + batch) * mean_batch
    tl.store(mean + mirrored * mean_position, mean_backward, mask=inside)


@triton.jit
def _differentiate(
    grad_z,
    grad_scan,
    pending,
    grad_merged,
    share,
    z,
    scan,
    initial,
    start,
    stride,
    grad_z_position,
    grad_scan_position,
    pending_position,
    grad_merged_position,
    z_position,
    scan_position,
    inside,
    length,
    num_chunks,
    leak,
    threshold,
    ADD: tl.constexpr,
):
    """Take one direction back; returns the gradient of its initial potential.

    Per segment of chunks: forward, to find the potentials, the gradient of the scan and, noted in
    ``pending``, the potential's own gradient; then back along the membrane.
    """
    grad = tl.zeros(inside.shape, tl.float32)
    segments = tl.cdiv(num_chunks, SEGMENT)
    for from_end in range(segments):
        first = (segments - 1 - from_end) * SEGMENT
        count = tl.minimum(SEGMENT, num_chunks - first)
        potential = initial
        for number in range(first):
            position = start + number * stride
            mask = inside & (position >= 0) & (position < length)
            current = tl.load(z + position * z_position, mask=mask, other=0.0)
            potential, _ = integrate(potential, current, leak, threshold)
        resets = tl.zeros(inside.shape, tl.int32)
        for bit in range(count):
            position = start + (first + bit) * stride
            mask = inside & (position >= 0) & (position < length)
            current = tl.load(z + position * z_position, mask=mask, other=0.0)
            potential, reset = integrate(potential, current, leak, threshold)
            resets |= reset.to(tl.int32) << bit
            half = tl.load(grad_merged + position * grad_merged_position, mask=mask, other=0.0)
            half = half.to(tl.float32) * 0.5
            value = tl.load(scan + position * scan_position, mask=mask, other=0.0).to(tl.float32)
            open_share = sigmoid(potential)
            grad_value = (half * potential * open_share).to(grad_scan.dtype.element_ty)
            tl.store(grad_scan + position * grad_scan_position, grad_value, mask=mask)
            slope = open_share * (1.0 + potential * (1.0 - open_share))
            own = (half * value * slope).to(pending.dtype.element_ty)
            tl.store(pending + position * pending_position, own, mask=mask)
        tl.debug_barrier()
        for back in range(count):
            bit = count - 1 - back
            position = start + (first + bit) * stride
            mask = inside & (position >= 0) & (position < length)
            own = tl.load(pending + position * pending_position, mask=mask, other=0.0)
            grad = leak * grad + share + own.to(tl.float32)
            grad = tl.where((resets >> bit) & 1 != 0, 0.0, grad)
            value = grad
            if ADD:
                other = tl.load(grad_z + position * grad_z_position, mask=mask, other=0.0)
                value += other.to(tl.float32)
            value = value.to(grad_z.dtype.element_ty)
            tl.store(grad_z + position * grad_z_position, value, mask=mask)
        tl.debug_barrier()
    return leak * grad


@triton.jit
def backward(
    grad_z,
    grad_forward,
    grad_backward,
    grad_initial,
    pending,
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
    chunk,
    leak,
    threshold,
    grad_z_batch,
    grad_z_channel,
    grad_z_position,
    grad_forward_batch,
    grad_forward_channel,
    grad_forward_position,
    grad_backward_batch,
    grad_backward_channel,
    grad_backward_position,
    grad_initial_batch,
    grad_initial_channel,
    grad_initial_position,
    pending_batch,
    pending_channel,
    pending_position,
    grad_merged_batch,
    grad_merged_channel,
    grad_merged_position,
    grad_mean_batch,
    grad_mean_channel,
    grad_mean_position,
    z_batch,
    z_channel,
    z_position,
    forward_batch,
    forward_channel,
    forward_position,
    backward_batch,
    backward_channel,
    backward_position,
    initial_batch,
    initial_channel,
    initial_position,
    BLOCK_C: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Differentiate :func:`forward`; ``pending`` is (batch, dim, length) to work in.

    ``grad_initial`` is None where nobody asks for it.
    """
    sample, c, d = place(dim, chunk, BLOCK_C, BLOCK_D)
    inside = (c < chunk) & (d < dim)
    last = _last(c, length, chunk)
    mirrored = length - 1 - last
    grad_z += sample * grad_z_batch + d * grad_z_channel
    grad_forward += sample * grad_forward_batch + d * grad_forward_channel
    grad_backward += sample * grad_backward_batch + d * grad_backward_channel
    pending += sample * pending_batch + d * pending_channel
    grad_merged += sample * grad_merged_batch + d * grad_merged_channel
    z += sample * z_batch + d * z_channel
    forward_scan += sample * forward_batch + d * forward_channel
    backward_scan += sample * backward_batch + d * backward_channel
    initial_at = sample * initial_batch + c * initial_position + d * initial_channel
    mirrored_at = (sample + batch) * initial_batch + mirrored * initial_position
    mirrored_at += d * initial_channel
    grad_mean += d * grad_mean_channel
    mean_at = sample * grad_mean_batch + c * grad_mean_position
    share = tl.load(grad_mean + mean_at, mask=inside, other=0.0) / num_chunks
    mean_at = (sample + batch) * grad_mean_batch + mirrored * grad_mean_position
    mirrored_share = tl.load(grad_mean + mean_at, mask=inside, other=0.0) / num_chunks

    grad_start = _differentiate(
        grad_z,
        grad_forward,
        pending,
        grad_merged,
        share,
        z,
        forward_scan,
        load_initial(initial, initial_at, inside),
        c,
        chunk,
        grad_z_position,
        grad_forward_position,
        pending_position,
        grad_merged_position,
        z_position,
        forward_position,
        inside,
        length,
        num_chunks,
        leak,
        threshold,
        ADD=False,
    )
    grad_mirrored_start = _differentiate(
        grad_z,
        grad_backward,
        pending,
        grad_merged,
        mirrored_share,
        z,
        backward_scan,
        load_initial(initial, mirrored_at, inside),
        last,
        -chunk,
        grad_z_position,
        grad_backward_position,
        pending_position,
        grad_merged_position,
        z_position,
        backward_position,
        inside,
        length,
        num_chunks,
        leak,
        threshold,
        ADD=True,
    )
    if grad_initial is not None:
        grad_initial += d * grad_initial_channel
        at = sample * grad_initial_batch + c * grad_initial_position
        tl.store(grad_initial + at, grad_start.to(grad_initial.dtype.element_ty), mask=inside)
        at = (sample + batch) * grad_initial_batch + mirrored * grad_initial_position
        grad_start = grad_mirrored_start.to(grad_initial.dtype.element_ty)
        tl.store(grad_initial + at, grad_start, mask=inside)

"""The membranes of both scan directions, alone and with the gate that they open.

Sequences are (batch, length, dim) and what travels from block to block is (2 * batch, chunk, dim),
the forward directions first, in scan order; rows lie ``dim`` or more numbers apart and ``dim`` is
``WIDTH`` at the least.

The recurrence runs from chunk to chunk, so the positions c, c + chunk, c + 2 chunk, … are a column
that has nothing to do with the others. A column of the backward direction has the same positions
the other way round. Both are worked on at once: each row of an array is read and written once, in
the order in which it lies in memory. An item is a column of a sample; within it, the last block of
channels may overlap the one before and writes the same there.
"""

from memba_vision.ops.numba_kernels.gate import constants, sigmoid, silu_gradient
from memba_vision.ops.numba_kernels.jit import kernel, part, widest_vectors
from memba_vision.ops.numba_kernels.layout import WIDTH
from memba_vision.ops.numba_kernels.simd import drop_above, load, spread, store
from memba_vision.ops.numba_kernels.tiles import empty_rows


@part()
def column(item, length, chunk):
    """Sample, column, number of its positions, and the backward direction's column of the same."""
    sample, c = item // chunk, item % chunk
    return sample, c, (length - c + chunk - 1) // chunk, (length - 1 - c) % chunk


@part()
def charge(tile, current, initial, place, channel, num_chunks, leak, threshold):
    """Fill ``tile``, (2 * num_chunks, WIDTH), with the potentials before their reset.

    Rows are in scan order, those of the forward direction first; ``place`` is a :func:`column`.
    """
    sample, c, count, mirrored = place
    batch, chunk = current.shape[0], initial.shape[1]
    leaks = spread(leak)
    forward = load(initial, (sample, c, channel))
    backward = load(initial, (batch + sample, mirrored, channel))
    for i in range(num_chunks):
        forward, backward = leaks * forward, leaks * backward
        if i < count:
            forward = forward + load(current, (sample, c + i * chunk, channel))
            backward = backward + load(current, (sample, c + (count - 1 - i) * chunk, channel))
        store(tile, (i, 0), forward)
        store(tile, (num_chunks + i, 0), backward)
        forward = drop_above(forward, threshold, forward)
        backward = drop_above(backward, threshold, backward)


@part()
def released(tile, row, threshold):
    """A row of potentials after the reset."""
    potential = load(tile, (row, 0))
    return drop_above(potential, threshold, potential)


@part()
def store_means(mean, tile, place, channel, num_chunks, threshold):
    """Write the mean over chunks of the potentials after the reset, of both directions."""
    sample, c, _, mirrored = place
    share = spread(tile.dtype.type(1 / num_chunks))
    forward = backward = spread(tile.dtype.type(0))
    for i in range(num_chunks):
        forward = forward + released(tile, i, threshold)
        backward = backward + released(tile, num_chunks + i, threshold)
    store(mean, (sample, c, channel), forward * share)
    store(mean, (mean.shape[0] // 2 + sample, mirrored, channel), backward * share)


@part()
def discharge(grads, tile, grad_initial, grad_mean, place, channel, num_chunks, leak, threshold):
    """From the gradients of the potentials to those of the current, in place, and of the start.

    ``grads`` is laid out as ``tile``; what it holds behind a column's last position is not read.
    """
    sample, c, count, mirrored = place
    batch = grad_mean.shape[0] // 2
    leaks, share = spread(leak), spread(tile.dtype.type(1 / num_chunks))
    for way in range(2):
        at = way * batch + sample, mirrored if way else c, channel
        through_mean = load(grad_mean, at) * share
        carry = spread(tile.dtype.type(0))
        for i in range(num_chunks - 1, -1, -1):
            row = way * num_chunks + i, 0
            grad = through_mean + carry
            if i < count:
                grad = grad + load(grads, row)
            grad = drop_above(load(tile, row), threshold, grad)
            store(grads, row, grad)
            carry = leaks * grad
        store(grad_initial, at, carry)


@part()
def store_current(grad_current, grads, place, channel, num_chunks, chunk):
    """Write the gradients of the current, which both directions get."""
    sample, c, count, _ = place
    for i in range(count):
        backward = load(grads, (num_chunks + count - 1 - i, 0))
        store(grad_current, (sample, c + i * chunk, channel), load(grads, (i, 0)) + backward)


@kernel
def integrate(first, last, potentials, mean, current, initial, num_chunks, leak, threshold):
    """Write ``potentials``, (2, batch, length, dim) in image order, and ``mean``."""
    widest_vectors()
    length, dim = current.shape[1:]
    chunk = initial.shape[1]
    tile = empty_rows(2 * num_chunks, current.dtype)
    for item in range(first, last):
        place = column(item, length, chunk)
        sample, c, count, _ = place
        for block in range(0, dim, WIDTH):
            channel = min(block, dim - WIDTH)
            charge(tile, current, initial, place, channel, num_chunks, leak, threshold)
            for i in range(count):
                p = c + i * chunk
                backward = released(tile, num_chunks + count - 1 - i, threshold)
                store(potentials, (0, sample, p, channel), released(tile, i, threshold))
                store(potentials, (1, sample, p, channel), backward)
            store_means(mean, tile, place, channel, num_chunks, threshold)


@kernel
def integrate_backward(
    first,
    last,
    grad_current,
    grad_initial,
    grad_potentials,
    grad_mean,
    current,
    initial,
    num_chunks,
    leak,
    threshold,
):
    """Gradients of :func:`integrate`."""
    widest_vectors()
    length, dim = current.shape[1:]
    chunk = initial.shape[1]
    settings = num_chunks, leak, threshold
    tile = empty_rows(2 * num_chunks, current.dtype)
    grads = empty_rows(2 * num_chunks, current.dtype)
    for item in range(first, last):
        place = column(item, length, chunk)
        sample, c, count, _ = place
        for block in range(0, dim, WIDTH):
            channel = min(block, dim - WIDTH)
            charge(tile, current, initial, place, channel, *settings)
            for i in range(count):
                p = c + i * chunk
                store(grads, (i, 0), load(grad_potentials, (0, sample, p, channel)))
                backward = load(grad_potentials, (1, sample, p, channel))
                store(grads, (num_chunks + count - 1 - i, 0), backward)
            discharge(grads, tile, grad_initial, grad_mean, place, channel, *settings)
            store_current(grad_current, grads, place, channel, num_chunks, chunk)


@kernel
def gate(
    first,
    last,
    out,
    mean,
    z,
    forward_scan,
    backward_scan,
    initial,
    num_chunks,
    leak,
    threshold,
):
    """Write the gated mean of both scans, laid out as ``z``, and ``mean``."""
    widest_vectors()
    length, dim = z.shape[1:]
    chunk = initial.shape[1]
    one, half, scale = constants(z.dtype)
    tile = empty_rows(2 * num_chunks, z.dtype)
    for item in range(first, last):
        place = column(item, length, chunk)
        sample, c, count, _ = place
        for block in range(0, dim, WIDTH):
            channel = min(block, dim - WIDTH)
            charge(tile, z, initial, place, channel, num_chunks, leak, threshold)
            for i in range(count):
                at = sample, c + i * chunk, channel
                u = released(tile, i, threshold)
                v = released(tile, num_chunks + count - 1 - i, threshold)
                forward = load(forward_scan, at) * u * sigmoid(u, one, scale)
                backward = load(backward_scan, at) * v * sigmoid(v, one, scale)
                store(out, at, half * (forward + backward))
            store_means(mean, tile, place, channel, num_chunks, threshold)


@kernel
def gate_backward(
    first,
    last,
    grad_z,
    grad_forward_scan,
    grad_backward_scan,
    grad_initial,
    grad_out,
    grad_mean,
    z,
    forward_scan,
    backward_scan,
    initial,
    num_chunks,
    leak,
    threshold,
):
    """Gradients of :func:`gate`."""
    widest_vectors()
    length, dim = z.shape[1:]
    chunk = initial.shape[1]
    settings = num_chunks, leak, threshold
    one, half, scale = constants(z.dtype)
    tile = empty_rows(2 * num_chunks, z.dtype)
    grads = empty_rows(2 * num_chunks, z.dtype)
    for item in range(first, last):
        place = column(item, length, chunk)
        sample, c, count, _ = place
        for block in range(0, dim, WIDTH):
            channel = min(block, dim - WIDTH)
            charge(tile, z, initial, place, channel, *settings)
            for i in range(count):
                at, mirror = (sample, c + i * chunk, channel), num_chunks + count - 1 - i
                u, v = released(tile, i, threshold), released(tile, mirror, threshold)
                s, r = sigmoid(u, one, scale), sigmoid(v, one, scale)
                g = half * load(grad_out, at)
                store(grad_forward_scan, at, g * u * s)
                store(grad_backward_scan, at, g * v * r)
                store(grads, (i, 0), g * load(forward_scan, at) * silu_gradient(u, s, one))
                store(grads, (mirror, 0), g * load(backward_scan, at) * silu_gradient(v, r, one))
            discharge(grads, tile, grad_initial, grad_mean, place, channel, *settings)
            store_current(grad_z, grads, place, channel, num_chunks, chunk)

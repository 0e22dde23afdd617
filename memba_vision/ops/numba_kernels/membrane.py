"""The membranes of both scan directions, alone and with the gate that they open.

Sequences are (batch, length, dim). Initial and mean potentials are (2 * batch, chunk, dim), in scan
order, the forward directions first. Rows lie ``dim`` or more numbers apart, and ``dim`` is at least
``WIDTH``. ``settings`` are (num_chunks, leak, threshold). Sequences may be of bfloat16; all else
is of the precision that kernels compute in.

The recurrence runs from chunk to chunk, so the positions c, c + chunk, c + 2 chunk, … form a column
that is independent of the others. The backward direction has the same columns in reverse order. A
kernel integrates a column in both directions at once: each row of an array is read and written
once, in the order of memory. An item is a column of a sample. Within it, the last block of channels
may overlap the one before, and then writes the same numbers there.
"""

from memba_vision.ops.numba_kernels.gate import constants, sigmoid, silu_gradient
from memba_vision.ops.numba_kernels.jit import kernel, part
from memba_vision.ops.numba_kernels.layout import WIDTH
from memba_vision.ops.numba_kernels.simd import broadcast, load, masked_fill, store
from memba_vision.ops.numba_kernels.tiles import empty_rows


@part()
def column_of(item, length, chunk):
    """Return the sample, the column, its number of positions, and its number from the other end."""
    sample, c = item // chunk, item % chunk
    return sample, c, (length - c + chunk - 1) // chunk, (length - 1 - c) % chunk


@part()
def integrate_column(tile, current, initial, column, channel, settings):
    """Fill ``tile``, (2 * num_chunks, WIDTH), with the potentials before their reset.

    Rows are in scan order, those of the forward direction first.
    """
    num_chunks, leak, threshold = settings
    sample, c, count, mirrored = column
    batch, chunk = current.shape[0], initial.shape[1]
    leaks = broadcast(leak)
    forward = load(initial, (sample, c, channel))
    backward = load(initial, (batch + sample, mirrored, channel))
    for i in range(num_chunks):
        forward, backward = leaks * forward, leaks * backward
        if i < count:
            forward = forward + load(current, (sample, c + i * chunk, channel))
            backward = backward + load(current, (sample, c + (count - 1 - i) * chunk, channel))
        store(tile, (i, 0), forward)
        store(tile, (num_chunks + i, 0), backward)
        forward = masked_fill(forward, forward, threshold)
        backward = masked_fill(backward, backward, threshold)


@part()
def after_reset(tile, row, settings):
    """Return a row of potentials after the reset."""
    potential = load(tile, (row, 0))
    return masked_fill(potential, potential, settings[2])


@part()
def store_means(mean, tile, column, channel, settings):
    """Write the mean over chunks of the potentials after the reset, of both directions."""
    num_chunks = settings[0]
    sample, c, _, mirrored = column
    share = broadcast(tile.dtype.type(1 / num_chunks))
    forward = backward = broadcast(tile.dtype.type(0))
    for i in range(num_chunks):
        forward = forward + after_reset(tile, i, settings)
        backward = backward + after_reset(tile, num_chunks + i, settings)
    store(mean, (sample, c, channel), forward * share)
    store(mean, (mean.shape[0] // 2 + sample, mirrored, channel), backward * share)


@part()
def differentiate_column(grads, tile, grad_initial, grad_mean, column, channel, settings):
    """Turn the gradients of the potentials into those of the current, in place.

    Also writes the gradients of the initial potentials. ``grads`` has the rows of ``tile``; those
    after a column's last position are not read.
    """
    num_chunks, leak, threshold = settings
    sample, c, count, mirrored = column
    batch = grad_mean.shape[0] // 2
    leaks, share = broadcast(leak), broadcast(tile.dtype.type(1 / num_chunks))
    for way in range(2):
        at = way * batch + sample, mirrored if way else c, channel
        through_mean = load(grad_mean, at) * share
        carry = broadcast(tile.dtype.type(0))
        for i in range(num_chunks - 1, -1, -1):
            row = way * num_chunks + i, 0
            grad = through_mean + carry
            if i < count:
                grad = grad + load(grads, row)
            grad = masked_fill(grad, load(tile, row), threshold)
            store(grads, row, grad)
            carry = leaks * grad
        store(grad_initial, at, carry)


@part()
def store_current_gradient(grad_current, grads, column, channel, chunk, settings):
    """Write the gradients of the current, summed over both directions."""
    sample, c, count, _ = column
    for i in range(count):
        backward = load(grads, (settings[0] + count - 1 - i, 0))
        store(grad_current, (sample, c + i * chunk, channel), load(grads, (i, 0)) + backward)


@kernel
def integrate(first, last, potentials, mean, current, initial, settings):
    """Write ``potentials``, (2, batch, length, dim) in image order, and ``mean``."""
    length, dim = current.shape[1:]
    chunk, num_chunks = initial.shape[1], settings[0]
    tile = empty_rows(2 * num_chunks, initial.dtype)
    for item in range(first, last):
        column = column_of(item, length, chunk)
        sample, c, count, _ = column
        for block in range(0, dim, WIDTH):
            channel = min(block, dim - WIDTH)
            integrate_column(tile, current, initial, column, channel, settings)
            for i in range(count):
                p = c + i * chunk
                backward = after_reset(tile, num_chunks + count - 1 - i, settings)
                store(potentials, (0, sample, p, channel), after_reset(tile, i, settings))
                store(potentials, (1, sample, p, channel), backward)
            store_means(mean, tile, column, channel, settings)


@kernel
def integrate_backward(
    first, last, grad_current, grad_initial, grad_potentials, grad_mean, current, initial, settings
):
    """Compute the gradients of :func:`integrate`."""
    length, dim = current.shape[1:]
    chunk, num_chunks = initial.shape[1], settings[0]
    tile = empty_rows(2 * num_chunks, initial.dtype)
    grads = empty_rows(2 * num_chunks, initial.dtype)
    for item in range(first, last):
        column = column_of(item, length, chunk)
        sample, c, count, _ = column
        for block in range(0, dim, WIDTH):
            channel = min(block, dim - WIDTH)
            integrate_column(tile, current, initial, column, channel, settings)
            for i in range(count):
                p = c + i * chunk
                store(grads, (i, 0), load(grad_potentials, (0, sample, p, channel)))
                backward = load(grad_potentials, (1, sample, p, channel))
                store(grads, (num_chunks + count - 1 - i, 0), backward)
            differentiate_column(grads, tile, grad_initial, grad_mean, column, channel, settings)
            store_current_gradient(grad_current, grads, column, channel, chunk, settings)


@kernel
def gate(first, last, out, mean, z, forward_scan, backward_scan, initial, settings):
    """Write the gated mean of both scans, in the shape of ``z``, and ``mean``."""
    length, dim = z.shape[1:]
    chunk, num_chunks = initial.shape[1], settings[0]
    one, half, scale = constants(load(initial, (0, 0, 0)))
    tile = empty_rows(2 * num_chunks, initial.dtype)
    for item in range(first, last):
        column = column_of(item, length, chunk)
        sample, c, count, _ = column
        for block in range(0, dim, WIDTH):
            channel = min(block, dim - WIDTH)
            integrate_column(tile, z, initial, column, channel, settings)
            for i in range(count):
                at = sample, c + i * chunk, channel
                u = after_reset(tile, i, settings)
                v = after_reset(tile, num_chunks + count - 1 - i, settings)
                forward = load(forward_scan, at) * u * sigmoid(u, one, scale)
                backward = load(backward_scan, at) * v * sigmoid(v, one, scale)
                store(out, at, half * (forward + backward))
            store_means(mean, tile, column, channel, settings)


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
    settings,
):
    """Compute the gradients of :func:`gate`."""
    length, dim = z.shape[1:]
    chunk, num_chunks = initial.shape[1], settings[0]
    one, half, scale = constants(load(initial, (0, 0, 0)))
    tile = empty_rows(2 * num_chunks, initial.dtype)
    grads = empty_rows(2 * num_chunks, initial.dtype)
    for item in range(first, last):
        column = column_of(item, length, chunk)
        sample, c, count, _ = column
        for block in range(0, dim, WIDTH):
            channel = min(block, dim - WIDTH)
            integrate_column(tile, z, initial, column, channel, settings)
            for i in range(count):
                at, mirror = (sample, c + i * chunk, channel), num_chunks + count - 1 - i
                u, v = after_reset(tile, i, settings), after_reset(tile, mirror, settings)
                s, r = sigmoid(u, one, scale), sigmoid(v, one, scale)
                g = half * load(grad_out, at)
                store(grad_forward_scan, at, g * u * s)
                store(grad_backward_scan, at, g * v * r)
                store(grads, (i, 0), g * load(forward_scan, at) * silu_gradient(u, s, one))
                store(grads, (mirror, 0), g * load(backward_scan, at) * silu_gradient(v, r, one))
            differentiate_column(grads, tile, grad_initial, grad_mean, column, channel, settings)
            store_current_gradient(grad_z, grads, column, channel, chunk, settings)

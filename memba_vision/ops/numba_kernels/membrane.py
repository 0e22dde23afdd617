"""The membranes of both scan directions, alone and with the gate that they open.

Sequences are (batch, length, dim) and what travels from block to block is (2 * batch, chunk, dim),
the forward directions first, in scan order; rows lie ``dim`` or more numbers apart and ``dim`` is
``WIDTH`` at the least. Work is cut into items, ``parts`` of a sample's blocks of channels each. The
last block may overlap the one before and writes the same there: one item has both, then.
"""

from memba_vision.ops.numba_kernels.gate import constants, sigmoid, silu_gradient
from memba_vision.ops.numba_kernels.jit import kernel, part, widest_vectors
from memba_vision.ops.numba_kernels.layout import WIDTH
from memba_vision.ops.numba_kernels.simd import drop_above, load, spread, store
from memba_vision.ops.numba_kernels.tiles import empty_rows, position


@part()
def charge(tile, current, initial, at, num_chunks, leak, threshold, reverse):
    """Fill ``tile``, (num_chunks, WIDTH), with the potentials before their reset.

    ``at`` is the sample, the row of the state, the position in the chunk and the first channel.
    """
    sample, state_row, c, channel = at
    length, chunk = current.shape[1], initial.shape[1]
    leaks = spread(leak)
    potential = load(initial, (state_row, c, channel))
    for i in range(num_chunks):
        potential = leaks * potential
        t = i * chunk + c
        if t < length:
            potential = potential + load(current, (sample, position(t, length, reverse), channel))
        store(tile, (i, 0), potential)
        potential = drop_above(potential, threshold, potential)


@part()
def mean_of(tile, num_chunks, threshold):
    """The mean over chunks of the potentials after their reset."""
    total = spread(tile.dtype.type(0))
    for i in range(num_chunks):
        row = load(tile, (i, 0))
        total = total + drop_above(row, threshold, row)
    return total * spread(tile.dtype.type(1 / num_chunks))


@part()
def integrate_block(potentials, mean, current, initial, tile, block, num_chunks, leak, threshold):
    """One direction of one block; ``block`` is the way (0 or 1), the sample and the channel."""
    way, sample, channel = block
    batch, length = current.shape[:2]
    row, chunk = way * batch + sample, initial.shape[1]
    for c in range(chunk):
        at = sample, row, c, channel
        charge(tile, current, initial, at, num_chunks, leak, threshold, way == 1)
        for i in range(num_chunks):
            t = i * chunk + c
            if t < length:
                v = load(tile, (i, 0))
                p = position(t, length, way == 1)
                store(potentials, (way, sample, p, channel), drop_above(v, threshold, v))
        store(mean, (row, c, channel), mean_of(tile, num_chunks, threshold))


@part()
def integrate_block_backward(
    grad_current,
    grad_initial,
    grad_potentials,
    grad_mean,
    current,
    initial,
    tile,
    block,
    num_chunks,
    leak,
    threshold,
):
    """Gradients of :func:`integrate_block`; way 0 writes ``grad_current`` and way 1 adds to it."""
    way, sample, channel = block
    batch, length = current.shape[:2]
    row, chunk = way * batch + sample, initial.shape[1]
    leaks, share = spread(leak), spread(tile.dtype.type(1 / num_chunks))
    for c in range(chunk):
        at = sample, row, c, channel
        charge(tile, current, initial, at, num_chunks, leak, threshold, way == 1)
        through_mean = load(grad_mean, (row, c, channel)) * share
        carry = through_mean - through_mean
        for i in range(num_chunks - 1, -1, -1):
            grad = through_mean + carry
            t = i * chunk + c
            p = position(t, length, way == 1)
            if t < length:
                grad = grad + load(grad_potentials, (way, sample, p, channel))
            grad = drop_above(load(tile, (i, 0)), threshold, grad)
            if t < length:
                add_or_store(grad_current, (sample, p, channel), grad, way == 1)
            carry = leaks * grad
        store(grad_initial, (row, c, channel), carry)


@part()
def add_or_store(target, at, row, add):
    """Add ``row`` to what is there, or replace it."""
    if add:
        row = row + load(target, at)
    store(target, at, row)


@kernel
def integrate(first, last, parts, potentials, mean, current, initial, num_chunks, leak, threshold):
    """Write ``potentials``, (2, batch, length, dim) in image order, and ``mean``."""
    widest_vectors()
    dim = current.shape[2]
    tile = empty_rows(num_chunks, current.dtype)
    for item in range(first, last):
        for block in range(item % parts, -(-dim // WIDTH), parts):
            channel = min(block * WIDTH, dim - WIDTH)
            for way in range(2):
                integrate_block(
                    potentials,
                    mean,
                    current,
                    initial,
                    tile,
                    (way, item // parts, channel),
                    num_chunks,
                    leak,
                    threshold,
                )


@kernel
def integrate_backward(
    first,
    last,
    parts,
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
    dim = current.shape[2]
    tile = empty_rows(num_chunks, current.dtype)
    for item in range(first, last):
        for block in range(item % parts, -(-dim // WIDTH), parts):
            channel = min(block * WIDTH, dim - WIDTH)
            for way in range(2):
                integrate_block_backward(
                    grad_current,
                    grad_initial,
                    grad_potentials,
                    grad_mean,
                    current,
                    initial,
                    tile,
                    (way, item // parts, channel),
                    num_chunks,
                    leak,
                    threshold,
                )


@part()
def gate_block(out, mean, z, scan, initial, tile, block, num_chunks, leak, threshold):
    """One direction's share of the gated mean; way 0 writes ``out`` and way 1 adds to it."""
    way, sample, channel = block
    batch, length = z.shape[:2]
    row, chunk = way * batch + sample, initial.shape[1]
    one, half, scale = constants(z.dtype)
    for c in range(chunk):
        at = sample, row, c, channel
        charge(tile, z, initial, at, num_chunks, leak, threshold, way == 1)
        for i in range(num_chunks):
            t = i * chunk + c
            if t < length:
                into = sample, position(t, length, way == 1), channel
                v = load(tile, (i, 0))
                u = drop_above(v, threshold, v)
                gated = half * load(scan, into) * u * sigmoid(u, one, scale)
                add_or_store(out, into, gated, way == 1)
        store(mean, (row, c, channel), mean_of(tile, num_chunks, threshold))


@part()
def gate_block_backward(
    grad_z,
    grad_scan,
    grad_initial,
    grad_out,
    grad_mean,
    z,
    scan,
    initial,
    tile,
    block,
    num_chunks,
    leak,
    threshold,
):
    """Gradients of :func:`gate_block`; way 0 writes ``grad_z`` and way 1 adds to it."""
    way, sample, channel = block
    batch, length = z.shape[:2]
    row, chunk = way * batch + sample, initial.shape[1]
    one, half, scale = constants(z.dtype)
    leaks, share = spread(leak), spread(tile.dtype.type(1 / num_chunks))
    for c in range(chunk):
        at = sample, row, c, channel
        charge(tile, z, initial, at, num_chunks, leak, threshold, way == 1)
        through_mean = load(grad_mean, (row, c, channel)) * share
        carry = through_mean - through_mean
        for i in range(num_chunks - 1, -1, -1):
            grad = through_mean + carry
            t = i * chunk + c
            v = load(tile, (i, 0))
            into = sample, position(t, length, way == 1), channel
            if t < length:
                u = drop_above(v, threshold, v)
                s = sigmoid(u, one, scale)
                g = half * load(grad_out, into)
                store(grad_scan, into, g * u * s)
                grad = grad + g * load(scan, into) * silu_gradient(u, s, one)
            grad = drop_above(v, threshold, grad)
            if t < length:
                add_or_store(grad_z, into, grad, way == 1)
            carry = leaks * grad
        store(grad_initial, (row, c, channel), carry)


@kernel
def gate(
    first,
    last,
    parts,
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
    dim = z.shape[2]
    tile = empty_rows(num_chunks, z.dtype)
    for item in range(first, last):
        for block in range(item % parts, -(-dim // WIDTH), parts):
            channel = min(block * WIDTH, dim - WIDTH)
            for way in range(2):
                gate_block(
                    out,
                    mean,
                    z,
                    forward_scan if way == 0 else backward_scan,
                    initial,
                    tile,
                    (way, item // parts, channel),
                    num_chunks,
                    leak,
                    threshold,
                )


@kernel
def gate_backward(
    first,
    last,
    parts,
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
    dim = z.shape[2]
    tile = empty_rows(num_chunks, z.dtype)
    for item in range(first, last):
        for block in range(item % parts, -(-dim // WIDTH), parts):
            channel = min(block * WIDTH, dim - WIDTH)
            for way in range(2):
                gate_block_backward(
                    grad_z,
                    grad_forward_scan if way == 0 else grad_backward_scan,
                    grad_initial,
                    grad_out,
                    grad_mean,
                    z,
                    forward_scan if way == 0 else backward_scan,
                    initial,
                    tile,
                    (way, item // parts, channel),
                    num_chunks,
                    leak,
                    threshold,
                )

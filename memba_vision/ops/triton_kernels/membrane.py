"""The leaky-integrate membrane, forward and backward.

Sequences are (batch, length, dim) in memory, initial and mean potentials (rows, chunk, dim). A
program takes one sample, a block of positions in a chunk and a block of channels, and goes from
chunk to chunk with the potentials in registers. The backward pass reads the input again to find
the resets, so that the forward pass stores nothing for it.
"""

import triton
import triton.language as tl

#: Chunks whose resets fit into the bits of a number.
SEGMENT = tl.constexpr(32)


@triton.jit
def block_of_program(dim, chunk, BLOCK_C: tl.constexpr, BLOCK_D: tl.constexpr):
    """Return a program's sample, positions (BLOCK_C, 1), channels (1, BLOCK_D), and their mask."""
    channel_blocks = tl.cdiv(dim, BLOCK_D)
    position_blocks = tl.cdiv(chunk, BLOCK_C)
    block = tl.program_id(0) // channel_blocks
    d = (tl.program_id(0) % channel_blocks * BLOCK_D + tl.arange(0, BLOCK_D))[None, :]
    c = (block % position_blocks * BLOCK_C + tl.arange(0, BLOCK_C))[:, None]
    return (block // position_blocks).to(tl.int64), c, d, (c < chunk) & (d < dim)


@triton.jit
def load(sequence, position, row, inside, length):
    """Load positions of ``sequence``, ``row`` numbers apart, in float32; zeros outside of it."""
    mask = inside & (position >= 0) & (position < length)
    return tl.load(sequence + position * row, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def store(sequence, position, row, value, inside, length):
    """Store a tile as :func:`load` loads it."""
    mask = inside & (position >= 0) & (position < length)
    tl.store(sequence + position * row, value.to(sequence.dtype.element_ty), mask=mask)


@triton.jit
def load_initial(initial, offsets, mask):
    """Load the potentials before the first chunk; zeros if ``initial`` is None."""
    if initial is None:
        potential = tl.zeros(mask.shape, tl.float32)
    else:
        potential = tl.load(initial + offsets, mask=mask, other=0.0).to(tl.float32)
    return potential


@triton.jit
def store_initial_gradient(grad_initial, offsets, grad, mask):
    """Store the gradient of the initial potentials, unless ``grad_initial`` is None."""
    if grad_initial is not None:
        tl.store(grad_initial + offsets, grad.to(grad_initial.dtype.element_ty), mask=mask)


@triton.jit
def integrate(potential, current, leak, threshold):
    """Return the potential one chunk later, and where it was reset."""
    potential = leak * potential + current
    reset = potential > threshold
    return tl.where(reset, 0.0, potential), reset


@triton.jit
def integrate_chunks(potential, x, start, stride, row, chunks, inside, length, leak, threshold):
    """Return the potential after the first ``chunks`` chunks."""
    for number in range(chunks):
        current = load(x, start + number * stride, row, inside, length)
        potential, _ = integrate(potential, current, leak, threshold)
    return potential


@triton.jit
def differentiate_chunks(
    grad,
    resets,
    grad_x,
    earlier,
    grad_out,
    share,
    start,
    stride,
    row,
    first,
    count,
    inside,
    length,
    leak,
    ADD: tl.constexpr,
):
    """Go back from chunk ``first + count - 1`` to ``first``.

    Args:
        grad: gradient of the potential that the last of the chunks hands to the next.
        resets: bit i says where chunk ``first + i`` was reset.
        grad_x: takes the gradient of the input.
        earlier: with ``ADD``, that of another direction, which is added to it first.
        grad_out: gradient of the potentials, as results.
        share: their gradient through the mean.
        start, stride: chunk i has the positions ``start + i * stride``.
        row: distance of two positions in memory.
        first, count, inside, length, leak: as above, and as in :func:`load`.
    """
    for back in range(count):
        bit = count - 1 - back
        position = start + (first + bit) * stride
        grad = leak * grad + share + load(grad_out, position, row, inside, length)
        grad = tl.where((resets >> bit) & 1 != 0, 0.0, grad)
        value = grad
        if ADD:
            value += load(earlier, position, row, inside, length)
        store(grad_x, position, row, value, inside, length)
    return grad


@triton.jit
def ends(batch, dim, length, chunk, sample, c, d):
    """Return each direction's first position, and its offset in the initial potentials.

    The backward direction begins with the last of the positions c, c + chunk, c + 2 * chunk, …
    """
    last = c + (length - 1 - c) // chunk * chunk
    state = (sample * chunk + c) * dim + d
    mirrored = ((sample + batch) * chunk + length - 1 - last) * dim + d
    return c, last, state, mirrored


@triton.jit
def _integrate_way(
    out,
    mean,
    x,
    initial,
    state,
    start,
    stride,
    dim,
    inside,
    length,
    num_chunks,
    leak,
    threshold,
):
    """Write one direction's potentials, and their mean.

    Chunk i has the positions ``start + i * stride``; ``state`` is the offset in ``initial``.
    """
    potential = load_initial(initial, state, inside)
    total = tl.zeros(inside.shape, tl.float32)
    for number in range(num_chunks):
        position = start + number * stride
        current = load(x, position, dim, inside, length)
        potential, _ = integrate(potential, current, leak, threshold)
        total += potential
        store(out, position, dim, potential, inside, length)
    tl.store(mean + state, total / num_chunks, mask=inside)


@triton.jit
def _differentiate_way(
    grad_x,
    earlier,
    grad_initial,
    grad_out,
    grad_mean,
    x,
    initial,
    state,
    start,
    stride,
    dim,
    inside,
    length,
    num_chunks,
    leak,
    threshold,
    ADD: tl.constexpr,
):
    """Differentiate :func:`_integrate_way`; with ``ADD``, ``earlier`` is added to ``grad_x``."""
    at_start = load_initial(initial, state, inside)
    share = tl.load(grad_mean + state, mask=inside, other=0.0) / num_chunks
    grad = tl.zeros(inside.shape, tl.float32)
    segments = tl.cdiv(num_chunks, SEGMENT)
    for from_end in range(segments):
        first = (segments - 1 - from_end) * SEGMENT
        count = tl.minimum(SEGMENT, num_chunks - first)
        potential = integrate_chunks(
            at_start, x, start, stride, dim, first, inside, length, leak, threshold
        )
        resets = tl.zeros(inside.shape, tl.int32)
        for bit in range(count):
            current = load(x, start + (first + bit) * stride, dim, inside, length)
            potential, reset = integrate(potential, current, leak, threshold)
            resets |= reset.to(tl.int32) << bit
        grad = differentiate_chunks(
            grad,
            resets,
            grad_x,
            earlier,
            grad_out,
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
    store_initial_gradient(grad_initial, state, leak * grad, inside)


@triton.jit
def forward(
    out,
    mean,
    x,
    initial,
    batch,
    dim,
    length,
    num_chunks,
    leak,
    threshold,
    BOTH: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """See :func:`memba_vision.ops.leaky_integrate` and ``bidirectional_membrane``.

    Args:
        out: the potentials, (batch, length, dim); of each direction where ``BOTH``.
        mean: their mean, (batch, chunk, dim) float32, or of twice as many rows.
        x: the input, (batch, length, dim).
        initial: as ``mean``, or None.
        batch, dim, length: sizes.
        num_chunks, leak, threshold: settings of the membrane.
        BOTH: integrate from either end.
        BLOCK_C, BLOCK_D: positions and channels of a program.
    """
    chunk = tl.cdiv(length, num_chunks)
    sample, c, d, inside = block_of_program(dim, chunk, BLOCK_C, BLOCK_D)
    first, last, state, mirrored = ends(batch, dim, length, chunk, sample, c, d)
    x += sample * length * dim + d
    out += sample * length * dim + d
    # fmt: off
    _integrate_way(
        out, mean, x, initial, state, first, chunk, dim,
        inside, length, num_chunks, leak, threshold,
    )
    if BOTH:
        _integrate_way(
            out + tl.cast(batch, tl.int64) * length * dim, mean, x, initial,
            mirrored, last, -chunk, dim, inside, length, num_chunks, leak, threshold,
        )
    # fmt: on


@triton.jit
def backward(
    grad_x,
    half,
    grad_initial,
    grad_out,
    grad_mean,
    x,
    initial,
    batch,
    dim,
    length,
    num_chunks,
    leak,
    threshold,
    BOTH: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Differentiate :func:`forward`. ``grad_initial`` is None if it is not needed.

    ``half`` is memory to work in, float32 of the shape of ``grad_x``; it may be that itself, and is
    where not ``BOTH``.
    """
    chunk = tl.cdiv(length, num_chunks)
    sample, c, d, inside = block_of_program(dim, chunk, BLOCK_C, BLOCK_D)
    first, last, state, mirrored = ends(batch, dim, length, chunk, sample, c, d)
    x += sample * length * dim + d
    grad_x += sample * length * dim + d
    half += sample * length * dim + d
    grad_out += sample * length * dim + d
    # fmt: off
    _differentiate_way(
        half, None, grad_initial, grad_out, grad_mean, x, initial, state, first, chunk, dim,
        inside, length, num_chunks, leak, threshold, ADD=False,
    )
    if BOTH:
        tl.debug_barrier()
        _differentiate_way(
            grad_x, half, grad_initial, grad_out + tl.cast(batch, tl.int64) * length * dim,
            grad_mean, x, initial, mirrored, last, -chunk, dim,
            inside, length, num_chunks, leak, threshold, ADD=True,
        )
    # fmt: on

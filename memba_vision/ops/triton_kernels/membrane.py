"""The leaky-integrate membrane, forward and backward.

A program takes one sample, a block of positions in a chunk and a block of channels, and goes from
chunk to chunk with the potentials in registers. The backward pass reads the input again to find
where the potentials were reset: nothing is kept for it.
"""

import triton
import triton.language as tl

#: Chunks whose resets fit into the bits of a number.
SEGMENT = tl.constexpr(32)


@triton.jit
def place(dim, chunk, BLOCK_C: tl.constexpr, BLOCK_D: tl.constexpr):
    """What a program works on: the sample, and (positions, 1) and (1, channels) indices."""
    channel_blocks = tl.cdiv(dim, BLOCK_D)
    position_blocks = tl.cdiv(chunk, BLOCK_C)
    block = tl.program_id(0) // channel_blocks
    d = tl.program_id(0) % channel_blocks * BLOCK_D + tl.arange(0, BLOCK_D)
    c = block % position_blocks * BLOCK_C + tl.arange(0, BLOCK_C)
    return (block // position_blocks).to(tl.int64), c[:, None], d[None, :]


@triton.jit
def load_initial(initial, offsets, mask):
    """The potentials before the first chunk; zeros where there are none."""
    if initial is None:
        potential = tl.zeros(mask.shape, tl.float32)
    else:
        potential = tl.load(initial + offsets, mask=mask, other=0.0).to(tl.float32)
    return potential


@triton.jit
def integrate(potential, current, leak, threshold):
    """The potential one chunk on, and where it was reset."""
    potential = leak * potential + current.to(tl.float32)
    reset = potential > threshold
    return tl.where(reset, 0.0, potential), reset


@triton.jit
def forward(
    out,
    mean,
    x,
    initial,
    dim,
    length,
    num_chunks,
    chunk,
    leak,
    threshold,
    out_batch,
    out_channel,
    out_position,
    mean_batch,
    mean_channel,
    mean_position,
    x_batch,
    x_channel,
    x_position,
    initial_batch,
    initial_channel,
    initial_position,
    BLOCK_C: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """See :func:`memba_vision.ops.leaky_integrate`; after the tensors come sizes and strides.

    Args:
        out: the potentials, (batch, dim, length).
        mean: their mean, (batch, dim, chunk) float32.
        x: the input, (batch, dim, length).
        initial: (batch, dim, chunk), or None.
        dim, length, num_chunks, chunk: sizes.
        leak, threshold: as there.
        BLOCK_C, BLOCK_D: positions and channels of a program.
    """
    sample, c, d = place(dim, chunk, BLOCK_C, BLOCK_D)
    inside = (c < chunk) & (d < dim)
    x += sample * x_batch + d * x_channel
    out += sample * out_batch + d * out_channel
    initial_at = sample * initial_batch + c * initial_position + d * initial_channel
    potential = load_initial(initial, initial_at, inside)
    total = tl.zeros((BLOCK_C, BLOCK_D), tl.float32)
    for number in range(num_chunks):
        position = number * chunk + c
        mask = inside & (position < length)
        current = tl.load(x + position * x_position, mask=mask, other=0.0)
        potential, _ = integrate(potential, current, leak, threshold)
        total += potential
        tl.store(out + position * out_position, potential.to(out.dtype.element_ty), mask=mask)
    mean_at = sample * mean_batch + c * mean_position + d * mean_channel
    tl.store(mean + mean_at, total / num_chunks, mask=inside)


@triton.jit
def backward(
    grad_x,
    grad_initial,
    grad_out,
    grad_mean,
    x,
    initial,
    dim,
    length,
    num_chunks,
    chunk,
    leak,
    threshold,
    grad_x_batch,
    grad_x_channel,
    grad_x_position,
    grad_initial_batch,
    grad_initial_channel,
    grad_initial_position,
    grad_out_batch,
    grad_out_channel,
    grad_out_position,
    grad_mean_batch,
    grad_mean_channel,
    grad_mean_position,
    x_batch,
    x_channel,
    x_position,
    initial_batch,
    initial_channel,
    initial_position,
    BLOCK_C: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Differentiate :func:`forward`. ``grad_initial`` is None where nobody asks for it."""
    sample, c, d = place(dim, chunk, BLOCK_C, BLOCK_D)
    inside = (c < chunk) & (d < dim)
    x += sample * x_batch + d * x_channel
    grad_x += sample * grad_x_batch + d * grad_x_channel
    grad_out += sample * grad_out_batch + d * grad_out_channel
    initial_at = sample * initial_batch + c * initial_position + d * initial_channel
    start = load_initial(initial, initial_at, inside)
    mean_at = sample * grad_mean_batch + c * grad_mean_position + d * grad_mean_channel
    share = tl.load(grad_mean + mean_at, mask=inside, other=0.0) / num_chunks

    grad = tl.zeros((BLOCK_C, BLOCK_D), tl.float32)
    segments = tl.cdiv(num_chunks, SEGMENT)
    for from_end in range(segments):
        first = (segments - 1 - from_end) * SEGMENT
        count = tl.minimum(SEGMENT, num_chunks - first)
        potential = start
        for number in range(first):
            position = number * chunk + c
            mask = inside & (position < length)
            current = tl.load(x + position * x_position, mask=mask, other=0.0)
            potential, _ = integrate(potential, current, leak, threshold)
        resets = tl.zeros((BLOCK_C, BLOCK_D), tl.int32)
        for bit in range(count):
            position = (first + bit) * chunk + c
            mask = inside & (position < length)
            current = tl.load(x + position * x_position, mask=mask, other=0.0)
            potential, reset = integrate(potential, current, leak, threshold)
            resets |= reset.to(tl.int32) << bit
        for back in range(count):
            bit = count - 1 - back
            position = (first + bit) * chunk + c
            mask = inside & (position < length)
            grad_potential = tl.load(grad_out + position * grad_out_position, mask=mask, other=0.0)
            grad = leak * grad + share + grad_potential.to(tl.float32)
            grad = tl.where((resets >> bit) & 1 != 0, 0.0, grad)
            tl.store(
                grad_x + position * grad_x_position, grad.to(grad_x.dtype.element_ty), mask=mask
            )
    if grad_initial is not None:
        grad_initial += sample * grad_initial_batch + d * grad_initial_channel
        grad = (leak * grad).to(grad_initial.dtype.element_ty)
        tl.store(grad_initial + c * grad_initial_position, grad, mask=inside)

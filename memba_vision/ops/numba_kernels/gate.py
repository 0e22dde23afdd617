"""The gate of both scan directions, forward and backward, in one pass over memory.

All arrays are (positions, dim) of one dtype; those of bfloat16 are computed with in float32. Their
rows lie ``dim`` or more numbers apart, and ``dim`` is at least ``WIDTH``. The last block of
channels may overlap the one before.
"""

from memba_vision.ops.numba_kernels.jit import kernel, part
from memba_vision.ops.numba_kernels.layout import WIDTH
from memba_vision.ops.numba_kernels.maths import LOG2E, exp2
from memba_vision.ops.numba_kernels.simd import load, repeat, store


@part()
def constants(row):
    """Return rows like ``row`` of 1, 1/2 and -log2(e)."""
    return repeat(1, row), repeat(0.5, row), repeat(-LOG2E, row)


@part()
def sigmoid(x, one, scale):
    """Return 1 / (1 + exp(-x)) of a row; ``one`` and ``scale`` are rows of 1 and -log2(e)."""
    return one / (one + exp2(x * scale))


@part()
def silu_gradient(x, sigmoid_x, one):
    """Return the derivative of SiLU at ``x``, given the sigmoid of ``x``."""
    return sigmoid_x * (one + x * (one - sigmoid_x))


@kernel
def shared(first, last, out, forward_scan, backward_scan, gate):
    """Compute (forward_scan + backward_scan) / 2 * silu(gate) from ``first`` to before ``last``."""
    dim = out.shape[1]
    for p in range(first, last):
        for block in range(0, dim, WIDTH):
            at = p, min(block, dim - WIDTH)
            z = load(gate, at)
            one, half, scale = constants(z)
            scans = load(forward_scan, at) + load(backward_scan, at)
            store(out, at, half * scans * z * sigmoid(z, one, scale))


@kernel
def shared_backward(first, last, grad_scan, grad_gate, grad_out, forward_scan, backward_scan, gate):
    """Compute the gradients of :func:`shared`; both scans have the same."""
    dim = grad_gate.shape[1]
    for p in range(first, last):
        for block in range(0, dim, WIDTH):
            at = p, min(block, dim - WIDTH)
            z = load(gate, at)
            one, half, scale = constants(z)
            s = sigmoid(z, one, scale)
            g = half * load(grad_out, at)
            scans = load(forward_scan, at) + load(backward_scan, at)
            store(grad_scan, at, g * z * s)
            store(grad_gate, at, g * scans * silu_gradient(z, s, one))


@kernel
def separate(first, last, out, forward_scan, backward_scan, gate, forward_update, backward_update):
    """Do the same as :func:`shared` after adding each direction's update to its gate."""
    dim = out.shape[1]
    for p in range(first, last):
        for block in range(0, dim, WIDTH):
            at = p, min(block, dim - WIDTH)
            z = load(gate, at)
            one, half, scale = constants(z)
            z_forward, z_backward = z + load(forward_update, at), z + load(backward_update, at)
            forward = load(forward_scan, at) * z_forward * sigmoid(z_forward, one, scale)
            backward = load(backward_scan, at) * z_backward * sigmoid(z_backward, one, scale)
            store(out, at, half * (forward + backward))


@kernel
def separate_backward(
    first,
    last,
    grad_forward_scan,
    grad_backward_scan,
    grad_gate,
    grad_forward_update,
    grad_backward_update,
    grad_out,
    forward_scan,
    backward_scan,
    gate,
    forward_update,
    backward_update,
):
    """Compute the gradients of :func:`separate`."""
    dim = grad_gate.shape[1]
    for p in range(first, last):
        for block in range(0, dim, WIDTH):
            at = p, min(block, dim - WIDTH)
            z = load(gate, at)
            one, half, scale = constants(z)
            g = half * load(grad_out, at)
            z_forward, z_backward = z + load(forward_update, at), z + load(backward_update, at)
            s_forward, s_backward = sigmoid(z_forward, one, scale), sigmoid(z_backward, one, scale)
            store(grad_forward_scan, at, g * z_forward * s_forward)
            store(grad_backward_scan, at, g * z_backward * s_backward)
            forward = g * load(forward_scan, at) * silu_gradient(z_forward, s_forward, one)
            backward = g * load(backward_scan, at) * silu_gradient(z_backward, s_backward, one)
            store(grad_forward_update, at, forward)
            store(grad_backward_update, at, backward)
            store(grad_gate, at, forward + backward)

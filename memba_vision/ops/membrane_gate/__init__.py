"""The gate of both scan directions behind their membranes: site 'gate' of Memba (ICLR 2026)."""

import torch

from memba_vision.discovery import import_submodules
from memba_vision.ops.backends import BackendTable
from memba_vision.ops.checks import Signature
from memba_vision.ops.leaky_integrate import check_membrane

__all__ = ['BACKENDS', 'membrane_gate']

BACKENDS = BackendTable('membrane_gate')
import_submodules(__name__, __path__)

SIGNATURE = Signature(
    'membrane_gate',
    z='batch, dim, length',
    forward_scan='batch, dim, length',
    backward_scan='batch, dim, length',
    initial='2 * batch, dim, chunk or None',
)


def membrane_gate(
    z: torch.Tensor,
    forward_scan: torch.Tensor,
    backward_scan: torch.Tensor,
    initial: torch.Tensor | None = None,
    *,
    num_chunks: int = 4,
    leak: float = 0.9,
    threshold: float = 1.0,
    backend: str | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Integrate ``z`` from both ends, gate each direction's scan with its potential, and average.

    .. code-block:: text

        merged = (forward_scan  * silu(LIM(z))
               +  backward_scan * silu(flip(LIM(flip(z))))) / 2

    LIM is :func:`memba_vision.ops.leaky_integrate`, which says what the settings mean.

    Args:
        z: gate pre-activation, (batch, dim, length), in image order as the scans.
        forward_scan: (batch, dim, length).
        backward_scan: (batch, dim, length).
        initial: the potentials to start from, in scan order, first those of the forward
            directions, then those of the backward: (2 * batch, dim, chunk); None stands for zeros.
        num_chunks: number of chunks, at least 1. It may exceed the length.
        leak: what a potential keeps from chunk to chunk, in (0, 1].
        threshold: a potential above it is reset to zero; infinity never resets.
        backend: 'auto' (or None), or one of ``BACKENDS.names()``.

    Returns:
        The merged sequence, (batch, dim, length) in the dtype of ``forward_scan``, and the mean
        potentials, (2 * batch, dim, chunk) in float32 at the least, ordered as ``initial``.

    Raises:
        UserError: ``num_chunks`` or ``leak`` is out of range, the shapes, dtypes or devices of the
            tensors disagree, or the backend is unknown or cannot run on them.
    """
    check_membrane(num_chunks, leak)
    tensors = z, forward_scan, backward_scan, initial
    SIGNATURE.check(*tensors, num_chunks=num_chunks)
    return BACKENDS.select(backend, *tensors).function(*tensors, num_chunks, leak, threshold)

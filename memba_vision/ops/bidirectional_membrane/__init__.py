"""The membranes of both scan directions at once (Memba, ICLR 2026, section 4)."""

import torch

from memba_vision.discovery import import_submodules
from memba_vision.ops.backends import BackendTable
from memba_vision.ops.checks import Signature
from memba_vision.ops.leaky_integrate import check_membrane

__all__ = ['BACKENDS', 'bidirectional_membrane']

BACKENDS = BackendTable('bidirectional_membrane')
import_submodules(__name__, __path__)

SIGNATURE = Signature(
    'bidirectional_membrane',
    current='batch, length, dim',
    initial='2 * batch, dim, chunk or None',
)


def bidirectional_membrane(
    current: torch.Tensor,
    initial: torch.Tensor | None = None,
    *,
    num_chunks: int = 4,
    leak: float = 0.9,
    threshold: float = 1.0,
    backend: str | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Integrate a sequence from both ends, each direction in its own scan order.

    .. code-block:: text

        potentials[0] = LIM(current)
        potentials[1] = flip(LIM(flip(current)))

    LIM is :func:`memba_vision.ops.leaky_integrate`, which says what the settings mean.

    Args:
        current: (batch, length, dim), in image order.
        initial: the potentials to start from, in scan order, first those of the forward
            directions, then those of the backward: (2 * batch, dim, chunk); None stands for zeros.
        num_chunks: number of chunks, at least 1. It may exceed the length.
        leak: what a potential keeps from chunk to chunk, in (0, 1].
        threshold: a potential above it is reset to zero; infinity never resets.
        backend: 'auto' (or None), or one of ``BACKENDS.names()``.

    Returns:
        The potentials of both directions in image order, (2, batch, length, dim) in the dtype of
        ``current``, and the mean potentials, (2 * batch, dim, chunk) in float32 at the least,
        ordered as ``initial``.

    Raises:
        UserError: ``num_chunks`` or ``leak`` is out of range, the shapes, dtypes or devices of the
            tensors disagree, or the backend is unknown or cannot run on them.
    """
    check_membrane(num_chunks, leak)
    SIGNATURE.check(current, initial, num_chunks=num_chunks)
    function = BACKENDS.select(backend, current, initial).function
    return function(current, initial, num_chunks, leak, threshold)

"""The leaky-integrate membrane (LIM) of Memba (ICLR 2026, section 4)."""

import torch

from memba_vision.discovery import import_submodules
from memba_vision.errors import UserError
from memba_vision.ops.backends import BackendTable
from memba_vision.ops.checks import Signature

__all__ = ['BACKENDS', 'check_membrane', 'leaky_integrate']

BACKENDS = BackendTable('leaky_integrate')
import_submodules(__name__, __path__)

SIGNATURE = Signature(
    'leaky_integrate', x='batch, dim, length', initial='batch, dim, chunk or None'
)


def leaky_integrate(
    x: torch.Tensor,
    initial: torch.Tensor | None = None,
    *,
    num_chunks: int = 4,
    leak: float = 0.9,
    threshold: float = 1.0,
    backend: str | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Integrate a sequence chunk by chunk, with a leak and a reset.

    The sequence is cut into ``num_chunks`` chunks of ``chunk = ceil(length / num_chunks)``
    positions, zero-padded at the end. The recurrence runs over chunks, element by element:

    .. code-block:: text

        v[i] = leak * u[i - 1] + x[:, :, i * chunk : (i + 1) * chunk]
        u[i] = 0 where v[i] > threshold, else v[i]

    Args:
        x: the input current in scan order, (batch, dim, length), any length from 1.
        initial: ``u[-1]``, (batch, dim, chunk); None stands for zeros.
        num_chunks: number of chunks, at least 1. It may exceed the length.
        leak: what a potential keeps from chunk to chunk, in (0, 1].
        threshold: a potential above it is reset to zero; infinity never resets.
        backend: 'auto' (or None), or one of ``BACKENDS.names()``.

    Returns:
        The potentials after the reset, (batch, dim, length) in the dtype of ``x``, and their mean
        over all chunks, (batch, dim, chunk), in float32 at the least, as the integration itself.

    Raises:
        UserError: ``num_chunks`` or ``leak`` is out of range, the shapes, dtypes or devices of the
            tensors disagree, or the backend is unknown or cannot run on them.
    """
    check_membrane(num_chunks, leak)
    SIGNATURE.check(x, initial, num_chunks=num_chunks)
    function = BACKENDS.select(backend, x, initial).function
    return function(x, initial, num_chunks, leak, threshold)


def check_membrane(num_chunks: int, leak: float) -> None:
    """Raise a UserError where the membrane's settings make no sense."""
    if not isinstance(num_chunks, int):
        raise UserError(f'num_chunks must be a whole number, got {num_chunks!r}')
    if num_chunks < 1:
        raise UserError(f'num_chunks must be at least 1, got {num_chunks}')
    if not 0 < leak <= 1:
        raise UserError(f'leak must be in (0, 1], got {leak}')

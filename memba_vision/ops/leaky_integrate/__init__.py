"""The leaky-integrate membrane (LIM) of Memba (ICLR 2026, section 4)."""

from dataclasses import replace

import torch

from memba_vision.discovery import import_submodules
from memba_vision.ops.backends import BackendTable
from memba_vision.ops.checks import Signature
from memba_vision.ops.membrane_settings import MembraneSettings

__all__ = ['BACKENDS', 'leaky_integrate']

BACKENDS = BackendTable('leaky_integrate')
import_submodules(__name__, __path__)

SIGNATURE = Signature(
    'leaky_integrate', x='batch, dim, length', initial='batch, dim, chunk or None'
)


def leaky_integrate(
    x: torch.Tensor,
    initial: torch.Tensor | None = None,
    settings: MembraneSettings | None = None,
    *,
    backend: str | None = None,
    **fields: float,
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
        settings: ``num_chunks``, ``leak`` and ``threshold``; None stands for the defaults.
        backend: 'auto' (or None), or one of ``BACKENDS.names()``.
        fields: ``num_chunks=…``, ``leak=…`` or ``threshold=…``, in place of those of ``settings``.

    Returns:
        The potentials after the reset, (batch, dim, length) in the dtype of ``x``, and their mean
        over all chunks, (batch, dim, chunk), in float32 at the least, as the integration itself.

    Raises:
        UserError: a setting is out of range, the shapes, dtypes or devices of the tensors
            disagree, or the backend is unknown or cannot run on them.
    """
    settings = replace(settings or MembraneSettings(), **fields)
    SIGNATURE.check(x, initial, num_chunks=settings.num_chunks)
    return BACKENDS.select(backend, x, initial).function(x, initial, settings)

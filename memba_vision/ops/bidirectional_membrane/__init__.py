"""The membranes of both scan directions at once (Memba, ICLR 2026, section 4)."""

from dataclasses import replace

import torch

from memba_vision.discovery import import_submodules
from memba_vision.ops.backends import BackendTable
from memba_vision.ops.checks import Signature
from memba_vision.ops.membrane_settings import MembraneSettings

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
    settings: MembraneSettings | None = None,
    *,
    backend: str | None = None,
    **fields: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Integrate a sequence from both ends, each direction in its own scan order.

    .. code-block:: text

        potentials[0] = LIM(current)
        potentials[1] = flip(LIM(flip(current)))

    LIM is :func:`memba_vision.ops.leaky_integrate`.

    Args:
        current: (batch, length, dim), in image order.
        initial: the potentials to start from, in scan order, first those of the forward
            directions, then those of the backward: (2 * batch, dim, chunk); None stands for zeros.
        settings: ``num_chunks``, ``leak`` and ``threshold``; None stands for the defaults.
        backend: 'auto' (or None), or one of ``BACKENDS.names()``.
        fields: ``num_chunks=…``, ``leak=…`` or ``threshold=…``, in place of those of ``settings``.

    Returns:
        The potentials of both directions in image order, (2, batch, length, dim) in the dtype of
        ``current``, and the mean potentials, (2 * batch, dim, chunk) in float32 at the least,
        ordered as ``initial``.

    Raises:
        UserError: a setting is out of range, the shapes, dtypes or devices of the tensors
            disagree, or the backend is unknown or cannot run on them.
    """
    settings = replace(settings or MembraneSettings(), **fields)
    SIGNATURE.check(current, initial, num_chunks=settings.num_chunks)
    return BACKENDS.select(backend, current, initial).function(current, initial, settings)

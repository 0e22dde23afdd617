"""The gate of both scan directions behind their membranes: site 'gate' of Memba (ICLR 2026)."""

from dataclasses import replace

import torch

from memba_vision.discovery import import_submodules
from memba_vision.ops.backends import BackendTable
from memba_vision.ops.checks import Signature
from memba_vision.ops.membrane_settings import MembraneSettings

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
    settings: MembraneSettings | None = None,
    *,
    backend: str | None = None,
    **fields: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Integrate ``z`` from both ends, gate each direction's scan with its potential, and average.

    .. code-block:: text

        merged = (forward_scan  * silu(LIM(z))
               +  backward_scan * silu(flip(LIM(flip(z))))) / 2

    LIM is :func:`memba_vision.ops.leaky_integrate`.

    Args:
        z: gate pre-activation, (batch, dim, length), in image order as the scans.
        forward_scan: (batch, dim, length).
        backward_scan: (batch, dim, length).
        initial: the potentials to start from, in scan order, first those of the forward
            directions, then those of the backward: (2 * batch, dim, chunk); None stands for zeros.
        settings: ``num_chunks``, ``leak`` and ``threshold``; None stands for the defaults.
        backend: 'auto' (or None), or one of ``BACKENDS.names()``.
        fields: ``num_chunks=…``, ``leak=…`` or ``threshold=…``, in place of those of ``settings``.

    Returns:
        The merged sequence, (batch, dim, length) in the dtype of ``forward_scan``, and the mean
        potentials, (2 * batch, dim, chunk) in float32 at the least, ordered as ``initial``.

    Raises:
        UserError: a setting is out of range, the shapes, dtypes or devices of the tensors
            disagree, or the backend is unknown or cannot run on them.
    """
    settings = replace(settings or MembraneSettings(), **fields)
    tensors = z, forward_scan, backward_scan, initial
    SIGNATURE.check(*tensors, num_chunks=settings.num_chunks)
    return BACKENDS.select(backend, *tensors).function(*tensors, settings)

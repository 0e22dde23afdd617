"""The gate of a bidirectional mixer: the gated mean of both scan directions."""

import torch

from memba_vision.discovery import import_submodules
from memba_vision.ops.backends import BackendTable
from memba_vision.ops.checks import Signature

__all__ = ['BACKENDS', 'gated_merge']

BACKENDS = BackendTable('gated_merge')
import_submodules(__name__, __path__)

SIGNATURE = Signature(
    'gated_merge',
    forward_scan='batch, length, dim',
    backward_scan='batch, length, dim',
    gate='batch, length, dim',
    updates='2, batch, length, dim or None',
)


def gated_merge(
    forward_scan: torch.Tensor,
    backward_scan: torch.Tensor,
    gate: torch.Tensor,
    updates: torch.Tensor | None = None,
    *,
    backend: str | None = None,
) -> torch.Tensor:
    """Gate both directions with one gate, or with an update of it for each, and take their mean.

    .. code-block:: text

        merged = (forward_scan * silu(gate + updates[0])
                  + backward_scan * silu(gate + updates[1])) / 2

    Args:
        forward_scan: (batch, length, dim).
        backward_scan: (batch, length, dim), in image order.
        gate: pre-activation, (batch, length, dim).
        updates: added to the gates, (2, batch, length, dim); None stands for zeros.
        backend: 'auto' (or None), or one of ``BACKENDS.names()``.

    Returns:
        (batch, length, dim), in the common dtype that torch promotes the scans and the gate to.

    Raises:
        UserError: the shapes, dtypes or devices of the tensors disagree, or the backend is
            unknown or cannot run on them.
    """
    tensors = forward_scan, backward_scan, gate, updates
    SIGNATURE.check(*tensors)
    return BACKENDS.select(backend, *tensors).function(*tensors)

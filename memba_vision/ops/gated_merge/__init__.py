"""The gate of a bidirectional mixer: weight both scan directions and take their mean."""

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
    """Gate both directions, with one gate for both or an update of it for each.

    .. code-block:: text

        merged = (forward_scan * silu(gate + updates[0])
                  + backward_scan * silu(gate + updates[1])) / 2

    Args:
        forward_scan: (batch, length, dim).
        backward_scan: (batch, length, dim), in image order.
        gate: pre-activation, (batch, length, dim).
        updates: added to the gate of either direction, (2, batch, length, dim); None for none.
        backend: 'auto' (or None), or one of ``BACKENDS.names()``.

    Returns:
        (batch, length, dim), in the dtype that torch promotes those of the scans and the gate to.

    Raises:
        UserError: the shapes, dtypes or devices of the tensors disagree, or the backend is
            unknown or cannot run on them.
    """
    tensors = forward_scan, backward_scan, gate, updates
    SIGNATURE.check(*tensors)
    return BACKENDS.select(backend, *tensors).function(*tensors)

"""The gate of a bidirectional mixer: weight both scan directions and take their mean."""

import torch

from memba_vision.discovery import import_submodules
from memba_vision.ops.gated_merge.table import BACKENDS

import_submodules(__name__, __path__)

__all__ = ['BACKENDS', 'gated_merge']


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
        (batch, length, dim).

    Raises:
        UserError: the backend is unknown or cannot run on these tensors.
    """
    function = BACKENDS.select(backend, forward_scan).function
    return function(forward_scan, backward_scan, gate, updates)

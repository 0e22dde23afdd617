"""The gate of a bidirectional mixer with a low-rank update for each direction."""

import torch

from memba_vision.discovery import import_submodules
from memba_vision.ops.low_rank_gate.table import BACKENDS

import_submodules(__name__, __path__)

__all__ = ['BACKENDS', 'low_rank_gate']


def low_rank_gate(
    forward_scan: torch.Tensor,
    backward_scan: torch.Tensor,
    gate: torch.Tensor,
    hidden: torch.Tensor,
    up: torch.Tensor,
    *,
    backend: str | None = None,
) -> torch.Tensor:
    """Gate both directions, each by the sum of a shared gate and an update of its own.

    .. code-block:: text

        merged = (forward_scan * silu(gate + hidden[0] @ up.T)
                  + backward_scan * silu(gate + hidden[1] @ up.T)) / 2

    Args:
        forward_scan: (batch, length, dim).
        backward_scan: (batch, length, dim), in image order.
        gate: pre-activation, (batch, length, dim).
        hidden: of either direction, (2, batch, length, rank).
        up: (dim, rank).
        backend: 'auto' (or None), or one of ``BACKENDS.names()``.

    Returns:
        (batch, length, dim).

    Raises:
        UserError: the backend is unknown or cannot run on these tensors.
    """
    function = BACKENDS.select(backend, forward_scan).function
    return function(forward_scan, backward_scan, gate, hidden, up)

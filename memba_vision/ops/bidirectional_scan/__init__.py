"""The selective scans of a bidirectional mixer: one from either end of the sequence."""

import torch

from memba_vision.discovery import import_submodules
from memba_vision.ops.backends import BackendTable, without_autocast
from memba_vision.ops.bidirectional_scan.inputs import ScanInputs
from memba_vision.ops.checks import Signature
from memba_vision.ops.selective_scan import SHAPES, check_groups
from memba_vision.ops.selective_scan.grids import Grid, check_grid

__all__ = ['BACKENDS', 'ScanInputs', 'bidirectional_scan', 'goes_in_one_launch']

BACKENDS = BackendTable('bidirectional_scan')
import_submodules(__name__, __path__)

SIGNATURE = Signature(
    'bidirectional_scan',
    **{f'forward.{name}': SHAPES[name] for name in ScanInputs._fields},
    **{f'backward.{name}': SHAPES[name] for name in ScanInputs._fields},
)


def bidirectional_scan(
    forward: ScanInputs,
    backward: ScanInputs,
    *,
    delta_softplus: bool = False,
    grid: Grid | None = None,
    backend: str | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scan ``forward`` from the first position on, and ``backward`` from the last one.

    .. code-block:: text

        selective_scan(*forward, grid=grid), selective_scan(*backward, reverse=True, grid=grid)

    Args:
        forward: sequences (batch, dim, length) and weights of the one direction.
        backward: sequences and weights of the other, in image order, of the same shapes.
        delta_softplus: pass the step sizes through softplus.
        grid: (rows, columns) of the image down whose columns both go, as in
            :func:`memba_vision.ops.selective_scan`.
        backend: 'auto' (or None), or one of ``BACKENDS.names()``.

    Returns:
        Two tensors (batch, dim, length), both in image order, in the dtype of their ``u``.

    Raises:
        UserError: the shapes, dtypes or devices of the tensors disagree, the grid has not as many
            positions as they, or the backend is unknown or cannot run on them.
    """
    tensors = *forward, *backward
    sizes = SIGNATURE.check(*tensors)
    check_groups(SIGNATURE.op, sizes)
    check_grid(SIGNATURE.op, grid, sizes['length'])
    chosen = BACKENDS.select(backend, *tensors)
    with without_autocast(forward.u.device):
        return chosen.function(forward, backward, delta_softplus, grid)


def goes_in_one_launch(u: torch.Tensor) -> bool:
    """Return True if both directions together are faster than one after the other."""
    return BACKENDS.select(None, u).name != 'torch'

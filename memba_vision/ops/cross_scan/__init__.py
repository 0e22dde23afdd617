"""The four selective scans of VMamba's mixer, SS2D (Liu et al. 2024, section 4.2)."""

import torch

from memba_vision.discovery import import_submodules
from memba_vision.ops.backends import BackendTable, without_autocast
from memba_vision.ops.bidirectional_scan.inputs import ScanInputs
from memba_vision.ops.checks import Signature
from memba_vision.ops.selective_scan import SHAPES, check_groups
from memba_vision.ops.selective_scan.grids import Grid, check_grid

__all__ = ['BACKENDS', 'cross_scan']

BACKENDS = BackendTable('cross_scan')
import_submodules(__name__, __path__)

DIRECTIONS = 'rows', 'columns', 'rows_back', 'columns_back'
SIGNATURE = Signature(
    'cross_scan',
    **{f'{way}.{name}': SHAPES[name] for way in DIRECTIONS for name in ScanInputs._fields},
)


def cross_scan(
    rows: ScanInputs,
    columns: ScanInputs,
    rows_back: ScanInputs,
    columns_back: ScanInputs,
    *,
    delta_softplus: bool = False,
    grid: Grid,
    backend: str | None = None,
) -> torch.Tensor:
    """Scan an image in four directions and add the results up.

    .. code-block:: text

        selective_scan(*rows)
        + selective_scan(*rows_back, reverse=True)
        + selective_scan(*columns, grid=grid)
        + selective_scan(*columns_back, reverse=True, grid=grid)

    Args:
        rows: sequences (batch, dim, length) and weights of the scan along the rows. The positions
            of an image lie row by row, in this and all other directions.
        columns: the same for the scan down the columns, of the same shapes.
        rows_back: the same for the scan along the rows from the last position to the first.
        columns_back: the same for the scan down the columns from the last position to the first.
        delta_softplus: pass the step sizes through softplus.
        grid: rows and columns of the image.
        backend: 'auto' (or None), or one of ``BACKENDS.names()``. 'numba' reads an ``u`` that all
            directions have in common once for all of them.

    Returns:
        (batch, dim, length) in the dtype of ``u``, row by row; the sum is taken in float32 at the
        least.

    Raises:
        UserError: the shapes, dtypes or devices of the tensors disagree, the grid has not as many
            positions as they, or the backend is unknown or cannot run on them.
    """
    scans = rows, columns, rows_back, columns_back
    tensors = [tensor for way in scans for tensor in way]
    sizes = SIGNATURE.check(*tensors)
    check_groups(SIGNATURE.op, sizes)
    check_grid(SIGNATURE.op, grid, sizes['length'])
    chosen = BACKENDS.select(backend, *tensors)
    with without_autocast(rows.u.device):
        return chosen.function(scans, delta_softplus, grid)

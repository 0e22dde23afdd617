"""The four selective scans of VMamba's mixer, SS2D (Liu et al. 2024, section 4.2)."""

import torch

from memba_vision.discovery import import_submodules
from memba_vision.ops.backends import BackendTable, without_autocast
from memba_vision.ops.checks import Signature
from memba_vision.ops.selective_scan.grids import check_grid

__all__ = ['BACKENDS', 'cross_scan']

BACKENDS = BackendTable('cross_scan')
import_submodules(__name__, __path__)

SIGNATURE = Signature(
    'cross_scan',
    u='batch, dim, length',
    delta='4, batch, dim, length',
    A='4, dim, state',
    B='4, batch, state, length',
    C='4, batch, state, length',
    D='4, dim or None',
    delta_bias='4, dim or None',
)


def cross_scan(
    u: torch.Tensor,
    delta: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    D: torch.Tensor | None = None,
    delta_bias: torch.Tensor | None = None,
    delta_softplus: bool = False,
    *,
    grid: tuple[int, int],
    backend: str | None = None,
) -> torch.Tensor:
    """Scan an image in four directions and add the results up.

    The directions are along the rows, down the columns, and both again from the last position to
    the first:

    .. code-block:: text

        selective_scan(u, delta[0], …)
        + selective_scan(u, delta[1], …, grid=grid)
        + selective_scan(u, delta[2], …, reverse=True)
        + selective_scan(u, delta[3], …, reverse=True, grid=grid)

    Args:
        u: input that all directions share, its positions row by row, (batch, dim, length).
        delta: step size of each direction, (4, batch, dim, length), row by row for all of them.
        A: decay rate, (4, dim, state).
        B: input matrix, (4, batch, state, length), row by row.
        C: read-out matrix, as ``B``.
        D: skip weight, (4, dim).
        delta_bias: added to ``delta`` before the softplus, (4, dim).
        delta_softplus: pass the step sizes through softplus.
        grid: rows and columns of the image.
        backend: 'auto' (or None), or one of ``BACKENDS.names()``.

    Returns:
        (batch, dim, length) in the dtype of ``u``, row by row; the sum is taken in float32 at the
        least.

    Raises:
        UserError: the shapes, dtypes or devices of the tensors disagree, the grid has not as many
            positions as they, or the backend is unknown or cannot run on them.
    """
    tensors = u, delta, A, B, C, D, delta_bias
    check_grid(SIGNATURE.op, grid, SIGNATURE.check(*tensors)['length'])
    scan = BACKENDS.select(backend, *tensors).function
    with without_autocast(u.device):
        return scan(*tensors, delta_softplus, grid)

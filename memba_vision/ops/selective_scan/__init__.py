"""The selective scan of Mamba (Gu and Dao 2023, section 3.2), forwards and backwards in space."""

import functools

import torch

from memba_vision.discovery import import_submodules
from memba_vision.errors import UserError
from memba_vision.ops.backends import BackendTable, without_autocast
from memba_vision.ops.checks import Signature
from memba_vision.ops.selective_scan.grids import Grid, check_grid
from memba_vision.ops.selective_scan.last_state import scan_with_last_state

__all__ = ['BACKENDS', 'SHAPES', 'check_groups', 'selective_scan']

BACKENDS = BackendTable('selective_scan')
import_submodules(__name__, __path__)

#: The tensors of a scan; :mod:`memba_vision.ops.checks` says how to read their shapes.
#:
#: :meta hide-value:
SHAPES = {
    'u': 'batch, dim, length',
    'delta': 'batch, dim, length',
    'A': 'dim, state',
    'B': 'batch, state, length or batch, groups, state, length',
    'C': 'batch, state, length or batch, groups, state, length',
    'D': 'dim or None',
    'z': 'batch, dim, length or None',
    'delta_bias': 'dim or None',
}
#: Advice where a tensor is a constant, by its name.
#:
#: :meta hide-value:
ADVICE = {
    name: f'; a constant one, (dim, state), is a group per channel: '
    f'{name}[None, :, :, None].expand(batch, -1, -1, length)'
    for name in ('B', 'C')
}
SIGNATURE = Signature('selective_scan', ADVICE, **SHAPES)


def selective_scan(
    u: torch.Tensor,
    delta: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    D: torch.Tensor | None = None,
    z: torch.Tensor | None = None,
    delta_bias: torch.Tensor | None = None,
    delta_softplus: bool = False,
    *,
    reverse: bool = False,
    grid: Grid | None = None,
    return_last_state: bool = False,
    backend: str | None = None,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Run the state-space recurrence of Mamba along the last axis, or down an image's columns.

    .. code-block:: text

        delta    = softplus(delta + delta_bias)                      (as asked for)
        h[t]     = exp(delta[t] * A) * h[t - 1] + delta[t] * B[t] * u[t]
        out[t]   = (sum over state of C[t] * h[t] + D * u[t]) * silu(z[t])

    Args:
        u: input, (batch, dim, length).
        delta: step size, (batch, dim, length).
        A: decay rate, negative in a trained model, (dim, state).
        B: input matrix, (batch, state, length), or (batch, groups, state, length), where each
            group has as many channels, one after the other. All backends but 'naive' and
            'mamba_ssm' scan the groups one by one.
        C: read-out matrix, as ``B``; of as many groups, or one for all.
        D: skip weight, (dim,).
        z: gate pre-activation, (batch, dim, length).
        delta_bias: added to ``delta`` before the softplus, (dim,).
        delta_softplus: pass the step size through softplus.
        reverse: scan from the last position to the first; nothing is flipped in memory where
            the backend can avoid it, and ``out[t]`` still belongs to ``u[t]``.
        grid: (rows, columns) of an image whose positions lie row by row along the last axis. The
            scan goes down the columns, from the first column to the last: at step ``t`` it is at
            position ``t % rows * columns + t // rows``. All tensors stay as they are, row by row.
            'numba' and 'triton' walk so; the others scan a copy. None scans along the last axis.
        return_last_state: return ``h`` behind the last step of the scan, too.
        backend: 'auto' (or None), or one of ``BACKENDS.names()``.

    Returns:
        (batch, dim, length) in the dtype of ``u``. The recurrence runs in float32 at the least,
        inside an autocast region too. With ``return_last_state`` also (batch, dim, state), in
        float32 at the least; gradients flow through both.

    Raises:
        UserError: the shapes, dtypes or devices of the tensors disagree, the grid has not as many
            positions as they, or the backend is unknown or cannot run on them.
    """
    tensors = u, delta, A, B, C, D, z, delta_bias
    sizes = SIGNATURE.check(*tensors)
    check_groups(SIGNATURE.op, sizes)
    check_grid(SIGNATURE.op, grid, sizes['length'])
    scan = BACKENDS.select(backend, *tensors).function
    if return_last_state:
        scan = functools.partial(scan_with_last_state, scan)
    # A backend that knows of no grids may go on without.
    options = {} if grid is None else {'grid': grid}
    with without_autocast(u.device):
        return scan(*tensors, delta_softplus, reverse, **options)


def check_groups(op: str, sizes: dict[str, int]) -> None:
    """Raise a UserError where channels cannot be shared out among the groups of B and C."""
    if sizes['dim'] % sizes.get('groups', 1):
        raise UserError(
            f'{op}: the channels of u must be a multiple of the groups of B and C, got '
            f'{sizes["dim"]} channels and {sizes["groups"]} groups'
        )

"""The selective scan as it was published for reading: what everybody starts from."""

import torch
import torch.nn.functional as F

from memba_vision.ops import ScanInputs
from memba_vision.ops.selective_scan.grids import Grid, columns_first, rows_first


def published_loop(
    u: torch.Tensor,
    delta: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    D: torch.Tensor,
    z: torch.Tensor | None = None,
    delta_bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """The algorithm of mamba-ssm's ``selective_scan_ref``: all decays and inputs first.

    Arguments and result are those of :func:`memba_vision.ops.selective_scan` with
    ``delta_softplus=True``; B and C may also have matrices for each channel, (batch, dim, state,
    length).
    """
    matrix = 'bnl' if B.ndim == 3 else 'bdnl'
    dtype, work_dtype = u.dtype, torch.promote_types(u.dtype, torch.float32)
    u, delta, B, C = (tensor.to(work_dtype) for tensor in (u, delta, B, C))
    delta = F.softplus(delta if delta_bias is None else delta + delta_bias[:, None])
    decays = torch.exp(torch.einsum('bdl,dn->bdln', delta, A))
    inputs = torch.einsum(f'bdl,{matrix},bdl->bdln', delta, B, u)
    state, outputs = u.new_zeros(len(u), *A.shape), []
    for t in range(u.shape[2]):
        state = decays[:, :, t] * state + inputs[:, :, t]
        outputs.append(torch.einsum(f'bdn,{matrix[:-1]}->bd', state, C[..., t]))
    out = torch.stack(outputs, dim=2) + u * D[:, None]
    return (out if z is None else out * F.silu(z)).to(dtype)


def published_cross_scan(*scans: ScanInputs, delta_softplus: bool, grid: Grid) -> torch.Tensor:
    """Scan an image in four directions by one loop, as VMamba does where it finds no kernels.

    Lays the sequences out in the order of each direction, and takes the channels of all directions
    side by side through :func:`published_loop`, with the matrices B and C repeated for each of
    them. Arguments and result are those of :func:`memba_vision.ops.cross_scan`.
    """
    assert delta_softplus, 'the published loop takes raw step sizes'
    dim = scans[0].u.shape[1]
    ways = [_in_order(way, k, grid) for k, way in enumerate(scans)]
    u, delta = (torch.cat([getattr(way, name) for way in ways], dim=1) for name in ('u', 'delta'))
    A, D, bias = (torch.cat([getattr(way, name) for way in ways]) for name in ADJACENT)
    B, C = (
        torch.cat([getattr(way, name)[:, None].expand(-1, dim, -1, -1) for way in ways], dim=1)
        for name in ('B', 'C')
    )
    outs = published_loop(u, delta, A, B, C, D, delta_bias=bias).split(dim, dim=1)
    return sum(_in_place(out, k, grid) for k, out in enumerate(outs))


ADJACENT = 'A', 'D', 'delta_bias'


def _in_order(way: ScanInputs, k: int, grid: Grid) -> ScanInputs:
    """Lay the sequences of direction ``k`` out in its order."""
    moved = {name: getattr(way, name) for name in ('u', 'delta', 'B', 'C')}
    if k % 2:
        moved = {name: columns_first(sequence, grid) for name, sequence in moved.items()}
    if k >= 2:
        moved = {name: sequence.flip(-1) for name, sequence in moved.items()}
    return way._replace(**moved)


def _in_place(out: torch.Tensor, k: int, grid: Grid) -> torch.Tensor:
    """Lay a result of direction ``k`` out row by row."""
    out = out.flip(-1) if k >= 2 else out
    return rows_first(out, grid) if k % 2 else out

"""The selective scan, position by position: slow, and written as the equations are."""

import torch
import torch.nn.functional as F

from memba_vision.ops.selective_scan import BACKENDS


@BACKENDS.register('naive', priority=-2, portable=True)
def selective_scan_naive(
    u: torch.Tensor,
    delta: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    D: torch.Tensor | None = None,
    z: torch.Tensor | None = None,
    delta_bias: torch.Tensor | None = None,
    delta_softplus: bool = False,
    reverse: bool = False,
    grid: tuple[int, int] | None = None,
) -> torch.Tensor:
    """See :func:`memba_vision.ops.selective_scan`: the reference for every other backend."""
    work_dtype = torch.promote_types(u.dtype, torch.float32)
    out_dtype = u.dtype
    u, delta, A, B, C = (tensor.to(work_dtype) for tensor in (u, delta, A, B, C))
    B, C = (_of_channels(tensor, u.shape[1]) for tensor in (B, C))
    if delta_bias is not None:
        delta = delta + delta_bias.to(work_dtype)[:, None]
    if delta_softplus:
        delta = F.softplus(delta)

    batch, dim, length = u.shape
    state = u.new_zeros(batch, dim, A.shape[1])
    outputs = [None] * length
    rows, columns = grid or (1, length)
    order = [t % rows * columns + t // rows for t in range(length)]
    for t in reversed(order) if reverse else order:
        decay = torch.exp(delta[:, :, t, None] * A)
        state = decay * state + (delta[:, :, t] * u[:, :, t])[..., None] * B[..., t]
        outputs[t] = (state * C[..., t]).sum(-1)
    out = torch.stack(outputs, dim=-1)

    if D is not None:
        out = out + u * D.to(work_dtype)[:, None]
    if z is not None:
        out = out * F.silu(z.to(work_dtype))
    return out.to(out_dtype)


def _of_channels(matrix: torch.Tensor, dim: int) -> torch.Tensor:
    """Return B or C as (batch, dim, state, length), or with 1 in the place of ``dim``."""
    if matrix.ndim == 3:
        return matrix[:, None]
    return matrix.repeat_interleave(dim // matrix.shape[1], dim=1)

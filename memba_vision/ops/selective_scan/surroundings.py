"""Activation, skip connection and gate around the recurrence, for backends without fused ones."""

from collections.abc import Callable

import torch
import torch.nn.functional as F

Recurrence = Callable[..., torch.Tensor]


def scan_with(
    recurrence: Recurrence,
    u: torch.Tensor,
    delta: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    D: torch.Tensor | None,
    z: torch.Tensor | None,
    delta_bias: torch.Tensor | None,
    delta_softplus: bool,
    reverse: bool,
) -> torch.Tensor:
    """Run the selective scan around ``recurrence(u, delta, A, B, C, reverse)``.

    Computes in float32 at least, and turns raw step sizes into those of the recurrence before it;
    adds the skip connection and multiplies by the gate after it. The recurrence returns
    (batch, dim, length); other shapes as in :func:`memba_vision.ops.selective_scan`.
    """
    work_dtype = torch.promote_types(u.dtype, torch.float32)
    out_dtype = u.dtype
    u, delta, A, B, C = (tensor.to(work_dtype) for tensor in (u, delta, A, B, C))
    if delta_bias is not None:
        delta = delta + delta_bias.to(work_dtype)[:, None]
    if delta_softplus:
        delta = F.softplus(delta)
    out = recurrence(u, delta, A, B, C, reverse)
    if D is not None:
        out = out + u * D.to(work_dtype)[:, None]
    if z is not None:
        out = out * F.silu(z.to(work_dtype))
    return out.to(out_dtype)

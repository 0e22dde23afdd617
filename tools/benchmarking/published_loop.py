"""The selective scan as it was published for reading: what everybody starts from."""

import torch
import torch.nn.functional as F


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
    ``delta_softplus=True``.
    """
    dtype, work_dtype = u.dtype, torch.promote_types(u.dtype, torch.float32)
    u, delta, B, C = (tensor.to(work_dtype) for tensor in (u, delta, B, C))
    delta = F.softplus(delta if delta_bias is None else delta + delta_bias[:, None])
    decays = torch.exp(torch.einsum('bdl,dn->bdln', delta, A))
    inputs = torch.einsum('bdl,bnl,bdl->bdln', delta, B, u)
    state, outputs = u.new_zeros(len(u), *A.shape), []
    for t in range(u.shape[2]):
        state = decays[:, :, t] * state + inputs[:, :, t]
        outputs.append(torch.einsum('bdn,bn->bd', state, C[:, :, t]))
    out = torch.stack(outputs, dim=2) + u * D[:, None]
    return (out if z is None else out * F.silu(z)).to(dtype)

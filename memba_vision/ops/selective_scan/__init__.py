"""The selective scan of Mamba (Gu and Dao 2023, section 3.2), forwards and backwards in space."""

import torch

from memba_vision.discovery import import_submodules
from memba_vision.ops.selective_scan.table import BACKENDS

import_submodules(__name__, __path__)

__all__ = ['BACKENDS', 'selective_scan']


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
    backend: str | None = None,
) -> torch.Tensor:
    """Run the state-space recurrence of Mamba along the last axis.

    .. code-block:: text

        delta    = softplus(delta + delta_bias)                      (as asked for)
        h[t]     = exp(delta[t] * A) * h[t - 1] + delta[t] * B[t] * u[t]
        out[t]   = (sum over state of C[t] * h[t] + D * u[t]) * silu(z[t])

    Args:
        u: input, (batch, dim, length).
        delta: step size, (batch, dim, length).
        A: decay rate, negative in a trained model, (dim, state).
        B: input matrix, (batch, state, length).
        C: read-out matrix, (batch, state, length).
        D: skip weight, (dim,).
        z: gate pre-activation, (batch, dim, length).
        delta_bias: added to ``delta`` before the softplus, (dim,).
        delta_softplus: pass the step size through softplus.
        reverse: scan from the last position to the first; nothing is flipped in memory where
            the backend can avoid it, and ``out[t]`` still belongs to ``u[t]``.
        backend: 'auto' (or None), or one of ``BACKENDS.names()``.

    Returns:
        (batch, dim, length) in the dtype of ``u``. The recurrence runs in float32 at the least,
        inside an autocast region too.

    Raises:
        UserError: the backend is unknown or cannot run on these tensors.
    """
    chosen = BACKENDS.select(backend, u)
    with torch.autocast(u.device.type, enabled=False):
        return chosen.function(u, delta, A, B, C, D, z, delta_bias, delta_softplus, reverse)

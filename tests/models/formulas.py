"""Parts of backbones from their formulas in plain torch, for references that are slow and plain."""

import torch
import torch.nn.functional as F


def below(w, prefix):
    """Return the weights whose names start with ``prefix``, without it."""
    return {k.removeprefix(prefix): v for k, v in w.items() if k.startswith(prefix)}


def make_images(*size, batch=2):
    """Return random images, (batch, 3, height, width)."""
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(1))


def layer_norm(w, name, x):
    """Normalise the last axis of ``x``, and scale and shift it."""
    x = x - x.mean(-1, keepdim=True)
    x = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return x * w[f'{name}.weight'] + w[f'{name}.bias']


def project_and_scan(x, x_proj, dt_proj, dt_bias, A_log, D):
    """Scan (batch, dim, length) with step sizes, B and C that are projected from it."""
    states = A_log.shape[1]
    made = x_proj @ x
    low, B, C = made.split([made.shape[1] - 2 * states, states, states], dim=1)
    return loop_scan(x, dt_proj @ low + dt_bias[:, None], -A_log.exp(), B, C, D)


def loop_scan(x, delta, A, B, C, D):
    """Scan (batch, dim, length) with step sizes of the same shape, before their softplus.

    ``h_t = exp(d_t A) h_{t-1} + d_t B_t x_t``, ``y_t = C_t h_t + D x_t``; A is (dim, state), B and
    C are (batch, state, length).
    """
    delta = F.softplus(delta)
    state = torch.zeros(x.shape[0], x.shape[1], A.shape[1], dtype=x.dtype)
    outputs = []
    for t in range(x.shape[-1]):
        step, value = delta[:, :, t, None], x[:, :, t, None]
        state = torch.exp(step * A) * state + step * B[:, None, :, t] * value
        outputs.append((state * C[:, None, :, t]).sum(-1) + D * x[:, :, t])
    return torch.stack(outputs, dim=-1)

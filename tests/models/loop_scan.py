"""The recurrence of the selective scan as its formula has it, position by position."""

import torch
import torch.nn.functional as F


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

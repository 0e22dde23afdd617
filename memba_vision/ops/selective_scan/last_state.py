"""The state that a scan ends in, read out by the scan itself, so that any backend yields it."""

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F

from memba_vision.ops.selective_scan.grids import Grid, walk_by_copy
from memba_vision.ops.selective_scan.surroundings import scan_with


def scan_with_last_state(
    scan: Callable[..., torch.Tensor], *arguments, grid: Grid | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the result and the last state, (batch, dim, state), of a backend's function.

    Behind the end of the scan come as many positions as there are states. Their step size is zero,
    which leaves the state as it is, and each reads out one of the states.

    Args:
        scan: the function of a backend.
        arguments: as for :func:`memba_vision.ops.selective_scan`, ``u`` first.
        grid: as for :func:`memba_vision.ops.selective_scan`, scanned as a copy.
    """
    last_states = []

    def recurrence(u, delta, A, B, C, reverse):
        state, length = A.shape[1], u.shape[-1]
        end = (state, 0) if reverse else (0, state)
        u, delta, B = (F.pad(tensor, end) for tensor in (u, delta, B))
        read_out = torch.eye(state, dtype=C.dtype, device=C.device).expand(*C.shape[:-1], state)
        C = torch.cat([read_out, C] if reverse else [C, read_out], dim=-1)
        out = scan(u, delta, A, B, C, reverse=reverse)
        parts = out.split([state, length] if reverse else [length, state], dim=-1)
        last_states.append(parts[0 if reverse else 1])
        return parts[1 if reverse else 0]

    out = walk_by_copy(functools.partial(scan_with, recurrence))(*arguments, grid=grid)
    return out, last_states[0]

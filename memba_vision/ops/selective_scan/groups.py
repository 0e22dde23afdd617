"""Grouped input and read-out matrices, for the backends that know of one for all channels."""

import functools
from collections.abc import Callable
from itertools import repeat

import torch


def one_group_at_a_time(scan: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Decorate a scan of B and C (batch, state, length) to take (batch, groups, state, length).

    Each group of channels is scanned by itself.
    """

    @functools.wraps(scan)
    def grouped(u, delta, A, B, C, D=None, z=None, delta_bias=None, *flags, **named):
        if B.ndim == 3 and C.ndim == 3:
            return scan(u, delta, A, B, C, D, z, delta_bias, *flags, **named)
        channels = u.shape[1] // max(t.shape[1] for t in (B, C) if t.ndim == 4)
        parts = zip(
            *(_channels(tensor, channels, 1) for tensor in (u, delta)),
            A.split(channels),
            *(repeat(tensor) if tensor.ndim == 3 else tensor.unbind(1) for tensor in (B, C)),
            _channels(D, channels, 0),
            _channels(z, channels, 1),
            _channels(delta_bias, channels, 0),
            strict=False,  # repeat has no end
        )
        return torch.cat([scan(*part, *flags, **named) for part in parts], dim=1)

    return grouped


def _channels(tensor: torch.Tensor | None, count: int, axis: int):
    """Split a tensor into groups of ``count`` channels; repeat None for None."""
    return repeat(None) if tensor is None else tensor.split(count, dim=axis)

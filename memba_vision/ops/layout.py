"""Channel-last memory of sequences, (batch, dim, length): the layout that kernels are fast on."""

import torch


def empty_channel_last(tensor: torch.Tensor) -> torch.Tensor:
    """Allocate a (batch, dim, length) like ``tensor`` as a view of (batch, length, dim) memory."""
    return tensor.new_empty(tensor.mT.shape).mT


def as_channel_last(tensor: torch.Tensor | None) -> torch.Tensor | None:
    """Return ``tensor`` if it is a view of contiguous (batch, length, dim), otherwise a copy."""
    return None if tensor is None else tensor.mT.contiguous().mT

"""Channel-last memory of sequences, (batch, dim, length): the layout that kernels are fast on."""

import torch


def empty_channel_last(tensor: torch.Tensor) -> torch.Tensor:
    """Allocate a (batch, dim, length) like ``tensor`` as a view of (batch, length, dim) memory."""
    return tensor.new_empty(tensor.mT.shape).mT


def empty_contiguous(tensor: torch.Tensor) -> torch.Tensor:
    """Allocate a tensor like another one, contiguous even where that is a part of a wider one."""
    return tensor.new_empty(tensor.shape)


def empty_gradient(tensor: torch.Tensor) -> torch.Tensor:
    """Allocate the gradient of a sequence, channel-last, or of a weight, contiguous."""
    return empty_channel_last(tensor) if tensor.ndim == 3 else empty_contiguous(tensor)


def as_channel_last(tensor: torch.Tensor | None) -> torch.Tensor | None:
    """Return ``tensor`` if it is a view of contiguous (batch, length, dim), otherwise a copy."""
    return None if tensor is None else tensor.mT.contiguous().mT

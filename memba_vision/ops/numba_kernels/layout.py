"""Sizes and memory layouts of the selective scan's tensors; known without numba."""

import torch

# Channels side by side in a tile, the SIMD axis; positions from one kept state to the next; and
# state dimensions that are worked on at once, held in registers.
WIDTH = 32
STEPS = 16
GROUP = 4


def is_channel_last(tensor: torch.Tensor) -> bool:
    """Whether (batch, dim, length) is a view of contiguous (batch, length, dim) memory."""
    return tensor.transpose(1, 2).is_contiguous()


def empty_like(tensor: torch.Tensor) -> torch.Tensor:
    """An uninitialised (batch, dim, length), channel-last where ``tensor`` is."""
    batch, dim, length = tensor.shape
    if is_channel_last(tensor):
        return tensor.new_empty(batch, length, dim).transpose(1, 2)
    return tensor.new_empty(batch, dim, length)


def empty_states(u: torch.Tensor, A: torch.Tensor, keep: bool) -> torch.Tensor:
    """Memory for the state at the start of each tile; (batch, blocks, tiles, state, WIDTH)."""
    batch, dim, length = u.shape
    tiles = -(-length // STEPS) if keep else 0
    return u.new_empty(batch, -(-dim // WIDTH), tiles, whole_groups(A.shape[1]), WIDTH)


def whole_groups(state: int) -> int:
    """``state`` dimensions filled up to a multiple of ``GROUP``."""
    return -(-state // GROUP) * GROUP

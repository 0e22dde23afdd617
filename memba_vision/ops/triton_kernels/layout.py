"""Sizes and memory layouts of the kernels' results. Importing this does not need Triton."""

import torch

from memba_vision.ops.layout import as_channel_last

# Channels of a program: one per lane of a warp, as in `channels.py`.
BLOCK = 32
# States of a channel that a thread holds; where there are more, more warps share a channel.
STATES_PER_WARP = 16
# Positions from one state that the forward pass keeps to the next.
CHUNK = 32


def empty_states(u: torch.Tensor, A: torch.Tensor, keep: bool, ways: int = 1) -> torch.Tensor:
    """Allocate the states before each chunk, (ways, batch, chunks, state, dim) float32."""
    batch, dim, length = u.shape
    chunks = -(-length // CHUNK) if keep else 0
    return u.new_empty(ways, batch, chunks, A.shape[1], dim, dtype=torch.float32)


def empty_mean(x: torch.Tensor, num_chunks: int, directions: int = 1) -> torch.Tensor:
    """Allocate the mean potentials, (directions * batch, dim, chunk) float32, channel-last."""
    batch, dim, length = x.shape
    chunk = -(-length // num_chunks)
    return x.new_empty(directions * batch, chunk, dim, dtype=torch.float32).mT


def as_rows(sequence: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Return a (batch, dim, length), its channels side by side, and the stride of its positions.

    It is a copy if it is not one row after the other. A part of a projection is, and needs none.
    """
    batch_stride, channel_stride, row = sequence.stride()
    if channel_stride != 1 or batch_stride != sequence.shape[2] * row:
        sequence, row = as_channel_last(sequence), sequence.shape[1]
    return sequence, row


def in_float32(tensor: torch.Tensor) -> torch.Tensor:
    """Return memory of a tensor's layout to add up in: the tensor itself where it is float32."""
    is_exact = tensor.dtype == torch.float32
    return tensor if is_exact else torch.empty_like(tensor, dtype=torch.float32)

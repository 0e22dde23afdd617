"""Sizes of the selective scan's work tensors; known without Triton."""

import torch

# Channels of a program: one per lane of a warp.
BLOCK = 32
# States of a channel that a thread holds; where there are more, more warps share a channel.
STATES_PER_WARP = 16
# Positions from one state that the forward pass keeps to the next.
CHUNK = 32


def empty_states(u: torch.Tensor, A: torch.Tensor, keep: bool) -> torch.Tensor:
    """Memory for the state before each chunk; (batch, chunks, state, dim) float32."""
    batch, dim, length = u.shape
    chunks = -(-length // CHUNK) if keep else 0
    return u.new_empty(batch, chunks, A.shape[1], dim, dtype=torch.float32)

"""Multi-head self-attention."""

import torch
import torch.nn.functional as F
from torch import nn

from memba_vision.models.modules.gates import GateState
from memba_vision.models.modules.linear import Linear, project
from memba_vision.models.sites import BlockSites, Rows


class Attention(nn.Module):
    """Self-attention among all positions of a sequence (Vaswani et al. 2017, section 3.2).

    Args:
        dim: width of the sequence, a multiple of ``num_heads``.
        num_heads: heads.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = Linear(dim, 3 * dim)
        self.proj = Linear(dim, dim)

    def forward(
        self, hidden: torch.Tensor, state: GateState = None
    ) -> tuple[torch.Tensor, GateState]:
        """Mix (batch, length, dim) along its length.

        Returns:
            (batch, length, dim), and the state for the next block.
        """
        qkv, state = project(self.qkv, hidden, state)
        query, key, value = qkv.unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2)), state

    def block_sites(self, name: str) -> BlockSites:
        """Return the places that adapters find here; ``name`` is the path of this module."""
        qkv, out = Rows(f'{name}.qkv'), Rows(f'{name}.proj')
        return BlockSites({'attn.qkv': (qkv,), 'attn.out': (out,)}, stateful=('attn.qkv',))

"""Learned tokens, as they are or made by a network (prefix tuning, Li and Liang 2021)."""

import torch
from torch import nn


class TokenTrunk(nn.Module):
    """The first layer of the network: an embedding per token, a linear layer and tanh.

    Args:
        count: tokens.
        width: width of the embeddings and of what comes out.
        like: a parameter whose device and dtype are taken.
    """

    def __init__(self, count: int, width: int, like: torch.Tensor) -> None:
        super().__init__()
        self.embedding = nn.Parameter(like.new_empty(count, width))
        self.hidden = nn.Linear(width, width, device=like.device, dtype=like.dtype)
        nn.init.normal_(self.embedding)

    def forward(self) -> torch.Tensor:
        """(count, width)."""
        return torch.tanh(self.hidden(self.embedding))


def plain_tokens(count: int, width: int, like: torch.Tensor) -> nn.Parameter:
    """Tokens of their own, (count, width), normally distributed as an embedding's."""
    return nn.Parameter(nn.init.normal_(like.new_empty(count, width)))

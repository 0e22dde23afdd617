"""Learned tokens, stored or made by a network (prefix tuning, Li and Liang 2021)."""

import torch
from torch import nn


class PlainTokens(nn.Module):
    """Tokens that are parameters, initialised like an embedding from a normal distribution.

    Args:
        count: tokens.
        width: width of a token.
        like: a parameter whose device and dtype are taken.
    """

    def __init__(self, count: int, width: int, like: torch.Tensor) -> None:
        super().__init__()
        self.values = nn.Parameter(nn.init.normal_(like.new_empty(count, width)))

    def forward(self) -> torch.Tensor:
        """Return the tokens, (count, width)."""
        return self.values


class TokenTrunk(nn.Module):
    """The first layer of a network that makes tokens: an embedding each, a linear layer and tanh.

    Args:
        count: tokens.
        width: width of the embeddings and of the tokens.
        like: a parameter whose device and dtype are taken.
    """

    def __init__(self, count: int, width: int, like: torch.Tensor) -> None:
        super().__init__()
        self.embedding = nn.Parameter(nn.init.normal_(like.new_empty(count, width)))
        self.hidden = nn.Linear(width, width, device=like.device, dtype=like.dtype)

    def forward(self) -> torch.Tensor:
        """Return the tokens, (count, width)."""
        return torch.tanh(self.hidden(self.embedding))


class ProjectedTokens(nn.Module):
    """Tokens made by the second, linear layer of the network.

    Args:
        trunk: the first layer. It may be shared, so it is registered elsewhere.
    """

    def __init__(self, trunk: TokenTrunk) -> None:
        super().__init__()
        like = trunk.hidden.weight
        self._trunk = (trunk,)  # in a tuple it is not a child
        self.project = nn.Linear(*like.shape, device=like.device, dtype=like.dtype)

    def forward(self) -> torch.Tensor:
        """Return the tokens, (count, width)."""
        return self.project(self._trunk[0]())

"""The slot of a backbone for tokens that are no part of the image."""

import torch
from torch import nn


class NoPrompt(nn.Module):
    """No such tokens: both ways, the sequence passes as it is. PEFT methods replace the module."""

    def insert(self, tokens: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, dim), with positions, to the sequence that the blocks get."""
        return tokens

    def remove(self, tokens: torch.Tensor) -> torch.Tensor:
        """The blocks' (batch, tokens + prompts, dim) to (batch, tokens, dim)."""
        return tokens

"""Slot of a backbone for tokens that are not part of the image."""

import torch
from torch import nn


class NoPrompt(nn.Module):
    """Empty slot, which returns the sequence unchanged. PEFT methods replace the module."""

    def insert(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the blocks' input for (batch, tokens, dim), with positions added already."""
        return tokens

    def remove(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return (batch, tokens, dim) of the blocks' output, (batch, tokens + prompts, dim)."""
        return tokens

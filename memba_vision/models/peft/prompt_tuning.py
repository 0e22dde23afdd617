"""Prompt tuning (Lester et al. 2021; VPT, Jia et al. 2022): tokens beside those of the image."""

import torch
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.modules.prompts import NoPrompt
from memba_vision.models.peft.adapter import Adapter
from memba_vision.models.peft.virtual_tokens import TokenTrunk, plain_tokens
from memba_vision.registry import ADAPTERS


class Prompt(nn.Module):
    """Learned tokens, half of them before the sequence and half of them after it.

    Args:
        count: tokens, an even number.
        width: width of the residual stream.
        project: make them by a two-layer network with tanh.
        like: a parameter whose device and dtype are taken.
    """

    def __init__(self, count: int, width: int, project: bool, like: torch.Tensor) -> None:
        super().__init__()
        self.half = count // 2
        if project:
            self.trunk = TokenTrunk(count, width, like)
            self.project = nn.Linear(width, width, device=like.device, dtype=like.dtype)
        else:
            self.tokens = plain_tokens(count, width, like)

    def insert(self, tokens: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, width), with positions, to (batch, tokens + count, width)."""
        own = self.tokens if hasattr(self, 'tokens') else self.project(self.trunk())
        before, after = own.expand(len(tokens), -1, -1).chunk(2, dim=1)
        return torch.cat([before, tokens, after], dim=1)

    def remove(self, tokens: torch.Tensor) -> torch.Tensor:
        """(batch, tokens + count, width) to (batch, tokens, width)."""
        return tokens[:, self.half : -self.half]


@ADAPTERS.register_module()
class PromptTuning(Adapter):
    """Learned tokens before and after the sequence that the first block gets.

    Trains ``num_tokens * embed_dims`` parameters, and with ``project`` the two layers of an MLP of
    the tokens' own width too: with 8 tokens on Vim-S 3,072 and 298,752 (with about 9 K of head the
    published 307 K). The prompts get no position and leave the sequence after the last block.
    Source: Yoshimura et al. 2025 (MambaPEFT), section 3.1, and the authors' code.

    Args:
        num_tokens: tokens, an even number of at least 2.
        project: make the tokens by a two-layer network with tanh.
    """

    def __init__(self, num_tokens: int = 8, project: bool = False) -> None:
        if num_tokens < 2 or num_tokens % 2:
            raise UserError(
                f'PromptTuning: num_tokens must be even and at least 2, half for either end, got '
                f'{num_tokens}'
            )
        self.num_tokens = num_tokens
        self.project = project

    def attach(self, backbone: nn.Module) -> None:
        """Replace the backbone's slot for prompts."""
        prompt = getattr(backbone, 'prompt', None)
        if isinstance(prompt, Prompt):
            raise UserError('PromptTuning: there are prompts already; use one PromptTuning alone')
        if not isinstance(prompt, NoPrompt):
            raise UserError(f'PromptTuning: {type(backbone).__name__} has no slot for prompts')
        width = backbone.embed_dims
        backbone.prompt = Prompt(self.num_tokens, width, self.project, backbone.cls_token)

    def merge(self, backbone: nn.Module) -> str:
        """It cannot: tokens are no weights."""
        return 'PromptTuning stays: its tokens are a part of the sequence, which no weight can be'

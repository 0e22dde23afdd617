"""Prompt tuning (Lester et al. 2021; VPT, Jia et al. 2022): tokens beside those of the image."""

import torch
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.peft.adapter import Adapter, check_free, replace_module
from memba_vision.models.peft.setting_checks import check_switch, check_whole
from memba_vision.models.peft.virtual_tokens import PlainTokens, ProjectedTokens, TokenTrunk
from memba_vision.registry import ADAPTERS


class Prompt(nn.Module):
    """Learned tokens, half of them before the sequence and half of them after it.

    Args:
        count: tokens, an even number.
        tokens: makes them, (count, embed_dims).
        trunk: the first layer of the network that makes them, if one does.
    """

    owner = 'PromptTuning'

    def __init__(
        self, count: int, tokens: PlainTokens | ProjectedTokens, trunk: TokenTrunk | None = None
    ) -> None:
        super().__init__()
        self.half = count // 2
        self.tokens = tokens
        self.trunk = trunk

    def insert(self, tokens: torch.Tensor) -> torch.Tensor:
        """Extend (batch, tokens, embed_dims) to (batch, tokens + count, embed_dims)."""
        before, after = self.tokens().expand(tokens.shape[0], -1, -1).chunk(2, dim=1)
        return torch.cat([before, tokens, after], dim=1)

    def remove(self, tokens: torch.Tensor) -> torch.Tensor:
        """Reduce (batch, tokens + count, embed_dims) to (batch, tokens, embed_dims)."""
        return tokens[:, self.half : -self.half]


@ADAPTERS.register_module()
class PromptTuning(Adapter):
    """Learned tokens before and after the first block's input.

    Trains ``num_tokens * embed_dims`` parameters, and with ``project`` the two layers of an MLP of
    the tokens' own width too: with 8 tokens on Vim-S 3,072 and 298,752 (with about 9 K of head the
    published 307 K). The prompts get no position and leave the sequence after the last block.
    Source: Yoshimura et al. 2025 (MambaPEFT), section 3.1, and the authors' code.

    Args:
        num_tokens: tokens, an even number of at least 2.
        project: make the tokens by a two-layer network with tanh.
    """

    needs = ('tokens',)

    def __init__(self, num_tokens: int = 8, project: bool = False) -> None:
        check_whole('PromptTuning', 'num_tokens', num_tokens, least=0)
        check_switch('PromptTuning', 'project', project)
        if num_tokens < 2 or num_tokens % 2:
            raise UserError(
                f'PromptTuning: num_tokens must be even and at least 2, half for either end, got '
                f'{num_tokens}'
            )
        self.num_tokens = num_tokens
        self.project = project

    def attach(self, backbone: nn.Module) -> None:
        """Replace the backbone's slot for prompts."""
        slot = self.sites(backbone).tokens
        check_free(backbone, 'PromptTuning', slot)
        shape = (self.num_tokens, backbone.embed_dims, next(backbone.parameters()))
        if self.project:
            trunk = TokenTrunk(*shape)
            prompt = Prompt(self.num_tokens, ProjectedTokens(trunk), trunk)
        else:
            prompt = Prompt(self.num_tokens, PlainTokens(*shape))
        replace_module(backbone, slot, prompt)

    def merge(self, backbone: nn.Module) -> str:
        """Return the reason why it stays: tokens are no weights."""
        return 'PromptTuning stays: its tokens are a part of the sequence, which no weight can be'

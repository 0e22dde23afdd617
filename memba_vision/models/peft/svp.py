"""Selective visual prompting (SVP, Yao et al. 2025): prompts made of the tokens they go to."""

from itertools import groupby
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.block_parts import PatchTokens
from memba_vision.models.modules.linear import Linear
from memba_vision.models.peft.adapter import Adapter
from memba_vision.models.peft.beside import add_before, fix_grid
from memba_vision.models.peft.low_rank import check_low_rank
from memba_vision.models.peft.setting_checks import check_whole
from memba_vision.registry import ADAPTERS


class CrossPrompter(nn.Module):
    """Map ``scale ⊙ silu(W x + b)`` that several blocks share, with ``scale`` zero at the start.

    Args:
        width: channels of a token.
        like: a parameter whose device and dtype are taken.
    """

    def __init__(self, width: int, like: torch.Tensor) -> None:
        super().__init__()
        self.project = Linear(width, width, device=like.device, dtype=like.dtype)
        self.scale = nn.Parameter(like.new_zeros(width))

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Map (batch, patches, width) to the same shape."""
        return self.scale * F.silu(self.project(patches))


class InnerPrompter(nn.Module):
    """Prompts of a block, ``scale ⊙ silu(up down x)`` of its own and those of a shared map.

    ``scale`` is zero at the start. Tokens that are no patches get none.

    Args:
        width: channels of a token.
        patches: the places of the patches.
        shared: the shared map. It is registered elsewhere.
        rank: channels between ``down`` and ``up``, which have biases.
        like: a parameter whose device and dtype are taken.
    """

    def __init__(
        self,
        width: int,
        patches: PatchTokens,
        shared: CrossPrompter,
        rank: int,
        like: torch.Tensor,
    ) -> None:
        super().__init__()
        self.patches = patches
        self._shared = (shared,)  # in a tuple it is not a child
        self.down = Linear(width, rank, device=like.device, dtype=like.dtype)
        self.up = Linear(rank, width, device=like.device, dtype=like.dtype)
        self.scale = nn.Parameter(like.new_zeros(width))

    def forward(self, hidden: torch.Tensor, *call: Any) -> torch.Tensor:
        """Return the prompts for (batch, tokens, width), of the same shape.

        Args:
            hidden: the input of a block.
            call: other arguments of the call of the block.
        """
        self.patches.grid_of(hidden, *call)
        patches, others = self.patches.take_apart(hidden.to(self.down.weight.dtype))
        prompts = self.scale * F.silu(self.up(self.down(patches))) + self._shared[0](patches)
        return self.patches.put_together(prompts, torch.zeros_like(others, dtype=prompts.dtype))


@ADAPTERS.register_module()
class SVP(Adapter):
    """Prompts added to the patches before every block.

    Trains ``rank * 2 * width + rank + 2 * width`` parameters per block, and ``width² + 2 * width``
    for each group of blocks that share a map; rank 64 and groups of 8 make 1,644,288 on Vim-S.
    Groups are of blocks of one stage. Source: Yao et al. 2025 (AAAI), section "Selective Visual
    Prompting", and the authors' code. That makes the prompts of the previous mixer's output alone,
    and those of the second half of the tokens partly from the first half; here both are made of the
    block's input, token by token, as the paper's formulas say.

    Args:
        rank: channels inside the map that every block has of its own.
        share: blocks that share the other map.
    """

    needs = ('block', 'patches')

    def __init__(self, rank: int = 64, share: int = 8) -> None:
        check_low_rank('SVP', rank, 0)
        check_whole('SVP', 'share', share)
        self.rank = rank
        self.share = share

    def attach(self, backbone: nn.Module) -> None:
        """Put prompters before each block, and the shared maps into the backbone."""
        like, sites = next(backbone.parameters()), self.sites(backbone)
        if hasattr(backbone, 'svp'):
            raise UserError('SVP: there is one already; use one SVP alone')
        backbone.svp = nn.ModuleList()
        for _, stage in groupby(sites.blocks, lambda block: block.stage):
            parts = [block.parts for block in stage if block.parts]
            for number, part in enumerate(parts):
                if number % self.share == 0:
                    backbone.svp.append(CrossPrompter(part.width, like))
                prompter = InnerPrompter(
                    part.width, part.patches, backbone.svp[-1], self.rank, like
                )
                add_before(backbone, part.block, 'svp', prompter)
        fix_grid(backbone, sites)

    def merge(self, backbone: nn.Module) -> str:
        """Return the reason why it stays: what it adds depends on the tokens."""
        return 'SVP stays: the prompts that it adds depend on the tokens, which no weight does'

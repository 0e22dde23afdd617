"""Visual prompt tuning (VPT, Jia et al. 2022): learned tokens at the input, or at every block."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.modules.dropout import ScaledDropout
from memba_vision.models.peft.adapter import Adapter, check_free, hands_on_state, replace_module
from memba_vision.models.peft.beside import first_of, put_child, with_first
from memba_vision.models.peft.setting_checks import check_drop_rate, check_switch, check_whole
from memba_vision.models.sites import Sites, absence, check_share_of_blocks
from memba_vision.registry import ADAPTERS


class VisualPrompts(nn.Module):
    """Learned tokens in front of a sequence.

    They start from a uniform distribution, as wide as Xavier's for the patch embedding.

    Args:
        count: tokens.
        width: channels of a token.
        inputs: values of a patch.
        like: a parameter whose device and dtype are taken.
        drop_rate: dropout on the tokens.
    """

    owner = 'VPT'
    #: True where other blocks of the backbone have shorter sequences.
    in_some_blocks = False

    def __init__(
        self, count: int, width: int, inputs: int, like: torch.Tensor, drop_rate: float
    ) -> None:
        super().__init__()
        bound = math.sqrt(6 / (inputs + width))
        self.tokens = nn.Parameter(nn.init.uniform_(like.new_empty(count, width), -bound, bound))
        self.dropout = ScaledDropout(drop_rate)

    def insert(self, tokens: torch.Tensor) -> torch.Tensor:
        """Extend (batch, tokens, width) to (batch, count + tokens, width)."""
        prompts = self.dropout(self.tokens.expand(tokens.shape[0], -1, -1))
        return torch.cat([prompts.to(tokens.dtype), tokens], dim=1)

    def remove(self, tokens: torch.Tensor) -> torch.Tensor:
        """Reduce (batch, count + tokens, width) to (batch, tokens, width)."""
        return tokens[:, len(self.tokens) :]


# The hooks hold names and paths, not modules, so that a copy of the backbone has its own.


def _insert(block: nn.Module, inputs: tuple) -> tuple:
    return block.vpt.insert(inputs[0]), *inputs[1:]


def _remove(block: nn.Module, inputs: tuple, output: Any) -> Any:
    return with_first(output, block.vpt.remove(first_of(output)))


def _remove_first(count: int, block: nn.Module, inputs: tuple, output: Any) -> Any:
    return with_first(output, first_of(output)[:, count:])


@ADAPTERS.register_module()
class VPT(Adapter):
    """Learned tokens in front of the first block's input or, if ``deep``, of every block's.

    Deep prompts leave the sequence behind the block that they are for: the next one has its own.
    Trains ``num_tokens * width`` parameters, for each block if ``deep``: with 10 tokens on Vim-S
    3,840 and 92,160. Source: Jia et al. 2022 (ECCV), section 3.2, and the authors' code, which has
    the prompts behind the class token; to attention without positions that is the same.

    Args:
        num_tokens: tokens.
        deep: give every block prompts of its own.
        drop_rate: dropout on the prompts.
        blocks: of deep prompts, see :func:`memba_vision.models.sites.check_share_of_blocks`.
    """

    added_later = ('blocks',)

    def __init__(
        self,
        num_tokens: int = 10,
        deep: bool = False,
        drop_rate: float = 0.1,
        blocks: Sequence[float] | None = None,
    ) -> None:
        check_share_of_blocks('VPT', blocks)
        check_switch('VPT', 'deep', deep)
        if blocks is not None and not deep:
            raise UserError('VPT: blocks is for deep prompts: set deep=True, or leave it out')
        self.blocks = blocks
        check_whole('VPT', 'num_tokens', num_tokens)
        check_drop_rate('VPT', drop_rate)
        self.count = num_tokens
        self.deep = deep
        self.drop_rate = drop_rate
        self.needs = ('length',) if deep else ()

    def attach(self, backbone: nn.Module) -> None:
        """Put prompts before the first block, or around every one."""
        sites = self.sites(backbone)
        if self.deep:
            parts = sites.within(self.blocks).parts()
            in_some_blocks = len(parts) < len(sites.parts())
            if in_some_blocks and hands_on_state(backbone):
                raise UserError(
                    'VPT: blocks makes the sequence longer in some of the blocks, and the state of '
                    'another adapter goes from block to block: leave blocks out, or set '
                    'cross_layer=False where there is one'
                )
            for part in parts:
                prompts = self._prompts(backbone, sites, part)
                prompts.in_some_blocks = in_some_blocks
                block = put_child(backbone, part.block, 'vpt', prompts)
                block.register_forward_pre_hook(_insert)
                block.register_forward_hook(_remove)
        elif sites.tokens:
            check_free(backbone, 'VPT', sites.tokens)
            prompts = self._prompts(backbone, sites, sites.parts()[0])
            replace_module(backbone, sites.tokens, prompts)
        else:
            self._put_around_all(backbone, sites)

    def _put_around_all(self, backbone: nn.Module, sites: Sites) -> None:
        """Insert prompts before the first block, and remove them behind the last one."""
        parts = sites.parts()
        is_sequence = parts and all(part.any_length for part in parts)
        if not is_sequence or sites.blocks[-1].stage > 0:
            raise UserError(f'VPT {absence(backbone, "tokens")}')
        last = len(parts) - 1
        numbers = getattr(backbone, 'out_indices', [last])
        if any(number not in (last, -1) for number in numbers):
            raise UserError(
                'VPT: the prompts stay in the sequence up to the last block, so the output of an '
                f'earlier one has no patches alone: set out_indices=-1, got {list(numbers)}, or '
                'deep=True'
            )
        prompts = self._prompts(backbone, sites, parts[0])
        block = put_child(backbone, parts[0].block, 'vpt', prompts)
        block.register_forward_pre_hook(_insert)
        remove = partial(_remove_first, self.count)
        backbone.get_submodule(parts[-1].block).register_forward_hook(remove)

    def _prompts(self, backbone: nn.Module, sites: Sites, part: Any) -> VisualPrompts:
        like = next(backbone.parameters())
        embed = backbone.get_submodule(sites.embed.module) if sites.embed else None
        inputs = part.width if embed is None else embed.weight[0].numel()
        return VisualPrompts(self.count, part.width, inputs, like, self.drop_rate)

    def merge(self, backbone: nn.Module) -> str:
        """Return the reason why it stays: tokens are no weights."""
        return 'VPT stays: its tokens are a part of the sequence, which no weight can be'

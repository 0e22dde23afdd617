"""Affix tuning (MambaPEFT): learned tokens at the start of each scan, dropped after it."""

import torch
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.peft.adapter import DIRECTIONS, Adapter, find_mixers
from memba_vision.models.peft.virtual_tokens import TokenTrunk, plain_tokens
from memba_vision.registry import ADAPTERS


class AffixScan(nn.Module):
    """A scan that starts on learned tokens, in its own direction.

    The tokens have the width of in_proj's output, ``2 * d_inner``. Their second half is the gate
    of positions that are dropped: it has no effect, but the published size counts it.

    Args:
        base_layer: the scan.
        count: tokens.
        d_inner: channels of the scan.
        trunk: the first layer of the network that makes the tokens, shared by all scans and owned
            by the backbone; None stands for tokens of their own.
        like: a parameter whose device and dtype are taken.
    """

    def __init__(
        self,
        base_layer: nn.Module,
        count: int,
        d_inner: int,
        trunk: TokenTrunk | None,
        like: torch.Tensor,
    ) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.count = count
        self.d_inner = d_inner
        width = 2 * d_inner
        if trunk is None:
            self.tokens = plain_tokens(count, width, like)
        else:
            self._trunk = (trunk,)  # not a child: its parameters are those of the backbone's
            self.project = nn.Linear(width, width, device=like.device, dtype=like.dtype)

    def forward(
        self,
        x: torch.Tensor,
        conv1d: nn.Module,
        x_proj: nn.Module,
        dt_proj: nn.Module,
        A_log: torch.Tensor,
        D: torch.Tensor,
        reverse: bool,
    ) -> torch.Tensor:
        """See :class:`memba_vision.models.modules.mixer.DirectionScan`."""
        tokens = self.tokens if hasattr(self, 'tokens') else self.project(self._trunk[0]())
        affix = tokens[:, : self.d_inner].T.expand(len(x), -1, -1).to(x.dtype)
        x = torch.cat([x, affix.flip(-1)] if reverse else [affix, x], dim=-1)
        scan = self.base_layer(x, conv1d, x_proj, dt_proj, A_log, D, reverse)
        return scan[:, : -self.count] if reverse else scan[:, self.count :]


@ADAPTERS.register_module()
class AffixTuning(Adapter):
    """Learned tokens before the convolution of every scan.

    Trains ``2 * num_tokens * 2 * d_inner`` parameters per block: with 3 tokens on Vim-S, 221,184.
    With ``project``, a two-layer network with tanh makes the tokens of all blocks; its first
    layer is shared, its hidden width that of the tokens: 115,685,376. That is what the authors'
    code builds and 1.1 % less than the published 117,000 K, which no hidden width but an odd one
    (1,553) would meet. Source: Yoshimura et al. 2025 (MambaPEFT), section 3.2.

    Args:
        num_tokens: tokens per block and direction.
        project: make the tokens by a two-layer network with tanh.
    """

    def __init__(self, num_tokens: int = 3, project: bool = False) -> None:
        if num_tokens < 1:
            raise UserError(f'AffixTuning: num_tokens must be at least 1, got {num_tokens}')
        self.num_tokens = num_tokens
        self.project = project

    def attach(self, backbone: nn.Module) -> None:
        """Put an :class:`AffixScan` around both scans of every mixer."""
        mixers = find_mixers(backbone, 'AffixTuning')
        if any(isinstance(mixer.scan, AffixScan) for mixer in mixers.values()):
            raise UserError('AffixTuning: there are affixes already; use one AffixTuning alone')
        trunk = None
        if self.project:
            first = next(iter(mixers.values()))
            trunk = TokenTrunk(self.num_tokens, 2 * first.d_inner, first.A_log)
            backbone.add_module('affix', trunk)
        for mixer in mixers.values():
            for suffix in DIRECTIONS:
                scan = getattr(mixer, f'scan{suffix}')
                affixed = AffixScan(scan, self.num_tokens, mixer.d_inner, trunk, mixer.A_log)
                setattr(mixer, f'scan{suffix}', affixed)

    def merge(self, backbone: nn.Module) -> str:
        """It cannot: tokens are no weights."""
        return 'AffixTuning stays: its tokens are a part of the sequence, which no weight can be'


def check_no_affix(mixers: dict[str, nn.Module], adapter: str) -> None:
    """Raise a UserError where an affix is in the way of an adapter that must be inside it."""
    if any(isinstance(mixer.scan, AffixScan) for mixer in mixers.values()):
        raise UserError(
            f'{adapter}: the affixes make the sequence longer than its scan gives back: put '
            f'AffixTuning after {adapter} in the list of adapters'
        )

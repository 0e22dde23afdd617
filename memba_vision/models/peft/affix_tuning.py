"""Affix tuning (MambaPEFT): learned tokens at the start of each scan, dropped after it."""

import torch
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.modules.scan import ScanCall, WrappedScan, column_order, row_order
from memba_vision.models.peft.adapter import Adapter, wrap_scans
from memba_vision.models.peft.setting_checks import check_switch, check_whole
from memba_vision.models.peft.virtual_tokens import PlainTokens, ProjectedTokens, TokenTrunk
from memba_vision.models.sites import BlockSites, ScanSite, tensor_at
from memba_vision.registry import ADAPTERS


class AffixScan(WrappedScan):
    """Scan that starts on learned tokens, in its own direction.

    Args:
        base_layer: the scan.
        tokens: makes the tokens, as wide as the output of in_proj: (count, 2 * d_inner), or (count,
            d_inner) without a gate. The second half is the gate of positions that are dropped: it
            has no effect, but the published size counts it.
    """

    owner = 'AffixTuning'
    lengthens = True

    def __init__(self, base_layer: nn.Module, tokens: PlainTokens | ProjectedTokens) -> None:
        super().__init__(base_layer)
        self.tokens = tokens

    def forward(self, call: ScanCall) -> torch.Tensor:
        """See :class:`memba_vision.models.modules.scan.DirectionScan`."""
        if call.grid is not None:
            # With the tokens the sequence is no grid any longer.
            plain = call._replace(x=column_order(call.x, call.grid), grid=None)
            return row_order(self(plain).transpose(1, 2), call.grid).transpose(1, 2)
        tokens, x = self.tokens(), call.x
        count, d_inner = len(tokens), x.shape[1]
        affix = tokens[:, :d_inner].T.expand(x.shape[0], -1, -1).to(x.dtype)
        x = torch.cat([x, affix.flip(-1)] if call.reverse else [affix, x], dim=-1)
        scan = self.base_layer(call._replace(x=x))
        return scan[:, :-count] if call.reverse else scan[:, count:]


@ADAPTERS.register_module()
class AffixTuning(Adapter):
    """Learned tokens before every scan, and before its convolution where it has one of its own.

    Trains, for each direction, ``num_tokens`` times the width of in_proj: with 3 tokens on Vim-S
    221,184, on VMamba's small_s2l15 188,928. With ``project``, a two-layer network with tanh makes
    the tokens of all blocks; its first layer is shared, its hidden width that of the tokens:
    115,685,376. That is what the authors' code builds and 1.1 % less than the published 117,000 K,
    which no hidden width but an odd one (1,553) would meet. Source: Yoshimura et al. 2025
    (MambaPEFT), section 3.2.

    Args:
        num_tokens: tokens per block and direction.
        project: make the tokens by a two-layer network with tanh.
    """

    needs = ('scan', 'mix.x')

    def __init__(self, num_tokens: int = 3, project: bool = False) -> None:
        check_whole('AffixTuning', 'num_tokens', num_tokens)
        check_switch('AffixTuning', 'project', project)
        self.num_tokens = num_tokens
        self.project = project

    def attach(self, backbone: nn.Module) -> None:
        """Put an :class:`AffixScan` around the scan of every direction."""
        sites = self.sites(backbone)
        widths = {scan.slot: _width(block) for block in sites.blocks for scan in block.scans}
        if any(isinstance(backbone.get_submodule(slot), AffixScan) for slot in widths):
            raise UserError('AffixTuning: there are affixes already; use one AffixTuning alone')
        if self.project:
            different = sorted(set(widths.values()))
            if len(different) > 1:
                raise UserError(
                    f'AffixTuning: the blocks have the widths {different}, and project=True '
                    'makes the tokens of all of them by one network: set project=False'
                )
            like = tensor_at(backbone, sites.scans()[0].A_log)
            backbone.add_module('affix', TokenTrunk(self.num_tokens, different[0], like))

        def wrap(site: ScanSite, scan: nn.Module) -> nn.Module:
            if self.project:
                return AffixScan(scan, ProjectedTokens(backbone.affix))
            like = tensor_at(backbone, site.A_log)
            return AffixScan(scan, PlainTokens(self.num_tokens, widths[site.slot], like))

        wrap_scans(backbone, 'AffixTuning', sites, wrap)

    def merge(self, backbone: nn.Module) -> str:
        """Return the reason why it stays: tokens are no weights."""
        return 'AffixTuning stays: its tokens are a part of the sequence, which no weight can be'


def _width(block: BlockSites) -> int:
    """Return how many outputs of a block's input projection make x and the gate."""
    parts = [block.projections.get(role, ()) for role in ('mix.x', 'mix.z')]
    return sum(len(rows.rows) for part in parts for rows in part)

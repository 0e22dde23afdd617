"""Additional scan (MambaPEFT): more dimensions of the state, which are all that trains."""

import torch
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.modules.linear import Linear
from memba_vision.models.modules.scan import ScanCall, WrappedScan, minus_exp
from memba_vision.models.peft.adapter import Adapter, wrap_scans
from memba_vision.models.peft.setting_checks import check_whole
from memba_vision.models.sites import ScanSite, tensor_at
from memba_vision.ops import ScanInputs
from memba_vision.registry import ADAPTERS


class WiderScan(WrappedScan):
    """Scan with additional dimensions of the state, before the others.

    Args:
        base_layer: the scan.
        A_log: ``A_log`` of the scan's direction, (d_inner, d_state); the new columns are copies of
            its first one, their neighbour.
        num_states: dimensions to add.
    """

    no_weight_decay = ('A_log',)

    def __init__(self, base_layer: nn.Module, A_log: torch.Tensor, num_states: int) -> None:
        super().__init__(base_layer)
        self.A_log = nn.Parameter(A_log.detach()[:, :1].repeat(1, num_states))
        like = dict(device=A_log.device, dtype=A_log.dtype)
        self.x_proj = Linear(len(A_log), 2 * num_states, bias=False, **like)

    def prepare(self, call: ScanCall) -> ScanInputs:
        """Prepare the scan inside, and put more rows before A, B and C."""
        inputs = self.base_layer.prepare(call)
        more = self.x_proj(inputs.u.transpose(1, 2)).transpose(1, 2)
        more_B, more_C = more.chunk(2, dim=1)
        return inputs._replace(
            A=torch.cat([minus_exp(self.A_log), inputs.A], dim=1),
            B=torch.cat([more_B, inputs.B], dim=1),
            C=torch.cat([more_C, inputs.C], dim=1),
        )


@ADAPTERS.register_module()
class AdditionalScan(Adapter):
    """Additional dimensions of the state in every scan, with their rows of A, B and C.

    Trains ``3 * num_states * d_inner`` parameters for each direction of a block: with 6 on Vim-S
    663,552, with 1 on VMamba's small_s2l15 188,928. What the new dimensions contribute is not zero
    at the start: their rows of ``x_proj`` are random, as in the authors' code. Source: Yoshimura et
    al. 2025 (MambaPEFT), section 3.2.

    Args:
        num_states: dimensions to add.
    """

    needs = ('scan',)

    def __init__(self, num_states: int = 6) -> None:
        check_whole('AdditionalScan', 'num_states', num_states)
        self.num_states = num_states

    def attach(self, backbone: nn.Module) -> None:
        """Put a :class:`WiderScan` around the scan of every direction."""

        def wrap(site: ScanSite, scan: nn.Module) -> nn.Module:
            if any(isinstance(module, WiderScan) for module in scan.modules()):
                raise UserError('AdditionalScan: the state is wider already; use one of them alone')
            return WiderScan(scan, tensor_at(backbone, site.A_log), self.num_states)

        wrap_scans(backbone, 'AdditionalScan', self.sites(backbone), wrap)

    def merge(self, backbone: nn.Module) -> str:
        """Return the reason why it stays: the weights of the backbone have no room for it."""
        return 'AdditionalScan stays: its states would make A_log and x_proj wider than they are'

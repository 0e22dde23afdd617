"""State-offset tuning (Kang et al. 2025): a learned offset of the state wherever it is read."""

from typing import Any

import torch
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.peft.adapter import DIRECTIONS, Adapter, find_mixers
from memba_vision.models.peft.affix_tuning import check_no_affix
from memba_vision.registry import ADAPTERS


class StateOffsetScan(nn.Module):
    """``y_t = C_t (h_t + offset) + D x_t``: an offset that C reads and the recurrence never sees.

    Args:
        base_layer: the scan.
        A_log: that of the scan's direction, (d_inner, d_state), for the offset's shape.
    """

    def __init__(self, base_layer: nn.Module, A_log: torch.Tensor) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.offset = nn.Parameter(torch.zeros_like(A_log))

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
        read_out = []

        def tapped_x_proj(hidden: torch.Tensor) -> torch.Tensor:
            projected = x_proj(hidden)
            read_out.append(projected[..., -self.offset.shape[1] :])
            return projected

        scan = self.base_layer(x, conv1d, tapped_x_proj, dt_proj, A_log, D, reverse)
        (C,) = read_out
        return scan + C @ self.offset.T


class OutputOffsetScan(nn.Module):
    """``y_t = C_t h_t + D x_t + offset``: the smaller variant, one number per channel.

    Args:
        base_layer: the scan.
        D: that of the scan's direction, (d_inner,), for the offset's shape.
    """

    def __init__(self, base_layer: nn.Module, D: torch.Tensor) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.offset = nn.Parameter(torch.zeros_like(D))

    def forward(self, *inputs: Any, **settings: Any) -> torch.Tensor:
        """See :class:`memba_vision.models.modules.mixer.DirectionScan`."""
        return self.base_layer(*inputs, **settings) + self.offset


@ADAPTERS.register_module()
class StateOffset(Adapter):
    """A learned offset of the state's read-out in every scan, zero at the start.

    Trains ``2 * d_inner * d_state`` parameters per block with ``of='state'``, on Vim-S 589,824,
    and ``2 * d_inner`` with ``of='output'``, 36,864. Source: Kang et al. 2025 (ACL), section 4,
    "State-offset Tuning (h)" and "(y)", and the authors' code.

    Args:
        of: 'state', to which C_t applies, or 'output', after it.
    """

    KINDS = ('state', 'output')

    def __init__(self, of: str = 'state') -> None:
        if of not in self.KINDS:
            raise UserError(f'StateOffset: unknown of={of!r}; known are {", ".join(self.KINDS)}')
        self.of = of

    def attach(self, backbone: nn.Module) -> None:
        """Put a scan with an offset around both scans of every mixer."""
        mixers = find_mixers(backbone, 'StateOffset')
        check_no_affix(mixers, 'StateOffset')
        for mixer in mixers.values():
            for suffix in DIRECTIONS:
                scan = getattr(mixer, f'scan{suffix}')
                if self.of == 'state':
                    scan = StateOffsetScan(scan, getattr(mixer, f'A{suffix}_log'))
                else:
                    scan = OutputOffsetScan(scan, getattr(mixer, f'D{suffix}'))
                setattr(mixer, f'scan{suffix}', scan)

    def merge(self, backbone: nn.Module) -> str:
        """It cannot: Vim adds no constant to its scans."""
        return 'StateOffset stays: no weight of Vim adds a constant to the read-out of its state'

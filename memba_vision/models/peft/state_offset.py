"""State-offset tuning (Kang et al. 2025): a learned offset of the state wherever it is read."""

import torch
from torch import nn

from memba_vision.errors import UserError
from memba_vision.models.modules.scan import ScanCall, WrappedScan
from memba_vision.models.peft.adapter import Adapter, wrap_scans
from memba_vision.models.sites import ScanSite, tensor_at
from memba_vision.ops import ScanInputs
from memba_vision.registry import ADAPTERS


class StateOffsetScan(WrappedScan):
    """Scan with an offset that C reads and the recurrence never sees.

    ``y_t = C_t (h_t + offset) + D x_t``

    Args:
        base_layer: the scan.
        A_log: decay rates of the scan's direction, (d_inner, d_state), for the offset's shape.
    """

    def __init__(self, base_layer: nn.Module, A_log: torch.Tensor) -> None:
        super().__init__(base_layer)
        self.offset = nn.Parameter(torch.zeros_like(A_log))

    def run(self, inputs: ScanInputs, call: ScanCall) -> torch.Tensor:
        """Run the recurrence, and add the read-out of the offset by C."""
        C = inputs.C[:, -self.offset.shape[1] :].transpose(1, 2)
        return self.base_layer.run(inputs, call) + C @ self.offset.T


class OutputOffsetScan(WrappedScan):
    """Scan with an offset of its output, the smaller variant: one number per channel.

    ``y_t = C_t h_t + D x_t + offset``

    Args:
        base_layer: the scan.
        D: skip weights of the scan's direction, (d_inner,), for the offset's shape.
    """

    def __init__(self, base_layer: nn.Module, D: torch.Tensor) -> None:
        super().__init__(base_layer)
        self.offset = nn.Parameter(torch.zeros_like(D))

    def run(self, inputs: ScanInputs, call: ScanCall) -> torch.Tensor:
        """Run the recurrence, and add the offset."""
        return self.base_layer.run(inputs, call) + self.offset


@ADAPTERS.register_module()
class StateOffset(Adapter):
    """A learned offset of the state's read-out in every scan, zero at the start.

    Trains ``d_inner * d_state`` parameters for each direction of a block with ``of='state'``, on
    Vim-S 589,824, and ``d_inner`` with ``of='output'``, 36,864. Source: Kang et al. 2025 (ACL),
    section 4, "State-offset Tuning (h)" and "(y)", and the authors' code.

    Args:
        of: 'state', to which C_t applies, or 'output', after it.
    """

    needs = ('scan',)
    KINDS = ('state', 'output')

    def __init__(self, of: str = 'state') -> None:
        if of not in self.KINDS:
            raise UserError(f'StateOffset: unknown of={of!r}; known are {", ".join(self.KINDS)}')
        self.of = of

    def attach(self, backbone: nn.Module) -> None:
        """Put a scan with an offset around the scan of every direction."""

        def wrap(site: ScanSite, scan: nn.Module) -> nn.Module:
            if self.of == 'state':
                return StateOffsetScan(scan, tensor_at(backbone, site.A_log))
            return OutputOffsetScan(scan, tensor_at(backbone, site.D))

        wrap_scans(backbone, 'StateOffset', self.sites(backbone), wrap)

    def merge(self, backbone: nn.Module) -> str:
        """Return the reason why it stays: no backbone adds a constant to its scans."""
        return 'StateOffset stays: no weight adds a constant to the read-out of its state'

"""The mixer of MambaVision: one direction, and a branch beside the scan instead of a gate."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from memba_vision.models.modules.gates import GateState
from memba_vision.models.modules.linear import Linear, project
from memba_vision.models.modules.mixer import DeltaProjection
from memba_vision.models.modules.mixer_sites import MixerSizes, mixer_projections
from memba_vision.models.modules.scan import DirectionScan, ScanCall
from memba_vision.models.sites import BlockSites, ScanSite

WIDTH = 3  # of the convolutions


class SameConv1d(nn.Conv1d):
    """A depthwise convolution that looks to both sides, without a bias, and SiLU."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim, WIDTH, padding=WIDTH // 2, groups=dim, bias=False)

    def forward(self, x: torch.Tensor, reverse: bool = False) -> torch.Tensor:
        """Convolve (batch, dim, length) along its last axis, in either direction, and activate."""
        return F.silu(super().forward(x))


class TwiceBiasedDelta(DeltaProjection):
    """A projection to the step size whose mixer adds its bias once more."""

    bias_uses = 2


class MambaVisionMixer(nn.Module):
    """Scan one half of the channels, convolve the other, and project both (Hatamizadeh et al.).

    .. code-block:: text

        x, z        = in_proj(hidden)
        x           = silu(conv1d_x(x)); delta, B, C = x_proj(x)
        y           = selective_scan(x, softplus(dt_proj(delta) + bias), A, B, C, D)
        out         = out_proj([y, silu(conv1d_z(z))])

    ``bias`` is that of ``dt_proj``, which is added twice: the pre-trained weights are made for it.
    It is the one parameter of a projection that is read here; otherwise the mixer calls its
    projections and its scan, so that each can be replaced by an adapter around it.

    Args:
        dim: width of the sequence, an even number.
        d_state: state dimensions per channel.
    """

    def __init__(self, dim: int, d_state: int = 8) -> None:
        super().__init__()
        self.d_inner = dim // 2
        self.dt_rank = math.ceil(dim / 16)
        self.d_state = d_state
        self.in_proj = Linear(dim, dim, bias=False)
        self.conv1d_x = SameConv1d(self.d_inner)
        self.conv1d_z = SameConv1d(self.d_inner)
        self.x_proj = Linear(self.d_inner, self.dt_rank + 2 * d_state, bias=False)
        self.dt_proj = TwiceBiasedDelta(self.dt_rank, self.d_inner)
        A = torch.arange(1, d_state + 1, dtype=torch.float32).repeat(self.d_inner, 1)
        self.A_log = nn.Parameter(A.log())
        self.D = nn.Parameter(torch.ones(self.d_inner))
        self.scan = DirectionScan()
        self.out_proj = Linear(dim, dim, bias=False)

    def forward(
        self, hidden: torch.Tensor, state: GateState = None
    ) -> tuple[torch.Tensor, GateState]:
        """Mix (batch, length, dim) along its length.

        Returns:
            (batch, length, dim), and the state for the next block.
        """
        projected, state = project(self.in_proj, hidden, state)
        x, z = projected.transpose(1, 2).chunk(2, dim=1)
        y = self.scan(
            ScanCall(
                *(x, self.x_proj, self.dt_proj, self.A_log, self.D),
                conv1d=self.conv1d_x,
                delta_bias=self.dt_proj.bias,
            )
        )
        return self.out_proj(torch.cat([y, self.conv1d_z(z).transpose(1, 2)], dim=-1)), state

    def block_sites(self, name: str) -> BlockSites:
        """Return the places that adapters find here; ``name`` is the path of this module."""
        sizes = MixerSizes(self.d_inner, self.dt_rank, self.d_state)
        return BlockSites(
            projections=mixer_projections(f'{name}.', [f'{name}.{{}}'], sizes),
            scans=(ScanSite(f'{name}.scan', f'{name}.A_log', f'{name}.D'),),
            parameters={
                'scan.A': (f'{name}.A_log',),
                'scan.D': (f'{name}.D',),
                'scan.bias': (f'{name}.dt_proj.bias',),
                'mix.conv': (f'{name}.conv1d_x.weight', f'{name}.conv1d_z.weight'),
            },
            stateful=('mix.in',),
        )

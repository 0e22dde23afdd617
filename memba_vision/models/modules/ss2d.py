"""SS2D, the mixer of VMamba (Liu et al. 2024, section 4.2): four scans over a map."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from memba_vision.models.modules.gates import GateState, SiLUGate
from memba_vision.models.modules.linear import Linear, project
from memba_vision.models.modules.mixer import init_delta, split_gate
from memba_vision.models.modules.mixer_sites import MixerSizes, mixer_projections
from memba_vision.models.modules.norm import LayerNorm
from memba_vision.models.modules.scan import DirectionScan, ScanCall
from memba_vision.models.modules.stacked import StackedDirection, prepare_together
from memba_vision.models.sites import BlockSites, ScanSite
from memba_vision.ops import cross_scan

DIRECTIONS = 4


class SS2D(nn.Module):
    """Project, convolve, scan in four directions, merge, norm, gate and project back.

    .. code-block:: text

        x, z  = in_proj(hidden)                                  (z with a gate alone)
        x     = silu(conv2d(x))
        y_k   = scan of direction k, with x_proj_k, dt_proj_k, A_k and D_k of its own
        y     = out_norm(y_0 + y_1 + y_2 + y_3)
        y     = y * silu(z)                                      (with a gate alone)
        out   = out_proj(y)

    Direction 0 goes along the rows and direction 1 down the columns, 2 and 3 the same ways back.
    All tensors stay in the order of the image, row by row. Parameters have the names and shapes of
    the official files, those of the directions side by side in one; adapters find each direction's
    own in ``directions`` (:class:`~memba_vision.models.modules.stacked.StackedDirection`). As
    :class:`~memba_vision.models.modules.mixer.BidirectionalMixer`, it calls its projections, scans
    and gate and never reads their weights.

    Args:
        dim: width of the residual stream.
        d_state: state dimensions per channel.
        ssm_ratio: ``d_inner / dim``.
        gated: multiply by a gate z.
        conv_bias: give the convolution a bias.
    """

    def __init__(
        self, dim: int, d_state: int, ssm_ratio: int, gated: bool, conv_bias: bool
    ) -> None:
        super().__init__()
        self.d_inner = d_inner = ssm_ratio * dim
        self.dt_rank = dt_rank = math.ceil(dim / 16)
        self.in_proj = Linear(dim, (2 if gated else 1) * d_inner, bias=False)
        self.conv2d = nn.Conv2d(d_inner, d_inner, 3, padding=1, groups=d_inner, bias=conv_bias)
        weights = torch.empty(DIRECTIONS, dt_rank + 2 * d_state, d_inner)
        self.x_proj_weight = nn.Parameter(weights)
        self.dt_projs_weight = nn.Parameter(torch.empty(DIRECTIONS, d_inner, dt_rank))
        self.dt_projs_bias = nn.Parameter(torch.empty(DIRECTIONS, d_inner))
        A = torch.arange(1, d_state + 1, dtype=torch.float32).repeat(DIRECTIONS * d_inner, 1)
        self.A_logs = nn.Parameter(A.log())
        self.Ds = nn.Parameter(torch.ones(DIRECTIONS * d_inner))
        for k in range(DIRECTIONS):
            nn.init.kaiming_uniform_(self.x_proj_weight.data[k], a=math.sqrt(5))
            init_delta(self.dt_projs_weight[k], self.dt_projs_bias[k])
        self.directions = nn.ModuleList(StackedDirection(self, k) for k in range(DIRECTIONS))
        self.out_norm = LayerNorm(d_inner)
        self.gate = SiLUGate() if gated else None
        self.out_proj = Linear(d_inner, dim, bias=False)

    def forward(
        self, hidden: torch.Tensor, grid: tuple[int, int], state: GateState = None
    ) -> tuple[torch.Tensor, GateState]:
        """Mix (batch, length, dim), which goes row by row over ``grid``, rows and columns.

        Returns:
            (batch, length, dim), and the state for the next block.
        """
        x, state = project(self.in_proj, hidden, state)
        if self.gate is not None:
            x, gate_input = split_gate(x)
        x = F.silu(self.conv2d(x.transpose(1, 2).unflatten(2, grid))).flatten(2)
        merged = self.out_norm(self._scan(x, grid))
        if self.gate is not None:
            merged, state = self.gate((merged,), gate_input, state)
        return self.out_proj(merged), state

    def _scan(self, x: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """Scan (batch, d_inner, length) in all directions, to the sum, (batch, length, d_inner)."""
        scans = [direction.scan for direction in self.directions]
        if any(type(scan) is not DirectionScan for scan in scans):
            pairs = zip(scans, self._calls(x, grid), strict=True)
            first, *others = (scan(call) for scan, call in pairs)
            return sum(others, first)
        if all(direction.is_plain() for direction in self.directions):
            inputs = prepare_together(self, x)
        else:
            pairs = zip(scans, self._calls(x, grid), strict=True)
            inputs = [scan.prepare(call) for scan, call in pairs]
        return cross_scan(*inputs, delta_softplus=True, grid=grid).transpose(1, 2)

    def _calls(self, x: torch.Tensor, grid: tuple[int, int]) -> list[ScanCall]:
        return [
            ScanCall(
                *(x, direction.x_proj, direction.dt_proj, direction.A_log, direction.D),
                reverse=k >= 2,
                grid=grid if k % 2 else None,
            )
            for k, direction in enumerate(self.directions)
        ]

    def block_sites(self, name: str) -> BlockSites:
        """Return the places that adapters find here; ``name`` is the path of this module."""
        directions = [f'{name}.directions.{k}' for k in range(DIRECTIONS)]
        sizes = MixerSizes(self.d_inner, self.dt_rank, self.A_logs.shape[1])
        paths = [f'{direction}.{{}}' for direction in directions]
        return BlockSites(
            projections=mixer_projections(f'{name}.', paths, sizes, with_z=self.gate is not None),
            scans=tuple(
                ScanSite(f'{direction}.scan', f'{direction}.A_log', f'{direction}.D')
                for direction in directions
            ),
            gate=None if self.gate is None else f'{name}.gate',
            parameters={
                'scan.A': (f'{name}.A_logs',),
                'scan.D': (f'{name}.Ds',),
                'scan.bias': (f'{name}.dt_projs_bias',),
                'mix.conv': (f'{name}.conv2d.weight',),
            },
            stateful=('mix.in',),
        )

"""The bidirectional Mamba mixer of Vim (Zhu et al. 2024, section 3.4, 'v2')."""

import math
from typing import Any

import torch
from torch import nn

from memba_vision.models.modules.gates import GateState, SiLUGate
from memba_vision.models.modules.linear import DeltaLinear, Linear, project
from memba_vision.models.modules.mixer_sites import MixerSizes, mixer_projections
from memba_vision.models.modules.scan import DirectionScan, ScanCall
from memba_vision.models.sites import BlockSites, ScanSite
from memba_vision.ops import bidirectional_scan, causal_conv1d, goes_in_one_launch

DELTA_MIN, DELTA_MAX, DELTA_FLOOR = 1e-3, 1e-1, 1e-4


class CausalConv1d(nn.Conv1d):
    """A depthwise convolution that looks back only, or ahead only with ``reverse``, and SiLU."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__(dim, dim, width, groups=dim)

    def forward(self, x: torch.Tensor, reverse: bool = False) -> torch.Tensor:
        """Convolve (batch, dim, length) along its last axis, and activate."""
        return causal_conv1d(x, self.weight[:, 0], self.bias, silu=True, reverse=reverse)


class DeltaProjection(DeltaLinear):
    """The projection to the step size, initialized as Mamba does."""

    def __init__(self, dt_rank: int, dim: int) -> None:
        super().__init__(dt_rank, dim)
        init_delta(self.weight, self.bias)


@torch.no_grad()
def init_delta(weight: torch.Tensor, bias: torch.Tensor) -> None:
    """Initialize a projection to the step size, (dim, dt_rank) and (dim,), as Mamba does."""
    dim, dt_rank = weight.shape
    nn.init.uniform_(weight, -(dt_rank**-0.5), dt_rank**-0.5)
    span = math.log(DELTA_MAX) - math.log(DELTA_MIN)
    delta = torch.exp(torch.rand(dim) * span + math.log(DELTA_MIN)).clamp(min=DELTA_FLOOR)
    bias.copy_(delta + torch.log(-torch.expm1(-delta)))  # the inverse of softplus


def split_gate(projected: torch.Tensor | tuple) -> tuple[torch.Tensor, Any]:
    """Split the output of a gated mixer's input projection into x and the gate's input."""
    return projected.chunk(2, dim=-1) if isinstance(projected, torch.Tensor) else projected


class BidirectionalMixer(nn.Module):
    """Project, scan the sequence from both ends, gate, merge and project back.

    .. code-block:: text

        x, gate_input = in_proj(hidden)
        per direction: x_k = conv1d_k(x), with its SiLU; delta, B, C = x_proj_k(x_k)
                       y_k = selective_scan(x_k, softplus(dt_proj_k(delta)), A_k, B, C, D_k)
        merged, state = gate((y_forward, y_backward), gate_input, state)
        out           = out_proj(merged)

    The mixer calls its projections, scans and gate and never reads their weights, so each can be
    replaced by an adapter around it. ``in_proj`` yields one tensor, ``x`` and the gate's input side
    by side, or, where an adapter has more for the gate, the pair of ``x`` and whatever the gate
    takes.

    Args:
        dim: width of the residual stream.
        d_state: state dimensions per channel.
        d_conv: width of the causal convolution.
        expand: ``d_inner / dim``.
        dt_rank: rank of the step size's projection; None stands for ``ceil(dim / 16)``.
    """

    def __init__(
        self,
        dim: int,
        d_state: int = 16,
        d_conv: int = 4,
        expand: int = 2,
        dt_rank: int | None = None,
    ) -> None:
        super().__init__()
        self.d_inner = expand * dim
        self.dt_rank = dt_rank or math.ceil(dim / 16)
        self.in_proj = Linear(dim, 2 * self.d_inner, bias=False)
        self.gate = SiLUGate()
        for suffix in ('', '_b'):
            self.add_module(f'scan{suffix}', DirectionScan())
            self.add_module(f'conv1d{suffix}', CausalConv1d(self.d_inner, d_conv))
            x_proj = Linear(self.d_inner, self.dt_rank + 2 * d_state, bias=False)
            self.add_module(f'x_proj{suffix}', x_proj)
            self.add_module(f'dt_proj{suffix}', DeltaProjection(self.dt_rank, self.d_inner))
            A = torch.arange(1, d_state + 1, dtype=torch.float32).repeat(self.d_inner, 1)
            self.register_parameter(f'A{suffix}_log', nn.Parameter(A.log()))
            self.register_parameter(f'D{suffix}', nn.Parameter(torch.ones(self.d_inner)))
        self.out_proj = Linear(self.d_inner, dim, bias=False)

    def forward(
        self, hidden: torch.Tensor, gate_state: GateState = None
    ) -> tuple[torch.Tensor, GateState]:
        """Mix (batch, length, dim) along its length.

        Returns:
            (batch, length, dim), and the state for the gate of the next block.
        """
        projected, gate_state = project(self.in_proj, hidden, gate_state)
        x, gate_input = split_gate(projected)
        scans = self._scan_both_ways(x.transpose(1, 2))
        merged, gate_state = self.gate(scans, gate_input, gate_state)
        return self.out_proj(merged), gate_state

    def block_sites(self, name: str) -> BlockSites:
        """Return the places that adapters find here; ``name`` is the path of this module."""
        prefix = f'{name}.' if name else ''
        directions = ('', '_b')
        sizes = MixerSizes(self.d_inner, self.dt_rank, self.A_log.shape[1])
        paths = [f'{prefix}{{}}{suffix}' for suffix in directions]
        return BlockSites(
            projections=mixer_projections(prefix, paths, sizes),
            scans=tuple(
                ScanSite(f'{prefix}scan{suffix}', f'{prefix}A{suffix}_log', f'{prefix}D{suffix}')
                for suffix in directions
            ),
            gate=f'{prefix}gate',
            parameters={
                'scan.A': (f'{prefix}A_log', f'{prefix}A_b_log'),
                'scan.D': (f'{prefix}D', f'{prefix}D_b'),
                'scan.bias': (f'{prefix}dt_proj.bias', f'{prefix}dt_proj_b.bias'),
                'mix.conv': (f'{prefix}conv1d.weight', f'{prefix}conv1d_b.weight'),
            },
            stateful=('mix.in',),
        )

    def _scan_both_ways(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        forward = ScanCall(x, self.x_proj, self.dt_proj, self.A_log, self.D, conv1d=self.conv1d)
        backward = ScanCall(
            *(x, self.x_proj_b, self.dt_proj_b, self.A_b_log, self.D_b, True),
            conv1d=self.conv1d_b,
        )
        is_plain = type(self.scan) is type(self.scan_b) is DirectionScan
        if is_plain and goes_in_one_launch(x):
            inputs = self.scan.prepare(forward), self.scan_b.prepare(backward)
            outs = bidirectional_scan(*inputs, delta_softplus=True)
            return outs[0].transpose(1, 2), outs[1].transpose(1, 2)
        return self.scan(forward), self.scan_b(backward)

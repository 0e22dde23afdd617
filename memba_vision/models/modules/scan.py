"""The slot of a mixer for the projections and the scan of one direction."""

from typing import NamedTuple

import torch
from torch import nn

from memba_vision.models.modules.linear import DeltaLinear
from memba_vision.ops import ScanInputs, selective_scan


class ScanCall(NamedTuple):
    """A sequence, and the weights of the direction that scans it.

    Attributes:
        x: (batch, d_inner, length) in image order, which is row by row.
        x_proj: the projection to the step size's bottleneck, B and C.
        dt_proj: the projection to the step size.
        A_log: (d_inner, d_state).
        D: (d_inner,).
        reverse: True where the scan goes from the last position to the first.
        conv1d: the direction's own convolution, with its SiLU, which ``x`` passes first; None
            where there is none.
        grid: rows and columns of the positions, whose columns are scanned one after the other, each
            from the top down; None stands for a scan along the sequence.
        delta_bias: added to the step size after its projection, (d_inner,); None adds nothing.
    """

    x: torch.Tensor
    x_proj: nn.Module
    dt_proj: nn.Module
    A_log: torch.Tensor
    D: torch.Tensor
    reverse: bool = False
    conv1d: nn.Module | None = None
    grid: tuple[int, int] | None = None
    delta_bias: torch.Tensor | None = None


class DirectionScan(nn.Module):
    """One direction's convolution, projections and scan, of the weights that it is handed.

    It has no parameters: it is a slot that an adapter can wrap, in one of its two steps or around
    both.
    """

    def forward(self, call: ScanCall) -> torch.Tensor:
        """Scan, (batch, d_inner, length) to (batch, length, d_inner), both in image order."""
        return self.run(self.prepare(call), call)

    def prepare(self, call: ScanCall) -> ScanInputs:
        """Convolve the sequence, and project it to the inputs of the recurrence."""
        d_state = call.A_log.shape[1]
        x = call.x if call.conv1d is None else call.conv1d(call.x, reverse=call.reverse)
        projected = call.x_proj(x.transpose(1, 2))
        dt_rank = projected.shape[-1] - 2 * d_state
        delta, B, C = projected.split([dt_rank, d_state, d_state], dim=-1)
        A = minus_exp(call.A_log)
        delta, bias = _project_delta(call, delta)
        B, C = B.transpose(1, 2), C.transpose(1, 2)
        return ScanInputs(x, delta.transpose(1, 2), A, B, C, call.D, bias)

    def run(self, inputs: ScanInputs, call: ScanCall) -> torch.Tensor:
        """Run the recurrence over prepared inputs, to (batch, length, d_inner)."""
        settings = dict(delta_softplus=True, reverse=call.reverse, grid=call.grid)
        return selective_scan(**inputs._asdict(), **settings).transpose(1, 2)


def _project_delta(call: ScanCall, delta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the step sizes, (batch, length, d_inner), and a bias that the scan is to add."""
    if call.delta_bias is None and isinstance(call.dt_proj, DeltaLinear):
        return call.dt_proj.without_bias(delta)
    return call.dt_proj(delta), call.delta_bias


def column_order(sequence: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Return (..., length), which goes row by row over ``grid``, column by column, as a copy."""
    # Channels stay side by side in memory, as the kernels want them.
    by_position = sequence.movedim(-1, 1).unflatten(1, grid)
    return by_position.transpose(1, 2).flatten(1, 2).movedim(1, -1)


def row_order(sequence: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Return a sequence in column order over ``grid`` row by row; see :func:`column_order`."""
    return column_order(sequence, (grid[1], grid[0]))


def minus_exp(A_log: torch.Tensor) -> torch.Tensor:
    """Return the decay rates ``-exp(A_log)``, in float32 at the least."""
    return -torch.exp(A_log.to(torch.promote_types(A_log.dtype, torch.float32)))


class WrappedScan(nn.Module):
    """A :class:`DirectionScan` around another one; subclasses change a step of it.

    Args:
        base_layer: the scan inside.
    """

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__()
        self.base_layer = base_layer

    def forward(self, call: ScanCall) -> torch.Tensor:
        """See :meth:`DirectionScan.forward`."""
        return self.run(self.prepare(call), call)

    def prepare(self, call: ScanCall) -> ScanInputs:
        """See :meth:`DirectionScan.prepare`."""
        return self.base_layer.prepare(call)

    def run(self, inputs: ScanInputs, call: ScanCall) -> torch.Tensor:
        """See :meth:`DirectionScan.run`."""
        return self.base_layer.run(inputs, call)

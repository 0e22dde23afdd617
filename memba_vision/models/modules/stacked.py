"""Directions of a mixer as slices of parameters that all directions share."""

import torch
from torch import nn

from memba_vision.models.modules.linear import DeltaLinear, Linear
from memba_vision.models.modules.scan import DirectionScan, minus_exp
from memba_vision.ops import ScanInputs, linear


class LinearSlice(Linear):
    """A projection whose weight is one entry of a parameter that its mixer owns.

    It has no parameters: those of the mixer are read at each call, so that they alone are trained,
    moved and saved.

    Args:
        owner: the mixer.
        index: the entry.
        weight: the name of the parameter, (entries, out_features, in_features).
        bias: the name of that with the biases, (entries, out_features); None leaves them out.
    """

    def __init__(self, owner: nn.Module, index: int, weight: str, bias: str | None = None) -> None:
        nn.Module.__init__(self)  # not that of a layer with parameters
        self._owner = (owner,)  # in a tuple it is not a child
        self._names = (weight, bias)
        self.index = index

    @property
    def weight(self) -> torch.Tensor:
        """Entry of the parameter, (out_features, in_features), a view."""
        return getattr(self._owner[0], self._names[0])[self.index]

    @property
    def bias(self) -> torch.Tensor | None:
        """Entry of the biases, (out_features,), or None."""
        name = self._names[1]
        return None if name is None else getattr(self._owner[0], name)[self.index]

    @property
    def in_features(self) -> int:
        """Inputs of the projection."""
        return self.weight.shape[1]

    @property
    def out_features(self) -> int:
        """Outputs of the projection."""
        return self.weight.shape[0]


class DeltaSlice(DeltaLinear, LinearSlice):
    """A slice that projects to the step size, with its bias in float32 under autocast."""


class StackedDirection(nn.Module):
    """One direction of a mixer: its scan, its projections, and its part of the mixer's parameters.

    Args:
        owner: the mixer, with ``x_proj_weight`` (directions, dt_rank + 2 * d_state, d_inner),
            ``dt_projs_weight`` (directions, d_inner, dt_rank), ``dt_projs_bias`` (directions,
            d_inner), ``A_logs`` (directions * d_inner, d_state) and ``Ds`` (directions * d_inner).
        index: number of the direction.
    """

    def __init__(self, owner: nn.Module, index: int) -> None:
        super().__init__()
        self._owner = (owner,)
        self.index = index
        self.scan = DirectionScan()
        self.x_proj = LinearSlice(owner, index, 'x_proj_weight')
        self.dt_proj = DeltaSlice(owner, index, 'dt_projs_weight', 'dt_projs_bias')

    @property
    def A_log(self) -> torch.Tensor:
        """Logarithm of the decay rates, (d_inner, d_state)."""
        return self._part('A_logs')

    @property
    def D(self) -> torch.Tensor:
        """Skip weights, (d_inner,)."""
        return self._part('Ds')

    def _part(self, name: str) -> torch.Tensor:
        stacked, directions = getattr(self._owner[0], name), len(self._owner[0].x_proj_weight)
        return stacked.unflatten(0, (directions, -1))[self.index]

    def is_plain(self) -> bool:
        """Return True if no adapter changed the projections."""
        return type(self.x_proj) is LinearSlice and type(self.dt_proj) is DeltaSlice


def prepare_together(mixer: nn.Module, x: torch.Tensor) -> list[ScanInputs]:
    """Prepare the scans of all directions of a mixer by one projection of what they share.

    It yields what :meth:`~memba_vision.models.modules.scan.DirectionScan.prepare` yields for one
    direction after the other, but for the bias of the step size, which is left to the scan.

    Args:
        mixer: the owner of plain directions, see :class:`StackedDirection`.
        x: (batch, d_inner, length).

    Returns:
        The inputs of the recurrence for each direction.
    """
    directions, d_state = len(mixer.directions), mixer.A_logs.shape[1]
    projected = linear(x.transpose(1, 2), mixer.x_proj_weight.flatten(0, 1))
    by_direction = projected.unflatten(-1, (directions, -1)).movedim(2, 0)
    steps, B, C = by_direction.split([mixer.dt_rank, d_state, d_state], dim=-1)
    per_direction = zip(
        (linear(*pair).transpose(1, 2) for pair in zip(steps, mixer.dt_projs_weight, strict=True)),
        minus_exp(mixer.A_logs).chunk(directions),
        B.transpose(-1, -2),
        C.transpose(-1, -2),
        mixer.Ds.chunk(directions),
        mixer.dt_projs_bias,
        strict=True,
    )
    return [ScanInputs(x, *inputs) for inputs in per_direction]

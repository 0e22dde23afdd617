"""The inputs of one direction's scan."""

from typing import NamedTuple

import torch


class ScanInputs(NamedTuple):
    """The tensors of one direction; :func:`memba_vision.ops.selective_scan` has their shapes."""

    u: torch.Tensor
    delta: torch.Tensor
    A: torch.Tensor
    B: torch.Tensor
    C: torch.Tensor
    D: torch.Tensor | None = None
    delta_bias: torch.Tensor | None = None

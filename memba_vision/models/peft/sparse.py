"""Sparse updates: single entries of a weight that train, the others being frozen."""

import base64
import zlib

import numpy as np
import torch
from torch import nn

from memba_vision.models.modules.linear import Linear
from memba_vision.models.peft.adapter import AdaptedLayer
from memba_vision.ops import linear


def encode_positions(positions: torch.Tensor) -> str:
    """Encode positions in a flat weight, (entries,), which are sorted, as text.

    The text is the distances from one to the next, compressed.
    """
    steps = np.diff(positions.cpu().numpy(), prepend=0).astype('<u4')
    return base64.b64encode(zlib.compress(steps.tobytes(), 9)).decode()


def decode_positions(text: str) -> torch.Tensor:
    """Return the int64 positions, (entries,), of :func:`encode_positions`, on the CPU."""
    steps = np.frombuffer(zlib.decompress(base64.b64decode(text)), '<u4')
    return torch.from_numpy(np.cumsum(steps, dtype=np.int64))


class SparseUpdate(nn.Module):
    """A tensor that is zero but for some entries, which train from zero.

    Args:
        like: a tensor of its shape, dtype and device.
        positions: of these entries in the flat tensor, int64 (entries,).
    """

    def __init__(self, like: torch.Tensor, positions: torch.Tensor) -> None:
        super().__init__()
        self.shape = like.shape
        self.values = nn.Parameter(like.new_zeros(len(positions)))
        # The settings of the adapter have them, so a checkpoint need not.
        self.register_buffer('positions', positions.to(like.device), persistent=False)

    def forward(self) -> torch.Tensor:
        """Return the whole tensor."""
        flat = self.values.new_zeros(self.shape.numel())
        return flat.scatter(0, self.positions, self.values).view(self.shape)


class SparseLayer(AdaptedLayer):
    """Linear layer or convolution of whose weight some entries train: ``(W + S) h + b``.

    ``S`` is zero at the start, so what trains is the change: weight decay draws weights back to
    those of the base, not to zero.

    Args:
        base_layer: the frozen layer.
        positions: of the entries in the flat weight, int64 (entries,).
    """

    def __init__(self, base_layer: nn.Module, positions: torch.Tensor) -> None:
        super().__init__(base_layer)
        self.change = SparseUpdate(base_layer.weight, positions)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Apply the layer with the changed weight."""
        base, change = self.base_layer, self.change()
        if isinstance(base, nn.Conv2d):
            return base(hidden) + base._conv_forward(hidden, change, None)
        if type(base) in (Linear, nn.Linear):  # one product, where nothing else is in between
            return linear(hidden, base.weight + change, base.bias)
        return linear(hidden, change, added=base(hidden))

    @torch.no_grad()
    def merged(self) -> nn.Module:
        """Return the layer with the change added to its weight."""
        self.base_layer.weight.add_(self.change())
        return self.base_layer

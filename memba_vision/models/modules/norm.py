"""The norms of residual streams and maps."""

import torch
import torch.nn.functional as F
from torch import nn


class RMSNorm(nn.LayerNorm):
    """``torch.nn.RMSNorm`` that is a ``LayerNorm`` to code that finds norms by their type.

    mmengine's ``norm_decay_mult`` and ``is_norm`` know norms by a list of types, and
    ``torch.nn.RMSNorm`` is not among them.

    Args:
        dim: width of the residual stream.
        eps: added to the mean square.
    """

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__(dim, eps=eps, bias=False)

    def forward(self, residual: torch.Tensor) -> torch.Tensor:
        """Normalise a float32 residual, (..., dim), in the dtype of the weights."""
        residual = residual.to(self.weight.dtype)
        if torch.onnx.is_in_onnx_export() and torch.jit.is_tracing():
            # The older exporter has no operator for it.
            scale = (residual.square().mean(-1, keepdim=True) + self.eps).rsqrt()
            return residual * scale * self.weight
        return F.rms_norm(residual, self.normalized_shape, self.weight, self.eps)


class LayerNorm(nn.LayerNorm):
    """``torch.nn.LayerNorm`` in the dtype of its weights, where the residual's is wider."""

    def forward(self, residual: torch.Tensor) -> torch.Tensor:
        """Normalise (..., dim)."""
        return super().forward(residual.to(self.weight.dtype))


class MapNorm(LayerNorm):
    """A layer norm over the channels of a map."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalise (batch, dim, rows, columns)."""
        return super().forward(images.movedim(1, -1)).movedim(-1, 1)

"""The norms of residual streams and maps."""

import torch
import torch.nn.functional as F
from torch import nn


class RMSNorm(nn.LayerNorm):
    """``torch.nn.RMSNorm``, which those who ask for a norm by its type know as a ``LayerNorm``.

    mmengine's ``norm_decay_mult`` and ``is_norm``, and what is built on them, know norms by a list
    of types in which ``torch.nn.RMSNorm`` is not.

    Args:
        dim: width of the residual stream.
        eps: added to the mean square.
    """

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__(dim, eps=eps, bias=False)

    def forward(self, residual: torch.Tensor) -> torch.Tensor:
        """Normalise the float32 residual, in the dtype of the weights where these are half as wide.

        (..., dim) to the same.
        """
        residual = residual.to(self.weight.dtype)
        if torch.onnx.is_in_onnx_export() and torch.jit.is_tracing():
            # The older exporter has no operator for it.
            scale = (residual.square().mean(-1, keepdim=True) + self.eps).rsqrt()
            return residual * scale * self.weight
        return F.rms_norm(residual, self.normalized_shape, self.weight, self.eps)


class LayerNorm(nn.LayerNorm):
    """``torch.nn.LayerNorm`` in the dtype of its weights, where the residual's is wider."""

    def forward(self, residual: torch.Tensor) -> torch.Tensor:
        """(..., dim) to the same."""
        return super().forward(residual.to(self.weight.dtype))


class MapNorm(LayerNorm):
    """A layer norm over the channels of a map."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(batch, dim, rows, columns) to the same."""
        return super().forward(images.movedim(1, -1)).movedim(-1, 1)

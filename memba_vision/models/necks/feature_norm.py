"""Neck that scales features to unit variance."""

import torch
import torch.nn.functional as F
from torch import nn

from memba_vision.registry import MODELS


@MODELS.register_module()
class FeatureNorm(nn.Module):
    """Batch normalisation of the features without learned parameters (He et al. 2022, A.1).

    Unlike mmpretrain's ``ClsBatchNormNeck``, it also takes the batch of one image that an epoch may
    end with, and normalises it by the running statistics.

    Args:
        input_features: channels of the features.
    """

    def __init__(self, input_features: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(input_features, eps=1e-6, affine=False)

    def forward(self, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """Normalise each (batch, channels) of ``inputs``; maps and tokens pass as they are."""
        return tuple(self._normalise(x) if x.ndim == 2 else x for x in inputs)

    def _normalise(self, features: torch.Tensor) -> torch.Tensor:
        if not self.training or len(features) > 1:
            return self.bn(features)
        return F.batch_norm(features, self.bn.running_mean, self.bn.running_var, eps=self.bn.eps)

    @torch.no_grad()
    def folded_into(self, layer: nn.Linear) -> dict[str, torch.Tensor]:
        """Return the state dict of one linear layer for this norm in evaluation and ``layer``."""
        weight = layer.weight * torch.rsqrt(self.bn.running_var + self.bn.eps)
        return {'weight': weight, 'bias': layer.bias - weight @ self.bn.running_mean}

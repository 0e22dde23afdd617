"""Head that classifies several factors of an image at once."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import nn

from memba_vision.registry import MODELS


@MODELS.register_module()
class FactorHead(BaseModule):
    """One linear classifier for each factor.

    Args:
        in_channels: channels of the features.
        num_classes: number of classes by factor, in the order of the labels.
    """

    def __init__(self, in_channels: int, num_classes: Mapping[str, int]) -> None:
        super().__init__()
        self.num_classes = dict(num_classes)
        self.fc = nn.Linear(in_channels, sum(self.num_classes.values()))

    def forward(self, feats: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
        """Return logits of each factor, (batch, classes), of features (batch, in_channels)."""
        return list(self.fc(feats[-1]).split([*self.num_classes.values()], dim=1))

    def loss(
        self, feats: tuple[torch.Tensor, ...], data_samples: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Return the cross-entropy of each factor; labels are (batch, factors) int64."""
        labels = data_samples.to(feats[-1].device)
        losses = zip(self.num_classes, self(feats), labels.T, strict=True)
        return {f'loss_{name}': F.cross_entropy(logits, label) for name, logits, label in losses}

    def predict(
        self, feats: tuple[torch.Tensor, ...], data_samples: torch.Tensor
    ) -> list[torch.Tensor]:
        """Return the share of right answers in the batch by factor, (factors,) float32, alone."""
        labels = data_samples.to(feats[-1].device)
        right = [
            logits.argmax(1) == label for logits, label in zip(self(feats), labels.T, strict=True)
        ]
        return [torch.stack(right).float().mean(1)]

"""Metric of a head that classifies several factors."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric

from memba_vision.registry import METRICS


@METRICS.register_module()
class FactorAccuracy(BaseMetric):
    """Accuracy of each factor in percent, the mean over batches of equal size.

    Args:
        factors: their names, in the order of the predictions.
    """

    default_prefix = 'accuracy'

    def __init__(self, factors: Sequence[str], **options: Any) -> None:
        super().__init__(**options)
        self.factors = tuple(factors)

    def process(self, data_batch: Mapping[str, Any], data_samples: Sequence[torch.Tensor]) -> None:
        """Keep the shares of right answers that the head returned for a batch."""
        self.results.extend(shares.cpu() for shares in data_samples)

    def compute_metrics(self, results: list[torch.Tensor]) -> dict[str, float]:
        """Return the accuracy by factor."""
        means = torch.stack(results).mean(0) * 100
        return dict(zip(self.factors, means.tolist(), strict=True))

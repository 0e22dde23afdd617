"""Wrapper that lets a classifier take steps on features that are kept."""

from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmpretrain.registry import MODEL_WRAPPERS


class KeptBatch(dict):
    """Batch whose ``inputs`` are the outputs of the backbone, and its ``data_samples``."""


@MODEL_WRAPPERS.register_module()
class OnKeptFeatures(BaseModel):
    """Classifier that starts behind its backbone where a batch is a :class:`KeptBatch`.

    Any other batch is the classifier's own. As a model wrapper of mmengine it has no weights:
    checkpoints are those of ``module``.

    Args:
        module: a classifier of mmpretrain.
    """

    def __init__(self, module: BaseModel) -> None:
        super().__init__()
        self.module = module
        self.data_preprocessor.to(module.data_preprocessor.device)

    def train_step(self, data: dict, optim_wrapper: OptimWrapper) -> dict[str, torch.Tensor]:
        """Take a training step, and return the numbers to log."""
        if isinstance(data, KeptBatch):
            return super().train_step(data, optim_wrapper)
        return self.module.train_step(data, optim_wrapper)

    def val_step(self, data: dict) -> list:
        """Return the predictions."""
        return super().val_step(data) if isinstance(data, KeptBatch) else self.module.val_step(data)

    def test_step(self, data: dict) -> list:
        """Return the predictions."""
        return self.val_step(data)

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = 'tensor') -> Any:
        """Apply neck and head to the outputs of the backbone, or the whole classifier to images.

        Args:
            inputs: a tuple of (batch, …), or images, (batch, 3, height, width).
            data_samples: with the labels.
            mode: 'loss' or 'predict'.
        """
        if not isinstance(inputs, tuple):
            return self.module(inputs, data_samples, mode)
        features = self.module.neck(inputs) if self.module.with_neck else inputs
        return getattr(self.module.head, mode)(features, data_samples)

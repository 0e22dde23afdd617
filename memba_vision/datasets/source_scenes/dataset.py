"""Scenes as a dataset of whole batches."""

from functools import cached_property
from typing import Any

import numpy as np
import torch
from mmengine.registry import FUNCTIONS
from torch.utils.data import Dataset

from memba_vision.datasets.source_scenes.scenes import Scenes
from memba_vision.registry import DATASETS


@DATASETS.register_module()
class SourceScenes(Dataset):
    """Fresh scenes, a batch per item, with the labels of all factors in one tensor.

    The batch at an index depends on ``seed``, the index and the kind of device alone, so an
    interrupted run draws the same images. Load it with ``batch_size=1`` and
    ``collate_fn=dict(type='ready_batch')``.

    Args:
        num_batches: length of the dataset.
        batch_size: images in an item.
        image_size: height and width, in pixels.
        seed: two datasets of different seeds share no image.
        device: the place where scenes are drawn; 'cuda' needs a loader without worker processes.
            None stands for a GPU where there is one.
    """

    def __init__(
        self,
        num_batches: int,
        batch_size: int = 256,
        image_size: int = 48,
        seed: int = 0,
        device: str | None = None,
    ) -> None:
        self.num_batches = num_batches
        self.batch_size = batch_size
        self.image_size = image_size
        self.seed = seed
        self.device = device or ('cuda' if torch.cuda.is_available() else 'cpu')

    @cached_property
    def _scenes(self) -> Scenes:
        return Scenes(self.device, self.image_size)

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return ``inputs``, (n, 3, size, size) uint8, and ``data_samples``, their labels."""
        if not 0 <= index < self.num_batches:
            raise IndexError(index)
        seed = int(np.random.SeedSequence([self.seed, index]).generate_state(1, np.uint64)[0] >> 1)
        images, labels = self._scenes.draw(self.batch_size, seed)
        return {'inputs': images, 'data_samples': labels}


@FUNCTIONS.register_module()
def ready_batch(batches: list[dict[str, Any]]) -> dict[str, Any]:
    """Collate a list of one ready-made batch."""
    (batch,) = batches
    return batch

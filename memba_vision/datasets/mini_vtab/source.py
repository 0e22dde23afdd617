"""The source task of mini-VTAB as a dataset of whole batches."""

from typing import Any

import numpy as np
import torch
from mmengine.registry import FUNCTIONS
from mmpretrain.structures import DataSample, MultiTaskDataSample
from torch.utils.data import Dataset

from memba_vision.datasets.mini_vtab.pretraining import render_source_batch
from memba_vision.registry import DATASETS

FACTORS = ('shape', 'scale', 'hue', 'angle')


@DATASETS.register_module()
class SourceShapes(Dataset):
    """Fresh renders of coloured shapes, a batch per item, four labels per image.

    The batch at an index depends on ``seed`` and the index alone, so any number of workers and
    an interrupted run draw the same images. Load it with ``collate_fn=dict(type='joined')``. To
    test, take items of one image: mmengine counts items.

    Args:
        num_batches: length of the dataset.
        batch_size: images in an item.
        image_size: height and width, in pixels.
        seed: two datasets of different seeds share no image.
    """

    def __init__(
        self, num_batches: int, batch_size: int = 128, image_size: int = 48, seed: int = 0
    ) -> None:
        self.num_batches = num_batches
        self.batch_size = batch_size
        self.image_size = image_size
        self.seed = seed

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return images, (3, image_size, image_size) uint8, and samples with a label per factor."""
        rng = np.random.default_rng([self.seed, index])
        images, labels = render_source_batch(rng, self.batch_size, self.image_size)
        inputs = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        return {'inputs': list(inputs), 'data_samples': [_sample(row) for row in labels.tolist()]}


def _sample(labels: list[int]) -> MultiTaskDataSample:
    sample = MultiTaskDataSample()
    for factor, label in zip(FACTORS, labels, strict=True):
        sample.set_field(DataSample().set_gt_label(label), factor)
    return sample


@FUNCTIONS.register_module()
def joined(batches: list[dict[str, Any]]) -> dict[str, Any]:
    """Collate ready-made batches into one."""
    return {key: [value for batch in batches for value in batch[key]] for key in batches[0]}

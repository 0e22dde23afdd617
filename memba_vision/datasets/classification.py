"""Base class with the interface of mmpretrain's datasets, which take seconds to import."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from mmpretrain.registry import TRANSFORMS


class ClassificationDataset(BaseDataset):
    """Images with one label each, for what works on mmpretrain's ``BaseDataset``.

    mmpretrain's tools and the wrappers of mmengine and mmpretrain find here what they ask for:
    ``ClassBalancedDataset``, ``KFoldDataset``, ``ConcatDataset``, ``RepeatDataset``. Transforms are
    mmpretrain's without a default scope too.

    Args:
        pipeline: transforms, or configs of them.
        options: see mmengine's ``BaseDataset``.
    """

    def __init__(self, *, pipeline: Sequence[dict | Callable] = (), **options: Any) -> None:
        steps = [TRANSFORMS.build(step) if isinstance(step, dict) else step for step in pipeline]
        super().__init__(pipeline=steps, **options)

    @property
    def CLASSES(self) -> Sequence[str] | None:
        """The names of the classes in the order of the labels; None where they have none."""
        return self._metainfo.get('classes')

    @property
    def class_to_idx(self) -> dict[str, int]:
        """The label of each class by its name."""
        return {name: label for label, name in enumerate(self.CLASSES or ())}

    def get_gt_labels(self) -> np.ndarray:
        """The labels of all images, (n,) int64."""
        labels = (self.get_data_info(index)['gt_label'] for index in range(len(self)))
        return np.fromiter(labels, np.int64)

    def get_cat_ids(self, idx: int) -> list[int]:
        """The label of one image, in a list."""
        return [self.get_data_info(idx)['gt_label']]

    def _copy_without_annotation(self, memo: dict | None = None) -> BaseDataset:
        # mmengine's own memo outlives the call, so that two subsets would share what they hold.
        return super()._copy_without_annotation({} if memo is None else memo)

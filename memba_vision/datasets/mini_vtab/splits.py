"""What a task's maker returns: images and labels by split."""

from dataclasses import dataclass

import numpy as np

from memba_vision.datasets.tasks import SPLIT_SIZES, Task

IMAGE_SIZE = 48  # pixels


@dataclass(frozen=True)
class Split:
    """Images (n, IMAGE_SIZE, IMAGE_SIZE) uint8, black is 0, and their labels (n,) int64."""

    images: np.ndarray
    labels: np.ndarray


def split_sizes(task: Task) -> dict[str, int]:
    """Return the number of images in each split of a task, in the order they are drawn."""
    return {
        **{split: SPLIT_SIZES[split] for split in ('train800', 'val200')},
        'test': task.num_test,
    }


def cut(images: np.ndarray, labels: np.ndarray, sizes: dict[str, int]) -> dict[str, Split]:
    """Cut images and labels, both of length ``sum(sizes.values())``, into consecutive splits."""
    ends = np.cumsum(list(sizes.values()))[:-1]
    parts = zip(np.split(images, ends), np.split(labels, ends), strict=True)
    return {name: Split(*part) for name, part in zip(sizes, parts, strict=True)}

"""Images and labels of a task by split."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from memba_vision.datasets.tasks import MINI_TASKS, SPLIT_SIZES, Task

IMAGE_SIZE = 48  # pixels
BATCH_SIZE = 40  # images that are rendered together: more do not fit a processor's cache

#: Draws images with given labels, (n,), as (n, IMAGE_SIZE, IMAGE_SIZE, 3) uint8.
Renderer = Callable[[np.random.Generator, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Split:
    """Images of a split, uint8, and their labels, (n,) int64.

    The images are grey, (n, IMAGE_SIZE, IMAGE_SIZE), or RGB, with a last axis of three.
    """

    images: np.ndarray
    labels: np.ndarray


def split_sizes(task: Task) -> dict[str, int]:
    """Return the number of images in each split of a task, in the order they are drawn."""
    return {
        **{split: SPLIT_SIZES[split] for split in ('train800', 'val200')},
        'test': task.num_test,
    }


def cut_into_splits(
    images: np.ndarray, labels: np.ndarray, sizes: dict[str, int]
) -> dict[str, Split]:
    """Cut images and labels, both of length ``sum(sizes.values())``, into consecutive splits."""
    ends = np.cumsum(list(sizes.values()))[:-1]
    parts = zip(np.split(images, ends), np.split(labels, ends), strict=True)
    return {name: Split(*part) for name, part in zip(sizes, parts, strict=True)}


def draw_labels(rng: np.random.Generator, size: int, num_classes: int) -> np.ndarray:
    """Draw each class equally often, or once more where the size is no multiple of the classes."""
    return rng.permutation(np.arange(size) % num_classes)


def draw_splits(
    task: str, seed: int, renderers: Renderer | dict[str, Renderer]
) -> dict[str, Split]:
    """Draw a task whose classes are balanced in every split.

    Args:
        task: A name of ``MINI_TASKS``.
        seed: Equal seeds draw equal images. Each split has a generator of its own.
        renderers: Draws the images; by split where splits differ.
    """
    splits = {}
    for number, (name, size) in enumerate(split_sizes(MINI_TASKS[task]).items()):
        rng = np.random.default_rng([seed, number])
        render = renderers[name] if isinstance(renderers, dict) else renderers
        labels = draw_labels(rng, size, MINI_TASKS[task].num_classes)
        batches = np.split(labels, range(BATCH_SIZE, size, BATCH_SIZE))
        splits[name] = Split(np.concatenate([render(rng, batch) for batch in batches]), labels)
    return splits

"""The task ``digits``: scikit-learn's real handwritten digits."""

import numpy as np
from PIL import Image

from memba_vision.datasets.mini_vtab.splits import IMAGE_SIZE, Split, cut_into_splits, split_sizes
from memba_vision.datasets.tasks import MINI_TASKS

SEED = 0


def make_digits() -> dict[str, Split]:
    """Return the 1,797 digits in three splits: light strokes on black, ten classes.

    A fixed permutation of all images is cut into 800 + 200 + 797: a plain random split, not a
    stratified one, so that classes differ a little in size, as the digits themselves do. The
    images of 8 by 8 pixels and 17 grey levels are enlarged by bicubic interpolation.
    """
    from sklearn.datasets import load_digits  # takes a second to import: only where it is needed

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(SEED).permutation(len(images))
    levels = images[order].reshape(-1, 8, 8) * (255 / 16)
    enlarged = np.stack([_enlarge(image) for image in np.round(levels).astype(np.uint8)])
    return cut_into_splits(
        enlarged, labels[order].astype(np.int64), split_sizes(MINI_TASKS['digits'])
    )


def _enlarge(image: np.ndarray) -> np.ndarray:
    size = (IMAGE_SIZE, IMAGE_SIZE)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))

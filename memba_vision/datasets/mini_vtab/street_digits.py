"""The task ``street_digits``: scikit-learn's handwritten digits, as if on house numbers."""

import numpy as np

from memba_vision.datasets.mini_vtab.canvas import (
    draw_contrasting_colors,
    draw_uniform,
    mean_colors,
    paint,
    photograph,
)
from memba_vision.datasets.mini_vtab.clutter import render_clutter
from memba_vision.datasets.mini_vtab.sampling import sample
from memba_vision.datasets.mini_vtab.shapes import local_coordinates
from memba_vision.datasets.mini_vtab.splits import BATCH_SIZE, IMAGE_SIZE, Split
from memba_vision.datasets.tasks import SPLIT_SIZES

HEIGHTS = (25, 38)  # pixels, of the eight rows of a digit
LARGEST_ANGLE = np.deg2rad(15)
CONTRAST = 0.45
INK = (5.5, 9.0)  # of 16: the grey level of a digit that becomes its outline
NEIGHBOUR = 0.75  # probability of one, on either side


def make_street_digits(seed: int = 12) -> dict[str, Split]:
    """Return the task; the label is the digit in the middle.

    Each of the 1,797 digits is the middle of one image. The parts of others at its sides come from
    the same split, so that no digit is seen both in training and in testing.

    Args:
        seed: Equal seeds draw equal images.
    """
    splits = {}
    for number, (name, (digits, labels)) in enumerate(divide_digits(seed).items()):
        rng = np.random.default_rng([seed, number])
        starts = range(0, len(digits), BATCH_SIZE)
        batches = [_render(rng, digits, np.arange(len(digits))[s : s + BATCH_SIZE]) for s in starts]
        splits[name] = Split(np.concatenate(batches), labels)
    return splits


def divide_digits(seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the digits, (n, 8, 8) float32 from 0 to 16, and their labels by split.

    Classes have equal shares of the training splits; what is left is for testing.
    """
    from sklearn.datasets import load_digits  # takes a second to import: only where it is needed

    images, labels = load_digits(return_X_y=True)
    images, labels = images.reshape(-1, 8, 8).astype(np.float32), labels.astype(np.int64)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    # The rank of each digit among those of its class.
    rank = np.empty(len(labels), np.int64)
    for digit in range(10):
        of_class = order[labels[order] == digit]
        rank[of_class] = np.arange(len(of_class))
    train, val = SPLIT_SIZES['train800'] // 10, SPLIT_SIZES['train800val200'] // 10
    ends = {'train800': (0, train), 'val200': (train, val), 'test': (val, len(labels))}
    chosen = {
        name: order[(rank[order] >= low) & (rank[order] < high)]
        for name, (low, high) in ends.items()
    }
    return {name: (images[places], labels[places]) for name, places in chosen.items()}


def _render(rng: np.random.Generator, digits: np.ndarray, middle: np.ndarray) -> np.ndarray:
    count = len(middle)
    images = render_clutter(rng, count, IMAGE_SIZE)
    colors = draw_contrasting_colors(rng, mean_colors(images), CONTRAST)
    x, y, heights = _frames(rng, count)
    level = draw_uniform(rng, *INK, count)
    for side in (-1, 0, 1):
        shown, shift, there = middle, 0.0, 1.0
        if side:
            shown = rng.integers(0, len(digits), count)
            shift = side * draw_uniform(rng, 0.72, 0.95, count)
            there = draw_uniform(rng, 0, 1, count) < NEIGHBOUR
        ink = _read(digits[shown], x - shift, y)
        # Levels rise by some 6 in a row, of which a pixel is a part.
        paint(images, ((ink - level) * (heights / 48) + 0.5).clip(0, 1) * there, colors)
    return photograph(rng, images)


def _frames(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # Coordinates in heights of a digit around the middle one's centre, and heights (n, 1, 1).
    heights = rng.uniform(*HEIGHTS, count)
    centers = IMAGE_SIZE / 2 + rng.uniform(-4, 4, (count, 2))
    angles = rng.uniform(-LARGEST_ANGLE, LARGEST_ANGLE, count)
    x, y = local_coordinates(centers, heights, angles, IMAGE_SIZE)
    return x, y, heights[:, None, None].astype(np.float32)


def _read(digits: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # Digits enlarged smoothly, then read linearly.
    fine = _enlarge(_enlarge(digits))
    scale = fine.shape[1]
    middle = (scale - 1) / 2
    return sample(fine, middle + scale * x, middle - scale * y, outside=0)


def _enlarge(fields: np.ndarray) -> np.ndarray:
    # Twice as fine along both axes, by the quadratic B-spline's subdivision.
    for _ in range(2):
        padded = np.pad(fields, [(0, 0), (0, 0), (1, 1)])
        first = 0.75 * fields + 0.25 * padded[..., :-2]
        second = 0.75 * fields + 0.25 * padded[..., 2:]
        fine = np.stack([first, second], -1).reshape(*fields.shape[:2], -1)
        fields = fine.swapaxes(1, 2).astype(np.float32)
    return fields

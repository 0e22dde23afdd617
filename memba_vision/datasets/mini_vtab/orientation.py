"""The task ``orientation``: coloured shapes that point somewhere, on clutter."""

from collections.abc import Callable

import numpy as np

from memba_vision.datasets.mini_vtab.canvas import (
    draw_colors,
    draw_contrasting_colors,
    mean_colors,
    paint,
    photograph,
)
from memba_vision.datasets.mini_vtab.clutter import render_clutter
from memba_vision.datasets.mini_vtab.shapes import box, local_coordinates
from memba_vision.datasets.mini_vtab.splits import IMAGE_SIZE, Split, draw_splits
from memba_vision.datasets.tasks import MINI_TASKS

RADII = (10, 17)  # pixels
WANDERING = 0.35  # part of a direction's sector that a shape may be turned off its middle
NUM_DISTRACTORS = 3
CONTRAST = 0.5


def _pin(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.minimum(np.hypot(x, y - 0.5) - 0.45, box(x, y + 0.35, 0.13, 0.6))


def _dart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    sides = (np.abs(x) * 0.93 + y * 0.36) - 0.34
    return np.maximum(sides, 0.45 * np.abs(x) - y - 0.6)


def _drop(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    cone = np.maximum(np.abs(x) * 0.913 + (y - 0.95) * 0.407, -0.18 - y)
    return np.minimum(np.hypot(x, y + 0.4) - 0.55, cone)


def _house(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    roof = np.maximum((np.abs(x) + y - 0.9) * np.float32(np.sqrt(0.5)), 0.15 - y)
    return np.minimum(roof, box(x, y + 0.35, 0.45, 0.5))


def _hammer(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.minimum(box(x, y - 0.65, 0.65, 0.24), box(x, y + 0.2, 0.15, 0.7))


def _bell(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    dome = np.maximum(np.hypot(x, y - 0.2) - 0.6, 0.2 - y)
    foot = box(x, y + 0.55, 0.85, 0.15)
    return np.minimum(np.minimum(dome, box(x, y + 0.2, 0.6, 0.45)), foot)


#: Signed distances to the outline in a frame where y points to the head, as in ``shapes.py``.
POINTING: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    'pin': _pin,
    'dart': _dart,
    'drop': _drop,
    'house': _house,
    'hammer': _hammer,
    'bell': _bell,
}


def make_orientation(seed: int = 18) -> dict[str, Split]:
    """Return the task; the label is the direction of the shape's head.

    Direction 0 is up, and each further one is a sixteenth of a turn counter-clockwise. Kind, size,
    place and colour of the shape are random, and so are some small spots beside it.

    Args:
        seed: Equal seeds draw equal images.
    """
    return draw_splits('orientation', seed, _render)


def _render(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    images = render_clutter(rng, len(labels), IMAGE_SIZE)
    means = mean_colors(images)
    for _ in range(NUM_DISTRACTORS):
        paint(images, _draw_spots(rng, len(labels)), draw_colors(rng, len(labels)))
    paint(images, draw_shapes(rng, labels)[0], draw_contrasting_colors(rng, means, CONTRAST))
    return photograph(rng, images)


def draw_shapes(rng: np.random.Generator, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draw a shape per image in the direction that its label, (n,), says.

    Returns:
        Masks, (n, IMAGE_SIZE, IMAGE_SIZE) float32, and kinds, (n,), places in ``POINTING``.
    """
    radii = rng.uniform(*RADII, len(labels))
    centers = rng.uniform(radii[:, None], IMAGE_SIZE - radii[:, None], (len(labels), 2))
    turned = labels + rng.uniform(-WANDERING, WANDERING, len(labels))
    angles = turned * (2 * np.pi / MINI_TASKS['orientation'].num_classes)
    x, y = local_coordinates(centers, radii, angles, IMAGE_SIZE)
    kinds = rng.integers(0, len(POINTING), len(labels))
    distance = np.empty_like(x)
    for kind, draw in enumerate(POINTING.values()):
        chosen = kinds == kind
        distance[chosen] = draw(x[chosen], y[chosen])
    return (0.5 - distance * radii[:, None, None].astype(np.float32)).clip(0, 1), kinds


def _draw_spots(rng: np.random.Generator, count: int) -> np.ndarray:
    # A small round or square spot per image, (n, size, size), or none.
    radii = rng.uniform(1.5, 3.5, count)
    centers, angles = rng.uniform(0, IMAGE_SIZE, (count, 2)), rng.uniform(0, 2 * np.pi, count)
    x, y = local_coordinates(centers, radii, angles, IMAGE_SIZE)
    is_round = rng.random((count, 1, 1)) < 0.5
    distance = np.where(is_round, np.hypot(x, y), np.maximum(np.abs(x), np.abs(y))) - 1
    there = rng.random((count, 1, 1), np.float32) < 0.7
    return (0.5 - distance * radii[:, None, None].astype(np.float32)).clip(0, 1) * there

"""The task ``textures``: kinds of surfaces."""

import numpy as np

from memba_vision.datasets.mini_vtab.canvas import (
    draw_colors,
    draw_contrasting_colors,
    draw_uniform,
    fill,
    halve,
    paint,
    photograph,
)
from memba_vision.datasets.mini_vtab.clutter import random_frames
from memba_vision.datasets.mini_vtab.noise import fractal_noise
from memba_vision.datasets.mini_vtab.patterns import PATTERNS
from memba_vision.datasets.mini_vtab.splits import IMAGE_SIZE, Split, draw_splits

PERIODS = (6, 14)  # pixels, of a pattern
TILT = 0.35  # largest loss of size at the far side of a tilted surface
CONTRAST = 0.4


def make_textures(seed: int = 13) -> dict[str, Split]:
    """Return the task; the label is the kind's place in ``PATTERNS``.

    Colours, contrast, scale, direction, tilt, stains, light and noise are random.

    Args:
        seed: Equal seeds draw equal images.
    """
    return draw_splits('textures', seed, _render)


def _render(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    count = len(labels)
    # Drawn at twice the size, since patterns have sharp edges.
    pattern = halve(_draw_patterns(rng, labels, 2 * IMAGE_SIZE))
    ground = draw_colors(rng, count)
    images = fill(ground, IMAGE_SIZE)
    paint(images, pattern, draw_contrasting_colors(rng, ground, CONTRAST))
    x, y = random_frames(rng, count, IMAGE_SIZE, (6, 20))
    stains = fractal_noise(rng, x, y) * draw_uniform(rng, 0, 0.4, count)
    paint(images, stains, draw_colors(rng, count))
    return photograph(rng, images)


def _draw_patterns(rng: np.random.Generator, labels: np.ndarray, image_size: int) -> np.ndarray:
    scale = image_size / IMAGE_SIZE
    x, y = random_frames(rng, len(labels), image_size, (PERIODS[0] * scale, PERIODS[1] * scale))
    nearness = _draw_nearness(rng, len(labels), image_size)
    x, y = (axis / nearness + draw_uniform(rng, 0, 16, len(labels)) for axis in (x, y))
    drawn = np.empty_like(x)
    for kind, pattern in enumerate(PATTERNS.values()):
        chosen = labels == kind
        if chosen.any():
            drawn[chosen] = pattern(rng, x[chosen], y[chosen])
    # Either colour may be the ground.
    turned = rng.random((len(labels), 1, 1)) < 0.5
    return np.where(turned, 1 - drawn, drawn).clip(0, 1)


def _draw_nearness(rng: np.random.Generator, count: int, image_size: int) -> np.ndarray:
    # Nearness of a tilted surface at each pixel, 1 in the middle of the image.
    x, _ = random_frames(rng, count, image_size, (image_size, image_size))
    return 1 + draw_uniform(rng, 0, TILT, count) * x

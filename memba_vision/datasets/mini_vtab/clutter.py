"""Cluttered grounds: clouds of colour, sheets with straight edges, and stripes."""

import numpy as np

from memba_vision.datasets.mini_vtab.canvas import (
    draw_colors,
    draw_uniform,
    fill,
    mean_colors,
    paint,
)
from memba_vision.datasets.mini_vtab.noise import fractal_noise
from memba_vision.datasets.mini_vtab.shapes import local_coordinates

NUM_SHEETS = 3


def render_clutter(
    rng: np.random.Generator, count: int, image_size: int, range_of_colors: float = 0.3
) -> np.ndarray:
    """Draw grounds that differ in colour, grain, direction and contrast.

    Args:
        rng: The random generator.
        count: The number of images.
        image_size: Height and width in pixels.
        range_of_colors: Largest deviation from an image's mean, of intensities from 0 to 1.

    Returns:
        A batch, (count, 3, image_size, image_size) float32.
    """
    images = fill(draw_colors(rng, count), image_size)
    means = images[:, :, :1, :1].copy()
    for unit in ((8, 20), (3, 8)):
        x, y = random_frames(rng, count, image_size, unit)
        # Longer along one axis than along the other.
        clouds = fractal_noise(rng, x, y / draw_uniform(rng, 1, 3, count))
        opacity = draw_uniform(rng, 0.2, 1, count)
        paint(
            images, ((clouds - 0.2) / 0.6).clip(0, 1) * opacity, _near(rng, means, range_of_colors)
        )
    for _ in range(NUM_SHEETS):
        x, _ = random_frames(rng, count, image_size, (1, 1))
        opacity = draw_uniform(rng, -0.5, 0.8, count).clip(0)  # negative: there is none
        edge = draw_uniform(rng, -0.3, 0.3, count) * image_size
        paint(images, (x - edge).clip(0, 1) * opacity, _near(rng, means, range_of_colors))
    x, _ = random_frames(rng, count, image_size, (0.6, 3))
    strength = draw_uniform(rng, -0.3, 0.3, count).clip(0) * range_of_colors  # most have none
    images += (strength * np.sin(x))[:, None]
    return images + (0.2 * (0.5 - mean_colors(images)))


def random_frames(
    rng: np.random.Generator, count: int, image_size: int, unit: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the coordinates of pixels in frames of random direction around the image's centre.

    Args:
        rng: The random generator.
        count: The number of images, n.
        image_size: Height and width in pixels.
        unit: The least and the largest length of a unit, in pixels.

    Returns:
        x and y, (n, image_size, image_size) float32 each.
    """
    centers = np.full((count, 2), image_size / 2)
    scales, angles = rng.uniform(*unit, count), rng.uniform(0, 2 * np.pi, count)
    return local_coordinates(centers, scales, angles, image_size)


def _near(rng: np.random.Generator, means: np.ndarray, distance: float) -> np.ndarray:
    return means + rng.uniform(-distance, distance, means.shape).astype(np.float32)

"""Land seen from above: the colours of its seasons, and ground without anything on it."""

from typing import NamedTuple

import numpy as np

from memba_vision.datasets.mini_vtab.canvas import draw_uniform, fill, paint
from memba_vision.datasets.mini_vtab.clutter import random_frames
from memba_vision.datasets.mini_vtab.noise import fractal_noise

# Colours of grass, leaves and soil from spring to winter; a season lies between two of them.
GRASS = np.array([[0.42, 0.55, 0.27], [0.55, 0.55, 0.3], [0.6, 0.52, 0.38], [0.78, 0.78, 0.8]])
LEAVES = np.array([[0.25, 0.42, 0.2], [0.22, 0.34, 0.17], [0.48, 0.36, 0.2], [0.36, 0.36, 0.36]])
SOIL = np.array([[0.5, 0.4, 0.3], [0.62, 0.54, 0.4], [0.42, 0.33, 0.26], [0.7, 0.69, 0.7]])
WATER = np.array([[0.2, 0.32, 0.42], [0.3, 0.4, 0.33], [0.16, 0.22, 0.25], [0.42, 0.42, 0.36]])
STONE = np.array([[0.62, 0.6, 0.58], [0.5, 0.5, 0.52], [0.72, 0.68, 0.62], [0.44, 0.42, 0.4]])
SPREAD = 0.07  # largest deviation of a channel from these


class Land(NamedTuple):
    """Colours of a batch of places, (n, 3, 1, 1) float32 each, and its frames.

    Attributes:
        grass, leaves, soil, water, stone: Colours.
        x, y: Pixels in a frame of random direction around the middle, (n, size, size) float32.
        sun: The direction that light comes from in that frame, two of (n, 1, 1).
    """

    grass: np.ndarray
    leaves: np.ndarray
    soil: np.ndarray
    water: np.ndarray
    stone: np.ndarray
    x: np.ndarray
    y: np.ndarray
    sun: tuple[np.ndarray, np.ndarray]


def draw_land(rng: np.random.Generator, count: int, image_size: int, pixels: float) -> Land:
    """Draw the season, the light and the direction of places.

    Args:
        rng: The random generator.
        count: The number of images.
        image_size: Height and width of an image.
        pixels: The length of the frame's unit.
    """
    season = rng.uniform(0, 3, count)
    plants = [_draw_colors(rng, table, season) for table in (GRASS, LEAVES, SOIL)]
    others = [_draw_colors(rng, table, rng.uniform(0, 3, count)) for table in (WATER, STONE)]
    x, y = random_frames(rng, count, image_size, (0.8 * pixels, 1.25 * pixels))
    angle = draw_uniform(rng, 0, 2 * np.pi, count)
    return Land(*plants, *others, x, y, (np.cos(angle), np.sin(angle)))


def draw_meadow(rng: np.random.Generator, land: Land) -> np.ndarray:
    """Draw grass with worn places, the ground of most places: a batch."""
    count, size = land.x.shape[:2]
    images = fill(land.grass, size)
    patches = fractal_noise(rng, land.x / 8, land.y / 8)
    paint(images, patches * draw_uniform(rng, 0.1, 0.7, count), land.soil)
    fine = fractal_noise(rng, land.x, land.y, octaves=2)
    paint(images, fine * draw_uniform(rng, 0.1, 0.4, count), land.leaves)
    return images


def draw_view_colors(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw mean colours of images, (count, 3, 1, 1), between those of grass and of soil."""
    seasons = rng.uniform(0, 3, (2, count))
    grass, soil = (_draw_colors(rng, *pair) for pair in zip((GRASS, SOIL), seasons, strict=True))
    share = rng.random((count, 1, 1, 1), np.float32)
    return share * grass + (1 - share) * soil


def _draw_colors(rng: np.random.Generator, table: np.ndarray, season: np.ndarray) -> np.ndarray:
    first = season.astype(int).clip(0, len(table) - 2)
    share = (season - first)[:, None]
    mixed = table[first] * (1 - share) + table[first + 1] * share
    mixed += rng.uniform(-SPREAD, SPREAD, mixed.shape)
    return mixed.astype(np.float32)[:, :, None, None]

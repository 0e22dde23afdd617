"""Kinds of surfaces, each a function of coordinates whose unit is about a period.

A pattern takes a random generator and coordinates, (n, size, size) float32 each, and returns
intensities from 0 to 1. Random proportions differ between images.
"""

from collections.abc import Callable

import numpy as np

from memba_vision.datasets.mini_vtab.canvas import draw_uniform
from memba_vision.datasets.mini_vtab.noise import fractal_noise, random_cells, smooth_noise

Pattern = Callable[[np.random.Generator, np.ndarray, np.ndarray], np.ndarray]

SQRT3 = np.float32(np.sqrt(3))


def _stripes(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _bands(rng, x)


def _waves(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    height = draw_uniform(rng, 0.25, 0.45, len(x))
    length = draw_uniform(rng, 1.6, 2.6, len(x))
    return _bands(rng, x + height * np.sin(2 * np.pi * y / length))


def _zigzag(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    length = draw_uniform(rng, 1.6, 2.4, len(x))
    return _bands(rng, x + length * draw_uniform(rng, 0.6, 1, len(x)) * _from_whole(y / length))


def _checks(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    y = y * draw_uniform(rng, 0.8, 1.25, len(x))
    return ((np.floor(x) + np.floor(y)) % 2).astype(np.float32)


def _plaid(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    share = draw_uniform(rng, 0.4, 0.6, len(x))
    fine = 0.3 * (_from_whole(x * 2 + 0.5) < 0.12) + 0.3 * (_from_whole(y * 2 + 0.5) < 0.12)
    return (share * _bands(rng, x / 1.5) + (1 - share) * _bands(rng, y / 1.5) - fine).clip(0, 1)


def _bricks(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    y = y * 1.5
    row = np.floor(y)
    along = x / 1.3 + 0.5 * (row % 2)
    joint = draw_uniform(rng, 0.06, 0.13, len(x))
    is_brick = (_from_whole(along) * 1.3 > joint) & (_from_whole(y) / 1.5 > joint)
    tint = smooth_noise(rng, np.floor(along), row)
    return is_brick * (1 - draw_uniform(rng, 0.1, 0.5, len(x)) * tint)


def _honeycomb(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # The distance to the border of the hexagons around the points of a triangular lattice.
    inner = np.full_like(x, -np.inf)
    for shift in (0, 0.5):
        right = np.abs(from_lattice(x - shift))
        down = np.abs(from_lattice((y - shift * SQRT3) / SQRT3)) * SQRT3
        inner = np.maximum(inner, 0.5 - np.maximum(right, right * 0.5 + down * SQRT3 / 2))
    return (inner > draw_uniform(rng, 0.06, 0.12, len(x))).astype(np.float32)


def _dots(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    radius = draw_uniform(rng, 0.2, 0.34, len(x))
    row_shift = 0.5 * (draw_uniform(rng, 0, 1, len(x)) < 0.5) * (np.floor(y) % 2)
    right, down = from_lattice(x - 0.5 + row_shift), from_lattice(y - 0.5)
    return _inside(np.hypot(right, down) - radius)


def _rings(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    right, down = from_lattice(x / 1.5), from_lattice(y / 1.5)
    width = draw_uniform(rng, 0.06, 0.11, len(x))
    return _inside(np.abs(np.hypot(right, down) - 0.33) - width)


def _scales(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # Rows of overlapping discs; of those that cover a pixel the highest row is on top.
    x, y = x / 1.3, y * (2 / 1.3)
    drawn = np.zeros_like(x)
    for step in (1, 0, -1):
        row = np.floor(y) + step
        right = from_lattice(x - 0.5 * (row % 2))
        away = np.hypot(right, (y - row) / 2) / 0.6
        drawn = np.where(away < 1, 1 - away**3, drawn)
    return drawn ** draw_uniform(rng, 0.6, 1.5, len(x))


def _weave(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = x / 1.2, y / 1.2
    over = (np.floor(x) + np.floor(y)) % 2 == 0
    across, along = np.where(over, y, x) % 1, np.where(over, x, y) % 1
    width = draw_uniform(rng, 0.36, 0.46, len(x))
    strand = np.abs(across - 0.5) < width
    return strand * (0.65 + 0.35 * np.sin(np.pi * along)) * (1 - 4 * (across - 0.5) ** 2)


def _mosaic(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return random_cells(rng, x / 1.2, y / 1.2).value


def _cracks(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    bend = draw_uniform(rng, 0.2, 0.5, len(x))
    x, y = (axis / 1.6 + bend * smooth_noise(rng, x * 1.5, y * 1.5) for axis in (x, y))
    cells = random_cells(rng, x, y)
    width = draw_uniform(rng, 0.05, 0.1, len(x))
    return _inside(cells.second - cells.nearest - width)


def _marble(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    flow = fractal_noise(rng, x / 2.5, y / 2.5, octaves=4)
    veins = np.abs(np.sin(np.pi * (x / 3 + draw_uniform(rng, 3, 5, len(x)) * flow)))
    return veins ** draw_uniform(rng, 0.4, 0.8, len(x))


def _wood(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    rings = smooth_noise(rng, x / 2.5, y / 9) * draw_uniform(rng, 3, 5, len(x))
    streaks = smooth_noise(rng, x * 4, y / 3)
    return (0.75 * (rings % 1) + 0.5 * streaks - 0.1).clip(0, 1)


def _blots(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    level = draw_uniform(rng, 0.42, 0.56, len(x))
    return _inside((level - fractal_noise(rng, x / 1.2, y / 1.2, octaves=2)) * 2)


#: Kinds of surfaces by name; a kind's place is its label.
PATTERNS: dict[str, Pattern] = {
    'stripes': _stripes,
    'waves': _waves,
    'zigzag': _zigzag,
    'checks': _checks,
    'plaid': _plaid,
    'bricks': _bricks,
    'honeycomb': _honeycomb,
    'dots': _dots,
    'rings': _rings,
    'scales': _scales,
    'weave': _weave,
    'mosaic': _mosaic,
    'cracks': _cracks,
    'marble': _marble,
    'wood': _wood,
    'blots': _blots,
}


def _bands(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    # Bands of random width; their edges are sharp or soft.
    share = draw_uniform(rng, -0.5, 0.5, len(x))
    sharpness = draw_uniform(rng, 0.7, 4, len(x))
    return (0.5 + sharpness * 0.5 * (np.sin(2 * np.pi * x) - share)).clip(0, 1)


def from_lattice(x: np.ndarray) -> np.ndarray:
    """Return the offsets from the nearest whole numbers, -0.5 to 0.5."""
    return x - np.floor(x + 0.5)


def _from_whole(x: np.ndarray) -> np.ndarray:
    return np.abs(from_lattice(x))


def _inside(distance: np.ndarray) -> np.ndarray:
    # 1 inside an outline with a slightly soft edge.
    return (0.5 - distance * 12).clip(0, 1)

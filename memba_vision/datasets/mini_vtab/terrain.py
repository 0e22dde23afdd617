"""The task ``terrain``: kinds of land seen from above."""

from collections.abc import Callable

import numpy as np

from memba_vision.datasets.mini_vtab.canvas import draw_uniform, expose, halve, paint, photograph
from memba_vision.datasets.mini_vtab.ground import Land, draw_land, draw_meadow, draw_view_colors
from memba_vision.datasets.mini_vtab.noise import fractal_noise, random_cells, smooth_noise
from memba_vision.datasets.mini_vtab.patterns import from_lattice
from memba_vision.datasets.mini_vtab.splits import IMAGE_SIZE, Split, draw_splits

FINENESS = 2  # drawn pixels along one of the image
CONTRASTS = (0.08, 0.16)  # standard deviations of an image
UNIT = 1.0  # pixels of the image, more or less: the unit of a land's frame


def make_terrain(seed: int = 15) -> dict[str, Split]:
    """Return the task; the label is the kind's place in ``KINDS``.

    Seasons, light, scale and direction are random, and colours of kinds overlap.

    Args:
        seed: Equal seeds draw equal images.
    """
    return draw_splits('terrain', seed, _render)


def _render(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    size = FINENESS * IMAGE_SIZE
    images = np.empty((len(labels), 3, size, size), np.float32)
    for kind, draw in enumerate(KINDS.values()):
        chosen = np.flatnonzero(labels == kind)
        if len(chosen):
            images[chosen] = draw(rng, draw_land(rng, len(chosen), size, FINENESS * UNIT))
    exposed = expose(rng, halve(images), draw_view_colors(rng, len(labels)), CONTRASTS)
    return photograph(rng, exposed, noise=(0.01, 0.04))


def _forest(rng: np.random.Generator, land: Land) -> np.ndarray:
    images = draw_meadow(rng, land)
    width = draw_uniform(rng, 3.5, 6.5, len(land.x))
    clearings = fractal_noise(rng, land.x / 14, land.y / 14) > draw_uniform(
        rng, 0.6, 0.9, len(land.x)
    )
    _plant(rng, images, land, land.x / width, land.y / width, 0.95, 0.7 * ~clearings)
    return images


def _crops(rng: np.random.Generator, land: Land) -> np.ndarray:
    return _paint_fields(rng, draw_meadow(rng, land), land)


def _orchard(rng: np.random.Generator, land: Land) -> np.ndarray:
    images = draw_meadow(rng, land)
    spacing = draw_uniform(rng, 5, 7.5, len(land.x))
    x, y = land.x / spacing, land.y / (spacing * draw_uniform(rng, 0.8, 1, len(land.x)))
    _plant(rng, images, land, x, y, 0.08, draw_uniform(rng, 0.28, 0.36, len(land.x)))
    return images


def _pasture(rng: np.random.Generator, land: Land) -> np.ndarray:
    images = draw_meadow(rng, land)
    for _ in range(3):
        line = np.abs(_turned(rng, land)) + 1.5 * smooth_noise(rng, land.x / 2, land.y / 2)
        hedge = (draw_uniform(rng, 1.2, 2.2, len(land.x)) - line).clip(0, 1)
        paint(images, hedge * draw_uniform(rng, 0, 0.9, len(land.x)), land.leaves)
    lone = smooth_noise(rng, land.x / 9, land.y / 9) > draw_uniform(rng, 0.7, 0.95, len(land.x))
    _plant(rng, images, land, land.x / 8, land.y / 8, 0.7, 0.25 * lone)
    return images


def _scrub(rng: np.random.Generator, land: Land) -> np.ndarray:
    images = draw_meadow(rng, land)
    paint(images, fractal_noise(rng, land.x / 5, land.y / 5), land.soil)
    for width in (7, 4):
        x, y = land.x / width, land.y / width
        radius = draw_uniform(rng, 0.15, 0.3, len(land.x)) * (
            smooth_noise(rng, x / 2, y / 2) > 0.35
        )
        _plant(rng, images, land, x, y, 0.95, radius)
    return images


def _river(rng: np.random.Generator, land: Land) -> np.ndarray:
    images = _countryside(rng, land)
    length = draw_uniform(rng, 25, 45, len(land.x))
    course = draw_uniform(rng, 4, 9, len(land.x)) * np.sin(2 * np.pi * land.x / length)
    course += 5 * smooth_noise(rng, land.x / 12, np.zeros_like(land.y))
    course += draw_uniform(rng, -8, 4, len(land.x))
    width = draw_uniform(rng, 2.2, 4.5, len(land.x)) + 1.5 * smooth_noise(
        rng, land.x / 8, land.y / 8
    )
    _flood(rng, images, land, np.abs(land.y - course) - width)
    return images


def _lake(rng: np.random.Generator, land: Land) -> np.ndarray:
    images = _countryside(rng, land)
    center_x, center_y = (draw_uniform(rng, -8, 8, len(land.x)) for _ in range(2))
    stretch = draw_uniform(rng, 1, 1.5, len(land.x))
    away = np.hypot((land.x - center_x) / stretch, (land.y - center_y) * stretch)
    shore = 12 * fractal_noise(rng, land.x / 9, land.y / 9)
    _flood(rng, images, land, away + shore - draw_uniform(rng, 14, 24, len(land.x)))
    return images


def _road(rng: np.random.Generator, land: Land) -> np.ndarray:
    images = _countryside(rng, land)
    bend = draw_uniform(rng, -0.006, 0.006, len(land.x))
    middle = np.abs(land.y - bend * land.x**2 - draw_uniform(rng, -9, 9, len(land.x)))
    width = draw_uniform(rng, 1.3, 2.6, len(land.x))
    branch = np.abs(land.x + 0.4 * land.y - draw_uniform(rng, -10, 10, len(land.x)))
    has_branch = draw_uniform(rng, 0, 1, len(land.x)) < 0.5
    middle = np.where(has_branch, np.minimum(middle, branch + 0.6), middle)
    paint(images, (width + 1 - middle).clip(0, 1) * 0.5, land.soil)
    paint(images, ((width - middle) * 2).clip(0, 1), land.stone)
    line = (0.35 - middle).clip(0, 1) * draw_uniform(rng, 0, 2, len(land.x))
    paint(images, line, np.ones_like(land.stone))
    return images


def _houses(rng: np.random.Generator, land: Land) -> np.ndarray:
    images = draw_meadow(rng, land)
    spacing = draw_uniform(rng, 7, 9.5, len(land.x))
    x, y = land.x / spacing, land.y / spacing
    street = np.minimum(np.abs(from_lattice(x / 4)) * 4, np.abs(from_lattice(y / 2)) * 2)
    paint(images, ((0.17 - street) * 10).clip(0, 1), land.stone)
    _build(rng, images, land, (x - 0.5, y - 0.5), (0.2, 0.33), 0.85)
    width = 4
    radius = (
        draw_uniform(rng, 0.2, 0.3, len(land.x))
        * (smooth_noise(rng, land.x / 3, land.y / 3) > 0.6)
        * (street > 0.3)
    )
    _plant(rng, images, land, land.x / width, land.y / width, 0.9, radius)
    return images


def _industry(rng: np.random.Generator, land: Land) -> np.ndarray:
    images = draw_meadow(rng, land)
    yards = fractal_noise(rng, land.x / 16, land.y / 16) < draw_uniform(rng, 0.5, 0.8, len(land.x))
    paint(images, yards * 0.9, land.stone)
    spacing = draw_uniform(rng, 17, 24, len(land.x))
    x = land.x / spacing + draw_uniform(rng, 0, 1, len(land.x))
    y = land.y / (spacing * 0.8) + draw_uniform(rng, 0, 1, len(land.x))
    _build(rng, images, land, (x, y), (0.3, 0.42), 0.9)
    return images


#: Kinds of land by name; a kind's place is its label.
KINDS: dict[str, Callable[[np.random.Generator, Land], np.ndarray]] = {
    'forest': _forest,
    'crops': _crops,
    'orchard': _orchard,
    'pasture': _pasture,
    'scrub': _scrub,
    'river': _river,
    'lake': _lake,
    'road': _road,
    'houses': _houses,
    'industry': _industry,
}


def _countryside(rng: np.random.Generator, land: Land) -> np.ndarray:
    # Surroundings of water and roads: meadows, fields or woods, (n, 3, size, size).
    images = draw_meadow(rng, land)
    fields = _paint_fields(rng, images.copy(), land)
    has_fields = draw_uniform(rng, 0, 1, len(land.x)) < 0.5
    paint(images, has_fields * np.ones_like(land.x), fields)
    woods = smooth_noise(rng, land.x / 14, land.y / 14) > draw_uniform(rng, 0.5, 1, len(land.x))
    _plant(rng, images, land, land.x / 4, land.y / 4, 0.95, 0.6 * woods)
    return images


def _paint_fields(rng: np.random.Generator, images: np.ndarray, land: Land) -> np.ndarray:
    # Parcels with straight borders and furrows; each has a colour of its own.
    count = len(land.x)
    width = draw_uniform(rng, 12, 20, count)
    x, y = land.x / width, land.y / (width * draw_uniform(rng, 0.6, 1, count))
    row = np.floor(y + draw_uniform(rng, 0, 1, count))
    column = np.floor(x + smooth_noise(rng, row, row) * 2)
    tint, kind = smooth_noise(rng, column, row), smooth_noise(rng, column + 7, row)
    for colors, chosen in ((land.soil, tint), (land.leaves, (1.2 * kind - 0.5).clip(0, 1))):
        paint(images, chosen * 0.9, colors)
    across = np.where(kind > 0.5, land.x, land.y)
    furrows = 0.5 + 0.5 * np.sin(2 * np.pi * across / draw_uniform(rng, 2.4, 4, count))
    strength = draw_uniform(rng, 0.1, 0.45, count) * smooth_noise(rng, column, row + 7)
    paint(images, furrows * strength, land.soil - 0.2)
    return images


def _plant(
    rng: np.random.Generator,
    images: np.ndarray,
    land: Land,
    x: np.ndarray,
    y: np.ndarray,
    disorder: float,
    radius: np.ndarray,
) -> None:
    # One round crown with its shadow around each random point of the frame (x, y).
    cells = random_cells(rng, x, y, disorder)
    sun_x, sun_y = land.sun
    shadow = np.hypot(cells.right + 0.15 * sun_x, cells.down - 0.15 * sun_y) - radius
    paint(images, (0.5 - shadow * 8).clip(0, 0.6) * (radius > 0), land.leaves * 0.3)
    crown = (0.5 - (cells.nearest - radius) * 8).clip(0, 1) * (radius > 0)
    light = cells.right * sun_x - cells.down * sun_y
    bright = (light + 0.3 * (cells.value - 0.5))[:, None] * 0.45
    paint(images, crown, land.leaves + bright)


def _flood(rng: np.random.Generator, images: np.ndarray, land: Land, distance: np.ndarray) -> None:
    # Water where the distance to its shore, in units of the frame, is negative.
    bank = (1.5 - distance).clip(0, 1) * draw_uniform(rng, 0, 0.8, len(land.x))
    paint(images, bank, land.soil)
    ripples = 0.06 * (smooth_noise(rng, land.x / 3, land.y) - 0.5)
    deep = (0.04 * distance).clip(-0.1, 0)
    paint(images, (0.5 - distance).clip(0, 1), land.water + (ripples + deep)[:, None])


def _build(
    rng: np.random.Generator,
    images: np.ndarray,
    land: Land,
    frame: tuple[np.ndarray, np.ndarray],
    half_sides: tuple[float, float],
    share: float,
) -> None:
    # Rectangular roofs with two slopes and a shadow at whole coordinates of a frame.
    x, y = frame
    column, row = np.floor(x + 0.5), np.floor(y + 0.5)
    half_x, half_y = (
        half_sides[0] + (half_sides[1] - half_sides[0]) * smooth_noise(rng, column, row + shift)
        for shift in (0, 5)
    )
    there = smooth_noise(rng, column + 9, row) < share
    sun_x, sun_y = land.sun
    right, down = from_lattice(x), from_lattice(y)
    shadow = np.maximum(np.abs(right + 0.1 * sun_x) - half_x, np.abs(down + 0.1 * sun_y) - half_y)
    paint(images, (shadow < 0) * there * 0.55, np.zeros_like(land.stone))
    roof = (np.maximum(np.abs(right) - half_x, np.abs(down) - half_y) < 0) * there
    along = half_x > half_y
    slope = np.where(along, np.sign(down) * sun_y, np.sign(right) * sun_x)
    tint = [smooth_noise(rng, column, row + shift) for shift in (11, 13)]
    red, light = 0.25 * tint[0], 0.35 + 0.45 * tint[1]
    color = np.stack([light + red * 0.6, light - red * 0.5, light - red * 0.7], 1)
    paint(images, roof, color + (0.1 * slope)[:, None])


def _turned(rng: np.random.Generator, land: Land) -> np.ndarray:
    # Distance to a line of random direction near the middle, with its sign.
    angle = draw_uniform(rng, 0, np.pi, len(land.x))
    away = draw_uniform(rng, -18, 18, len(land.x))
    return np.cos(angle) * land.x + np.sin(angle) * land.y - away

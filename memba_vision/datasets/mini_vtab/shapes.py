"""Ten flat shapes, drawn with smooth edges for a whole batch at once.

A shape is a function of coordinates in its own frame, where it fits the unit circle: ``x`` points
to its right and ``y`` up. The function returns the signed distance to the outline, negative
inside. Only its values near the outline are seen, so a bound that is exact there will do: the
larger of two distances is the intersection of two shapes, the smaller one their union.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np


def _square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return box(x, y, 0.7, 0.7)


def _ellipse(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # The first-order distance f / |grad f|; the small constant keeps the centre finite.
    semi_x, semi_y = 0.95, 0.48
    radius = np.hypot(x / semi_x, y / semi_y)
    gradient = np.hypot(x / semi_x**2, y / semi_y**2)
    return radius * (radius - 1) / (gradient + 1e-6)


def _heart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # A diamond and, over the midpoints of its upper sides, two discs as wide as a side. The
    # shift and the factor put it into the unit circle.
    factor, shift = 1.27, 0.27
    x, y = np.abs(x) * factor, y * factor + shift
    diamond = (x + np.abs(y) - 1) * np.sqrt(0.5)
    disc = np.hypot(x - 0.5, y - 0.5) - np.sqrt(0.5)
    return np.minimum(diamond, disc) / factor


def _triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(x) * np.sqrt(0.75) + y * 0.5, -y) - 0.5


def _star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # A pentagram is where at most one of the pentagon's five half-planes is left: the second
    # largest of the five distances is below zero.
    largest = second = np.full_like(x, -np.inf)
    for angle in np.pi * (0.5 + 0.4 * np.arange(5)):
        side = x * np.cos(angle) + y * np.sin(angle)
        second = np.maximum(second, np.minimum(largest, side))
        largest = np.maximum(largest, side)
    return second - np.cos(0.4 * np.pi)


def _cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.minimum(box(x, y, 0.95, 0.27), box(x, y, 0.27, 0.95))


def _ring(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.abs(np.hypot(x, y) - 0.75) - 0.2


def _crescent(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(np.hypot(x, y) - 0.95, 0.75 - np.hypot(x - 0.45, y))


def _arrow(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    head = np.maximum((np.abs(x) + y - 0.95) * np.sqrt(0.5), 0.15 - y)
    shaft = box(x, y + 0.35, 0.2, 0.6)
    return np.minimum(head, shaft)


def _letter_l(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    upright = box(x + 0.3, y, 0.22, 0.85)
    foot = box(x, y + 0.63, 0.52, 0.22)
    return np.minimum(upright, foot)


def box(x: np.ndarray, y: np.ndarray, half_width: float, half_height: float) -> np.ndarray:
    """Return the signed distance to the outline of a box around 0."""
    return np.maximum(np.abs(x) - half_width, np.abs(y) - half_height)


class Shape(NamedTuple):
    """Outline and symmetry of a shape.

    Attributes:
        distance: Signed distance to the outline, of x and y in the shape's own frame.
        folds: Number of positions in which it looks the same during a full turn.
    """

    distance: Callable[[np.ndarray, np.ndarray], np.ndarray]
    folds: float = 1


# A shape's id is its place here. The first three are the shapes of dSprites.
SHAPES: dict[str, Shape] = {
    'square': Shape(_square, folds=4),
    'ellipse': Shape(_ellipse, folds=2),
    'heart': Shape(_heart),
    'triangle': Shape(_triangle, folds=3),
    'star': Shape(_star, folds=5),
    'cross': Shape(_cross, folds=4),
    'ring': Shape(_ring, folds=math.inf),
    'crescent': Shape(_crescent),
    'arrow': Shape(_arrow),
    'letter_l': Shape(_letter_l),
}


def visible_angles(shape_ids: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Return what can be seen of rotations: the smallest angle from 0 that looks the same.

    Args:
        shape_ids: Places in :data:`SHAPES`, (n,) integer.
        angles: Counter-clockwise rotation in radians, (n,), not negative.
    """
    periods = np.array([2 * np.pi / shape.folds for shape in SHAPES.values()])[shape_ids]
    return np.mod(angles, periods, out=np.zeros_like(angles), where=periods > 0)


def render_masks(
    shape_ids: np.ndarray,
    centers: np.ndarray,
    scales: np.ndarray,
    angles: np.ndarray,
    image_size: int,
) -> np.ndarray:
    """Draw one shape per image and return how much of each pixel it covers.

    Args:
        shape_ids: Places in :data:`SHAPES`, (n,) integer.
        centers: x and y in pixels from the image's upper left corner, (n, 2).
        scales: Radius in pixels of the circle that the shape fits in, (n,).
        angles: Counter-clockwise rotation in radians, (n,).
        image_size: Height and width of the square images in pixels.

    Returns:
        Coverage from 0 to 1, (n, image_size, image_size) float32.
    """
    x, y = local_coordinates(centers, scales, angles, image_size)
    draw = list(SHAPES.values())
    masks = np.empty_like(x)
    for shape_id in np.unique(shape_ids):
        chosen = shape_ids == shape_id
        masks[chosen] = draw[shape_id].distance(x[chosen], y[chosen])
    masks *= -np.asarray(scales, np.float32)[:, None, None]
    masks += 0.5  # the outline halves a pixel
    return masks.clip(0, 1, out=masks)


def local_coordinates(
    centers: np.ndarray, scales: np.ndarray, angles: np.ndarray, image_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels' coordinates in the frames of shapes that are placed, sized and turned.

    Args:
        centers, scales, angles, image_size: See :func:`render_masks`.

    Returns:
        x to the right and y up in the shape's own frame, (n, image_size, image_size) float32 each.
    """
    pixels = np.arange(image_size) + 0.5
    right = (pixels - centers[:, :1]) / scales[:, None]
    up = (centers[:, 1:] - pixels) / scales[:, None]
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    # A rotation is a sum of a term per column and a term per row: only the sum is full size.
    terms = (cos * right, sin * up, -sin * right, cos * up)
    x_right, x_up, y_right, y_up = (term.astype(np.float32) for term in terms)
    x = x_right[:, None, :] + x_up[:, :, None]
    y = y_right[:, None, :] + y_up[:, :, None]
    return x, y

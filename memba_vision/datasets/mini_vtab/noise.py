"""Random fields that are smooth or made of cells, at any coordinates, for a whole batch.

Coordinates are pairs of (n, size, size) float32. A field repeats after ``PERIOD`` units.
"""

from typing import NamedTuple

import numpy as np

PERIOD = 32


def smooth_noise(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return random values at whole coordinates, and smooth transitions between them.

    Args:
        rng: The random generator.
        x, y: The coordinates.

    Returns:
        Values from 0 to 1, of the shape of the coordinates.
    """
    table = rng.random((len(x), PERIOD * PERIOD), np.float32).reshape(-1)
    left, top = np.floor(x), np.floor(y)
    across, down = _ease(x - left), _ease(y - top)
    column, row = left.astype(np.intp), top.astype(np.intp)
    columns = [_column(column), _column(column + 1)]
    upper, lower = (
        _between(*(np.take(table, start + place) for place in columns), across)
        for start in (_row(row), _row(row + 1))
    )
    return _between(upper, lower, down)


def fractal_noise(
    rng: np.random.Generator, x: np.ndarray, y: np.ndarray, octaves: int = 3
) -> np.ndarray:
    """Return a sum of :func:`smooth_noise`, each twice as fine and half as strong, from 0 to 1."""
    total, weight = np.zeros_like(x), 1.0
    for octave in range(octaves):
        total += weight * smooth_noise(rng, x * 2**octave, y * 2**octave)
        weight /= 2
    return total / np.float32(2 - 2 * weight)


class Cells(NamedTuple):
    """Cells around random points; arrays of the shape of the coordinates.

    Attributes:
        nearest: Distance to the nearest point.
        second: Distance to the second nearest; equal to ``nearest`` on the border of cells.
        value: A random number from 0 to 1, the same all over a cell.
        right, down: The offset from the nearest point.
    """

    nearest: np.ndarray
    second: np.ndarray
    value: np.ndarray
    right: np.ndarray
    down: np.ndarray


def random_cells(
    rng: np.random.Generator, x: np.ndarray, y: np.ndarray, disorder: float = 0.9
) -> Cells:
    """Return the cells around one random point in each unit square.

    Args:
        rng: The random generator.
        x, y: The coordinates.
        disorder: Side of the square that a point is drawn from: 0 is a lattice.
    """
    tables = rng.random((3, len(x) * PERIOD * PERIOD), np.float32)
    tables[:2] = 0.5 + disorder * (tables[:2] - 0.5)
    cell_x, cell_y = np.floor(x), np.floor(y)
    column, row = cell_x.astype(np.intp), cell_y.astype(np.intp)
    inside_x, inside_y = x - cell_x, y - cell_y
    nearest = np.full_like(x, np.inf)
    second, right, down = nearest.copy(), np.zeros_like(x), np.zeros_like(x)
    owner = np.zeros(x.shape, np.intp)
    rows = {step: _row(row + step) for step in (-1, 0, 1)}
    for step_x in (-1, 0, 1):
        beside, shifted_x = _column(column + step_x), inside_x - np.float32(step_x)
        for step_y, start in rows.items():
            place = start + beside
            offset_x = shifted_x - np.take(tables[0], place)
            offset_y = inside_y - step_y - np.take(tables[1], place)
            distance = offset_x * offset_x + offset_y * offset_y
            closer = distance < nearest
            np.minimum(second, np.maximum(nearest, distance), out=second)
            np.copyto(nearest, distance, where=closer)
            np.copyto(right, offset_x, where=closer)
            np.copyto(down, offset_y, where=closer)
            np.copyto(owner, place, where=closer)
    return Cells(np.sqrt(nearest), np.sqrt(second), np.take(tables[2], owner), right, down)


def _ease(share: np.ndarray) -> np.ndarray:
    return share * share * (3 - 2 * share)


def _between(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    return first + share * (second - first)


def _column(column: np.ndarray) -> np.ndarray:
    # PERIOD is a power of two: the remainder is right for negative numbers, too.
    return column & (PERIOD - 1)


def _row(row: np.ndarray) -> np.ndarray:
    # Where a row of each image's own table begins in the tables of all, one after the other.
    table = np.arange(len(row)).reshape(-1, 1, 1) * (PERIOD * PERIOD)
    return (row & (PERIOD - 1)) * PERIOD + table

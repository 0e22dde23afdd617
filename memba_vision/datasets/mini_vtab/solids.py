"""Boxes and ellipsoids that rays hit, for whole batches.

A ray is an origin and a direction, three arrays each that go together with (n, size, size): x, y
and z in the frame of the solid, whose centre is the origin of the frame.
"""

from typing import NamedTuple

import numpy as np

Vector = tuple[np.ndarray, np.ndarray, np.ndarray]
FAR = np.float32(1e6)  # the depth where nothing is hit
LEAST_SLOPE = np.float32(1e-4)  # of a ray to a face, or the division would not be finite


class Hits(NamedTuple):
    """Places where rays meet a solid first.

    Attributes:
        depth: Along the ray, in lengths of its direction; ``FAR`` where it misses.
        normal: The surface's outer unit normal in the frame of the solid.
    """

    depth: np.ndarray
    normal: Vector


def hit_box(origin: Vector, direction: Vector, half_sides: Vector) -> Hits:
    """Return where rays meet a box that is parallel to the axes."""
    entries, exits, signs = [], [], []
    for place, slope, half in zip(origin, direction, half_sides, strict=True):
        slope = np.where(np.abs(slope) < LEAST_SLOPE, LEAST_SLOPE, slope)
        middle, reach = -place / slope, np.abs(half / slope)
        entries.append(middle - reach)
        exits.append(middle + reach)
        signs.append(-np.sign(slope))
    enter = np.maximum(np.maximum(entries[0], entries[1]), entries[2])
    leave = np.minimum(np.minimum(exits[0], exits[1]), exits[2])
    depth = np.where((enter < leave) & (enter > 0), enter, FAR)
    normal = tuple(sign * (entry == enter) for sign, entry in zip(signs, entries, strict=True))
    return Hits(depth, normal)


def hit_ellipsoid(origin: Vector, direction: Vector, half_axes: Vector) -> Hits:
    """Return where rays meet an ellipsoid whose axes are those of the frame."""
    place = [o / half for o, half in zip(origin, half_axes, strict=True)]
    slope = [d / half for d, half in zip(direction, half_axes, strict=True)]
    square = sum(s * s for s in slope)
    mixed = sum(p * s for p, s in zip(place, slope, strict=True))
    root = mixed * mixed - square * (sum(p * p for p in place) - 1)
    first = -(mixed + np.sqrt(root.clip(0))) / square
    depth = np.where((root > 0) & (first > 0), first, FAR)
    near = first.clip(-FAR, FAR)
    outer = [(p + near * s) / half for p, s, half in zip(place, slope, half_axes, strict=True)]
    length = np.sqrt(sum(part * part for part in outer)) + np.float32(1e-6)
    return Hits(depth, tuple(part / length for part in outer))


def turn(vector: Vector, cos: np.ndarray, sin: np.ndarray) -> Vector:
    """Return a vector in a frame that is turned counter-clockwise around the last axis."""
    x, y, z = vector
    return cos * x + sin * y, cos * y - sin * x, z


def brightness(normal: Vector, light: Vector, ambient: np.ndarray) -> np.ndarray:
    """Return how bright a dull surface is, from ``ambient`` to 1, in the light of one direction."""
    facing = sum(n * part for n, part in zip(normal, light, strict=True))
    return ambient + (1 - ambient) * facing.clip(0)

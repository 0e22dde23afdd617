"""The task ``azimuth``: shaded solids that are turned around the vertical axis."""

from typing import NamedTuple

import numpy as np

from memba_vision.datasets.mini_vtab.canvas import (
    double,
    draw_contrasting_colors,
    draw_uniform,
    halve,
    mean_colors,
    paint,
    photograph,
)
from memba_vision.datasets.mini_vtab.clutter import render_clutter
from memba_vision.datasets.mini_vtab.solids import (
    FAR,
    Vector,
    brightness,
    hit_box,
    hit_ellipsoid,
)
from memba_vision.datasets.mini_vtab.splits import IMAGE_SIZE, Split, draw_splits
from memba_vision.datasets.tasks import MINI_TASKS

WANDERING = 0.35  # part of a class's angle that a solid may be turned off its middle
ELEVATIONS = np.deg2rad([15, 60])
SIZES = (13, 18)  # pixels of a unit
AMBIENT = 0.3
CONTRAST = 0.5
DISTANCE = 5.0  # of the camera, in units


class Part(NamedTuple):
    """A part of a solid: x is its front, z is up.

    Attributes:
        kind: 'box' or 'ellipsoid'.
        center: Of the part.
        half: Half of the length along each axis.
    """

    kind: str
    center: tuple[float, float, float]
    half: tuple[float, float, float]


#: Solids without symmetry of rotation, all in a sphere of radius 1.1.
SOLIDS: dict[str, tuple[Part, ...]] = {
    'chair': (
        Part('box', (0, 0, -0.05), (0.5, 0.45, 0.1)),
        Part('box', (-0.42, 0, 0.45), (0.09, 0.45, 0.45)),
        Part('box', (0.1, 0, -0.45), (0.3, 0.25, 0.3)),
    ),
    'car': (
        Part('box', (0, 0, -0.25), (0.9, 0.42, 0.22)),
        Part('box', (-0.25, 0, 0.15), (0.42, 0.36, 0.2)),
    ),
    'mug': (
        Part('ellipsoid', (-0.15, 0, 0), (0.55, 0.55, 0.7)),
        Part('box', (0.62, 0, 0), (0.3, 0.1, 0.3)),
    ),
    'bird': (
        Part('ellipsoid', (-0.1, 0, -0.1), (0.7, 0.4, 0.42)),
        Part('ellipsoid', (0.5, 0, 0.4), (0.3, 0.27, 0.27)),
        Part('box', (0.85, 0, 0.38), (0.16, 0.08, 0.06)),
    ),
    'stairs': (
        Part('box', (0, 0, -0.4), (0.7, 0.4, 0.2)),
        Part('box', (-0.2, 0, 0), (0.48, 0.4, 0.2)),
        Part('box', (-0.42, 0, 0.4), (0.26, 0.4, 0.2)),
    ),
    'plane': (
        Part('ellipsoid', (0, 0, 0), (0.95, 0.2, 0.2)),
        Part('box', (0.15, 0, 0), (0.2, 0.9, 0.06)),
        Part('box', (-0.8, 0, 0.25), (0.14, 0.06, 0.28)),
    ),
}


def make_azimuth(seed: int = 19) -> dict[str, Split]:
    """Return the task; the label is the direction that the solid's front points to.

    Direction 0 is to the right, and each further one is a twelfth of a turn counter-clockwise,
    seen from above: 3 points away from the camera, 9 to it. Kind, size, place, colour, light and
    the camera's elevation are random.

    Args:
        seed: Equal seeds draw equal images.
    """
    return draw_splits('azimuth', seed, _render)


def _render(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    images = double(render_clutter(rng, len(labels), IMAGE_SIZE))
    means = mean_colors(images)
    kinds = rng.integers(0, len(SOLIDS), len(labels))
    turned = labels + rng.uniform(-WANDERING, WANDERING, len(labels))
    angles = (turned * (2 * np.pi / MINI_TASKS['azimuth'].num_classes)).astype(np.float32)
    for kind, parts in enumerate(SOLIDS.values()):
        chosen = np.flatnonzero(kinds == kind)
        if len(chosen):
            mask, shades, numbers = _see(rng, parts, angles[chosen, None, None])
            images[chosen] = _paint_solid(rng, images[chosen], means[chosen], mask, shades, numbers)
    return photograph(rng, halve(images))


def _paint_solid(
    rng: np.random.Generator,
    images: np.ndarray,
    means: np.ndarray,
    mask: np.ndarray,
    shades: np.ndarray,
    numbers: np.ndarray,
) -> np.ndarray:
    usual = draw_contrasting_colors(rng, means, CONTRAST)
    colors = usual * np.ones((1, 1, *mask.shape[1:]), np.float32)
    for number in range(1, 3):
        other = (usual + rng.uniform(-0.25, 0.25, usual.shape)).astype(np.float32).clip(0.05, 1)
        np.copyto(colors, other, where=(numbers == number)[:, None])
    paint(images, mask.astype(np.float32), colors * shades[:, None])
    return images


def _see(
    rng: np.random.Generator, parts: tuple[Part, ...], angles: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # Mask, brightness and number of the part that is seen, (n, size, size) each.
    count, size = len(angles), 2 * IMAGE_SIZE
    elevation = draw_uniform(rng, *ELEVATIONS, count)
    unit = 2 * draw_uniform(rng, *SIZES, count)
    pixels = np.arange(size, dtype=np.float32) + 0.5 - size / 2
    reach = 0.5 * (size - 2.2 * unit).clip(4)
    right = (pixels - reach * draw_uniform(rng, -1, 1, count)) / unit
    up = (reach * draw_uniform(rng, -1, 1, count) - pixels[:, None]) / unit
    origin, direction = _rays(right, up, angles, elevation)
    light = _draw_light(rng, angles)
    depth = np.full((count, size, size), FAR)
    shades, numbers = np.zeros_like(depth), np.zeros(depth.shape, np.int8)
    for number, part in enumerate(parts):
        hit = {'box': hit_box, 'ellipsoid': hit_ellipsoid}[part.kind]
        half = tuple(np.float32(side) for side in part.half)
        place = tuple(o - np.float32(c) for o, c in zip(origin, part.center, strict=True))
        hits = hit(place, direction, half)
        closer = hits.depth < depth
        np.copyto(depth, hits.depth, where=closer)
        np.copyto(shades, brightness(hits.normal, light, AMBIENT), where=closer)
        np.copyto(numbers, number, where=closer, casting='unsafe')
    return depth < FAR, shades, numbers


def _rays(
    right: np.ndarray, up: np.ndarray, angles: np.ndarray, elevation: np.ndarray
) -> tuple[Vector, Vector]:
    # Parallel rays in the frame of the solid. The camera looks along (0, 1) on the ground, from
    # above; the solid is turned by ``angles``, so the camera is turned back.
    cos, sin = np.cos(angles), np.sin(angles)
    low, high = np.cos(elevation), np.sin(elevation)
    to_right, ahead = (cos, -sin), (sin, cos)
    forward = (ahead[0] * low, ahead[1] * low, -high)
    upward = (ahead[0] * high, ahead[1] * high, low)
    across = (*to_right, np.float32(0))
    origin = tuple(
        right * a + up * u - np.float32(DISTANCE) * f
        for a, u, f in zip(across, upward, forward, strict=True)
    )
    return origin, forward


def _draw_light(rng: np.random.Generator, angles: np.ndarray) -> Vector:
    # A direction to the light in the frame of the solid, above it and on the camera's side.
    around = draw_uniform(rng, -np.pi / 2 - 1.2, -np.pi / 2 + 1.2, len(angles)) - angles
    height = draw_uniform(rng, np.deg2rad(20), np.deg2rad(70), len(angles))
    return np.cos(height) * np.cos(around), np.cos(height) * np.sin(around), np.sin(height)

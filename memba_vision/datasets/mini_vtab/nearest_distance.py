"""The task ``nearest_distance``: solids on a plane, seen in perspective."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from memba_vision.datasets.mini_vtab.canvas import (
    double,
    draw_colors,
    draw_contrasting_colors,
    draw_uniform,
    fill,
    halve,
    paint,
    photograph,
)
from memba_vision.datasets.mini_vtab.clutter import render_clutter
from memba_vision.datasets.mini_vtab.noise import fractal_noise
from memba_vision.datasets.mini_vtab.solids import (
    FAR,
    Hits,
    Vector,
    brightness,
    hit_box,
    hit_ellipsoid,
    turn,
)
from memba_vision.datasets.mini_vtab.splits import IMAGE_SIZE, Split, draw_splits

# Lengths are in heights of the camera above the plane.
EDGES = np.geomspace(2.4, 10.5, 7)  # between the classes of distance
FARTHEST = 14.0
NUM_SOLIDS = 4
SIZES = (0.28, 0.65)  # half of a solid's height
APART = 0.6  # least distance from the nearest solid to the next
FOCUS = 1.1  # focal length in sides of the image
AMBIENT = 0.35
CONTRAST = 0.35


class Scene(NamedTuple):
    """Solids of a batch, (n, NUM_SOLIDS) each; the nearest is the first.

    Attributes:
        distances: From the camera, along the ground.
        aside: To the right of the camera's axis, where it is looking along.
        heights: Half of the height.
        is_box: True for a box, False for a ball.
        present: False for a solid that is not there.
    """

    distances: np.ndarray
    aside: np.ndarray
    heights: np.ndarray
    is_box: np.ndarray
    present: np.ndarray


def make_nearest_distance(seed: int = 17) -> dict[str, Split]:
    """Return the task; the label is the bin of ``EDGES`` that the nearest solid's distance is in.

    Number, kind, true size, place and colour of solids, ground, sky, light and the camera's tilt
    are random.

    Args:
        seed: Equal seeds draw equal images.
    """
    return draw_splits('nearest_distance', seed, _render)


def draw_scene(rng: np.random.Generator, labels: np.ndarray) -> Scene:
    """Draw solids whose nearest is as far away as its label, (n,), says."""
    shape = (len(labels), NUM_SOLIDS)
    low, high = np.log(EDGES[labels]), np.log(EDGES[labels + 1])
    nearest = np.exp(low + (high - low) * rng.uniform(0.08, 0.92, len(labels)))[:, None]
    distances = rng.uniform(nearest + APART, FARTHEST, shape)
    distances[:, :1] = nearest
    half_view = 0.5 / FOCUS * 0.85
    return Scene(
        distances,
        rng.uniform(-half_view, half_view, shape) * distances,
        rng.uniform(*SIZES, shape),
        rng.random(shape) < 0.5,
        np.arange(NUM_SOLIDS) < rng.integers(1, NUM_SOLIDS + 1, (len(labels), 1)),
    )


def _render(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    scene = draw_scene(rng, labels)
    horizon = draw_uniform(rng, 0.16, 0.26, len(labels))
    light = _draw_light(rng, len(labels))
    right, down = _view(horizon, IMAGE_SIZE)
    images, ground = _draw_surroundings(rng, right, down)
    _cast_shadows(images, scene, right, down, light)
    # Solids have sharp edges: they are drawn at twice the size.
    images = double(images)
    right, down = _view(horizon, 2 * IMAGE_SIZE)
    _paint_solids(rng, images, scene, (right, np.ones_like(right), -down), light, ground)
    return photograph(rng, halve(images))


def _paint_solids(
    rng: np.random.Generator,
    images: np.ndarray,
    scene: Scene,
    direction: Vector,
    light: Vector,
    ground: np.ndarray,
) -> None:
    # One after the other where it is nearer than what was painted before.
    depth = np.full_like(direction[0], FAR)
    for number in range(NUM_SOLIDS):
        colors = draw_contrasting_colors(rng, ground, CONTRAST)
        for kind, hit in enumerate((hit_ellipsoid, hit_box)):
            chosen = np.flatnonzero(scene.present[:, number] & (scene.is_box[:, number] == kind))
            one = Scene(*(part[chosen, number, None, None] for part in scene))
            rays, sun = (tuple(part[chosen] for part in vector) for vector in (direction, light))
            found, shade = _see(rng, hit, one, rays, sun)
            seen = found < depth[chosen]
            painted = images[chosen]
            paint(painted, seen.astype(np.float32), colors[chosen] * shade[:, None])
            images[chosen] = painted
            depth[chosen] = np.where(seen, found, depth[chosen])


def _view(horizon: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    # Where rays go to the right and down for each length ahead, (n, size, size) each.
    places = (np.arange(size, dtype=np.float32) + 0.5) / size
    down = (places[:, None] - horizon) / np.float32(FOCUS) * np.ones_like(places)
    return np.broadcast_to((places - 0.5) / np.float32(FOCUS), down.shape), down


def _draw_light(rng: np.random.Generator, count: int) -> Vector:
    # A direction to the light, (n, 1, 1) three times: to the right, ahead and up.
    around = draw_uniform(rng, 0, 2 * np.pi, count)
    height = draw_uniform(rng, np.deg2rad(35), np.deg2rad(75), count)
    return np.cos(height) * np.cos(around), np.cos(height) * np.sin(around), np.sin(height)


def _draw_surroundings(
    rng: np.random.Generator, right: np.ndarray, down: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    # Sky and patterned ground, a batch, and the ground's colour.
    count, size = right.shape[:2]
    ground, other = draw_colors(rng, count), draw_colors(rng, count)
    away = (1 / down.clip(0.05)).clip(0, 20)
    fog = (away / 20) ** 2
    pattern = fractal_noise(rng, right * away * 2 + 50, away * 2, octaves=2) * (1 - fog)
    images = fill(ground, size)
    paint(images, pattern * draw_uniform(rng, 0.2, 0.5, count), other)
    sky = render_clutter(rng, count, size, 0.15)
    paint(images, fog * 0.5, sky)
    paint(images, (down < 0).astype(np.float32), sky)
    return images, ground


def _cast_shadows(
    images: np.ndarray, scene: Scene, right: np.ndarray, down: np.ndarray, light: Vector
) -> None:
    # A soft dark spot below each solid, drawn out away from the light.
    y = np.where(down > 1e-3, 1 / down.clip(1e-3), FAR)
    x = right * y
    for number in range(NUM_SOLIDS):
        aside, ahead, half = (
            part[:, number, None, None].astype(np.float32)
            for part in (scene.aside, scene.distances, scene.heights)
        )
        shift = 0.7 * half
        away = np.hypot(x - aside + shift * light[0], y - ahead + shift * light[1])
        dark = (1.3 - away / (1.1 * half)).clip(0, 0.6) * scene.present[:, number, None, None]
        paint(images, dark, np.zeros((len(images), 3, 1, 1), np.float32))


def _see(
    rng: np.random.Generator,
    hit: Callable[[Vector, Vector, Vector], Hits],
    solid: Scene,
    direction: Vector,
    light: Vector,
) -> tuple[np.ndarray, np.ndarray]:
    # Depth and brightness of one solid per image, (n, size, size) each.
    half, aside, ahead = (
        part.astype(np.float32) for part in (solid.heights, solid.aside, solid.distances)
    )
    angle = draw_uniform(rng, 0, np.pi / 2, len(half))
    cos, sin = np.cos(angle), np.sin(angle)
    origin = turn((-aside, -ahead, 1 - half), cos, sin)
    direction, light = turn(direction, cos, sin), turn(light, cos, sin)
    sides = [half, half]
    if hit is hit_box:
        sides = [half * draw_uniform(rng, 0.7, 1.2, len(half)) for _ in range(2)]
    hits = hit(origin, direction, (*sides, half))
    return hits.depth, brightness(hits.normal, light, AMBIENT)

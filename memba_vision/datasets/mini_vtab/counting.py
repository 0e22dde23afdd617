"""The task ``counting``: small discs, triangles and squares on clutter."""

import numpy as np

from memba_vision.datasets.mini_vtab.canvas import (
    draw_contrasting_colors,
    paint,
    photograph,
)
from memba_vision.datasets.mini_vtab.clutter import render_clutter
from memba_vision.datasets.mini_vtab.placement import place_apart
from memba_vision.datasets.mini_vtab.shapes import local_coordinates
from memba_vision.datasets.mini_vtab.splits import IMAGE_SIZE, Split, draw_splits

LARGEST = 8
RADII = (2.8, 5.5)  # pixels, of the circle that a thing fits in
CONTRAST = 0.5


def make_counting(seed: int = 16) -> dict[str, Split]:
    """Return the task; the label is the number of things less one.

    Things differ in kind, size, direction and colour, lie wholly inside the image and do not touch.

    Args:
        seed: Equal seeds draw equal images.
    """
    return draw_splits('counting', seed, _render)


def _render(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    images = render_clutter(rng, len(labels), IMAGE_SIZE, range_of_colors=0.2)
    masks, centers = draw_things(rng, labels + 1)
    rows = np.arange(len(labels))
    for mask, (x, y) in zip(masks, centers.astype(int).transpose(1, 2, 0), strict=True):
        beside = images[rows, :, y, x][:, :, None, None]
        paint(images, mask, draw_contrasting_colors(rng, beside, CONTRAST))
    return photograph(rng, images)


def draw_things(rng: np.random.Generator, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draw as many things in each image as ``numbers``, (n,), says.

    Returns:
        Masks, (LARGEST, n, IMAGE_SIZE, IMAGE_SIZE) float32, empty where an image has fewer things,
        and centres in pixels, (n, LARGEST, 2).
    """
    radii, centers = _draw_places(rng, numbers)
    masks = np.zeros((LARGEST, len(numbers), IMAGE_SIZE, IMAGE_SIZE), np.float32)
    for thing, mask in enumerate(masks):
        present = np.flatnonzero(radii[:, thing])
        place = radii[present, thing]
        angles = rng.uniform(0, 2 * np.pi, len(present))
        x, y = local_coordinates(centers[present, thing], place, angles, IMAGE_SIZE)
        distance = _outline(rng.integers(0, 3, len(present)), x, y)
        mask[present] = (0.5 - distance * place[:, None, None]).clip(0, 1)
    return masks, centers


def _draw_places(rng: np.random.Generator, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # Radii (n, LARGEST), 0 for no thing, and centres. An image whose things do not fit is redrawn.
    radii, centers = np.zeros((len(numbers), LARGEST)), np.zeros((len(numbers), LARGEST, 2))
    left = np.arange(len(numbers))
    while len(left):
        usual = rng.uniform(*RADII, (len(left), 1))
        drawn = (usual * rng.uniform(0.7, 1.3, (len(left), LARGEST))).clip(*RADII)
        drawn[np.arange(LARGEST) >= numbers[left, None]] = 0
        radii[left] = drawn
        centers[left], placed = place_apart(rng, drawn, IMAGE_SIZE, gap=1.5)
        left = left[(placed.sum(1) < numbers[left])]
    return radii, centers


def _outline(kinds: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # Signed distance to a disc, a triangle or a square in the unit circle, by kind.
    disc = np.hypot(x, y) - 0.85
    triangle = np.maximum(np.abs(x) * np.float32(np.sqrt(0.75)) + y * 0.5, -y) - 0.5
    square = np.maximum(np.abs(x), np.abs(y)) - 0.7
    return np.choose(kinds[:, None, None], [disc, triangle, square])

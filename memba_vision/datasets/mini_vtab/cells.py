"""The task ``cells``: stained tissue, graded by the nuclei in the middle."""

from typing import NamedTuple

import numpy as np

from memba_vision.datasets.mini_vtab.canvas import draw_uniform, fill, paint, photograph
from memba_vision.datasets.mini_vtab.clutter import random_frames
from memba_vision.datasets.mini_vtab.noise import fractal_noise, random_cells
from memba_vision.datasets.mini_vtab.placement import place_apart
from memba_vision.datasets.mini_vtab.shapes import local_coordinates
from memba_vision.datasets.mini_vtab.splits import IMAGE_SIZE, Split, draw_splits

MIDDLE = 26  # pixels: side of the square whose nuclei are graded
NUM_OUTSIDE = 14  # nuclei at the border, which say nothing

# Haematoxylin and eosin, and other stains of nuclei and of tissue around: hues are random anyway.
NUCLEUS = np.array([0.36, 0.25, 0.55])
TISSUE = np.array([0.88, 0.68, 0.8])
STAIN = 0.12  # largest deviation of a channel of an image's stains


class Nuclei(NamedTuple):
    """Nuclei of a batch.

    Attributes:
        centers: In pixels, (n, k, 2).
        radii: In pixels, (n, k); 0 for none.
        lengths: Length over width, (n, k).
        lobes: Depth of the dents of an outline, as a part of the radius, (n, k).
    """

    centers: np.ndarray
    radii: np.ndarray
    lengths: np.ndarray
    lobes: np.ndarray


def make_cells(seed: int = 14) -> dict[str, Split]:
    """Return the task; the label is the grade of the nuclei in the middle of the image.

    0: few and regular (round, equally large), 1: many and regular, 2: few and irregular (of
    different sizes, long or lobed), 3: many and irregular. Nuclei at the border are of any kind,
    stains vary, and do not tell.

    Args:
        seed: Equal seeds draw equal images.
    """
    return draw_splits('cells', seed, _render)


def _render(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    stroma = _draw_stain(rng, TISSUE, len(labels))
    nucleus = _draw_stain(rng, NUCLEUS, len(labels))
    images = _draw_tissue(rng, stroma, nucleus)
    middle = draw_middle(rng, labels)
    for nuclei in (_draw_border(rng, middle), middle):
        _paint_nuclei(rng, images, nuclei, nucleus)
    return photograph(rng, images)


def _draw_stain(rng: np.random.Generator, usual: np.ndarray, count: int) -> np.ndarray:
    drawn = usual + rng.uniform(-STAIN, STAIN, (count, 3))
    return drawn.astype(np.float32)[:, :, None, None]


def _draw_tissue(rng: np.random.Generator, stroma: np.ndarray, nucleus: np.ndarray) -> np.ndarray:
    # Fibres, cell borders and holes.
    images = fill(stroma, IMAGE_SIZE)
    x, y = random_frames(rng, len(stroma), IMAGE_SIZE, (3, 8))
    fibres = fractal_noise(rng, x, y / draw_uniform(rng, 1, 4, len(stroma)))
    paint(images, fibres * draw_uniform(rng, 0.2, 0.6, len(stroma)), nucleus + 0.25)
    cells = random_cells(rng, x / 1.5, y / 1.5)
    borders = (0.15 - (cells.second - cells.nearest)).clip(0, 0.1) * 10
    pale = np.full_like(stroma, 0.93)
    paint(images, borders * draw_uniform(rng, 0, 0.5, len(stroma)), pale)
    holes = (fractal_noise(rng, x / 2, y / 2) * 8 - draw_uniform(rng, 5, 8, len(stroma))).clip(0, 1)
    paint(images, holes, pale)
    return images


def draw_middle(rng: np.random.Generator, labels: np.ndarray) -> Nuclei:
    """Draw the nuclei that the labels, (n,) from 0 to 3, speak of."""
    many, irregular = labels % 2 == 1, labels >= 2
    count = np.where(many, rng.integers(9, 13, len(labels)), rng.integers(3, 6, len(labels)))
    radii = _draw_radii(rng, irregular, 12)
    radii[np.arange(12) >= count[:, None]] = 0
    centers, placed = place_apart(rng, radii, MIDDLE, gap=0.3, reach=0.5)
    return _with_shapes(rng, centers + (IMAGE_SIZE - MIDDLE) / 2, radii * placed, irregular)


def _draw_border(rng: np.random.Generator, middle: Nuclei) -> Nuclei:
    # Nuclei of a kind of their own around the middle.
    count = len(middle.radii)
    irregular = rng.random(count) < 0.5
    radii = _draw_radii(rng, irregular, NUM_OUTSIDE)
    radii[np.arange(NUM_OUTSIDE) >= rng.integers(2, NUM_OUTSIDE + 1, (count, 1))] = 0
    centers, placed = place_apart(rng, radii, IMAGE_SIZE, gap=0.3, reach=0)
    away = np.abs(centers - IMAGE_SIZE / 2).max(2)
    outside = away > MIDDLE / 2 + 2
    return _with_shapes(rng, centers, radii * placed * outside, irregular)


def _draw_radii(rng: np.random.Generator, irregular: np.ndarray, count: int) -> np.ndarray:
    # The mean area is nearly the same for both.
    regular = rng.uniform(2.3, 2.9, (len(irregular), 1)) * rng.uniform(0.94, 1.06, (1, count))
    varied = rng.choice([1.7, 2.3, 3.4], (len(irregular), count), p=[0.4, 0.3, 0.3])
    return np.where(irregular[:, None], varied, regular)


def _with_shapes(
    rng: np.random.Generator, centers: np.ndarray, radii: np.ndarray, irregular: np.ndarray
) -> Nuclei:
    is_odd = irregular[:, None]
    lengths = np.where(is_odd, rng.uniform(1.2, 2.2, radii.shape), rng.uniform(1, 1.1, radii.shape))
    lobes = np.where(is_odd, rng.uniform(0, 0.3, radii.shape), 0)
    return Nuclei(centers, radii, lengths, lobes)


def _paint_nuclei(
    rng: np.random.Generator, images: np.ndarray, nuclei: Nuclei, stain: np.ndarray
) -> None:
    for number in range(nuclei.radii.shape[1]):
        there = np.flatnonzero(nuclei.radii[:, number])
        of_each = (part[there, number] for part in nuclei)
        mask, depth = _draw_nucleus(rng, *of_each)
        shade = rng.uniform(-0.07, 0.07, (len(there), 3, 1, 1)).astype(np.float32)
        colors = stain[there] + shade + 0.25 * (0.5 - depth)[:, None]
        painted = images[there]
        paint(painted, mask * draw_uniform(rng, 0.75, 1, len(there)), colors)
        images[there] = painted


def _draw_nucleus(
    rng: np.random.Generator,
    centers: np.ndarray,
    radii: np.ndarray,
    lengths: np.ndarray,
    lobes: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    # Mask, and darkness of the chromatin from the middle to the rim, (n, size, size) each.
    column = (-1, 1, 1)
    x, y = local_coordinates(centers, radii, rng.uniform(0, 2 * np.pi, len(radii)), IMAGE_SIZE)
    wide = np.sqrt(lengths).reshape(column).astype(np.float32)
    x, y = x / wide, y * wide
    angle = np.arctan2(y, x)
    outline = 1 + lobes.reshape(column).astype(np.float32) * np.cos(
        3 * angle + draw_uniform(rng, 0, 2 * np.pi, len(radii))
    )
    distance = (np.hypot(x, y) - outline) * radii.reshape(column).astype(np.float32)
    return (0.5 - distance).clip(0, 1), np.hypot(x, y).clip(0, 1)

"""The task ``letters``: capitals of many fonts on clutter."""

from functools import partial
from string import ascii_uppercase

import numpy as np

from memba_vision.datasets.mini_vtab.canvas import (
    draw_contrasting_colors,
    draw_uniform,
    mean_colors,
    paint,
    photograph,
)
from memba_vision.datasets.mini_vtab.clutter import render_clutter
from memba_vision.datasets.mini_vtab.fonts import (
    FIELD_SIZE,
    GLYPH_HEIGHT,
    TEST_FAMILIES,
    TRAIN_FAMILIES,
    glyph_fields,
)
from memba_vision.datasets.mini_vtab.sampling import sample
from memba_vision.datasets.mini_vtab.shapes import local_coordinates
from memba_vision.datasets.mini_vtab.splits import IMAGE_SIZE, Split, draw_splits

HEIGHTS = (16, 32)  # pixels, of a capital
LARGEST_ANGLE = np.deg2rad(25)
CONTRAST = 0.45


def make_letters(seed: int = 11) -> dict[str, Split]:
    """Return the task; the label is the letter's place in the alphabet.

    A third of the families of fonts is in the test images alone. Family, face, size, place, angle,
    width and colour are random.

    Args:
        seed: Equal seeds draw equal images.

    Raises:
        UserError: The fonts are not there.
    """
    known = partial(_render, glyph_fields(TRAIN_FAMILIES, ascii_uppercase))
    unseen = partial(_render, glyph_fields(TEST_FAMILIES, ascii_uppercase))
    return draw_splits('letters', seed, {'train800': known, 'val200': known, 'test': unseen})


def _render(families: list[np.ndarray], rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    images = render_clutter(rng, len(labels), IMAGE_SIZE)
    colors = draw_contrasting_colors(rng, mean_colors(images), CONTRAST)
    paint(images, _draw_letters(rng, _choose_faces(rng, families, labels)), colors)
    return photograph(rng, images)


def _choose_faces(
    rng: np.random.Generator, families: list[np.ndarray], labels: np.ndarray
) -> np.ndarray:
    # The fields of the labels' letters in random families, and then in random faces of those.
    chosen = [families[number] for number in rng.integers(0, len(families), len(labels))]
    return np.stack(
        [
            faces[rng.integers(len(faces)), label]
            for faces, label in zip(chosen, labels, strict=True)
        ]
    )


def _draw_letters(rng: np.random.Generator, fields: np.ndarray) -> np.ndarray:
    # Masks (n, size, size) of letters that lie, but for corners, inside their images.
    count = len(fields)
    heights = rng.uniform(*HEIGHTS, count)
    margin = heights[:, None] * 0.6
    centers = rng.uniform(margin, IMAGE_SIZE - margin, (count, 2))
    angles = rng.uniform(-LARGEST_ANGLE, LARGEST_ANGLE, count)
    x, y = local_coordinates(centers, heights, angles, IMAGE_SIZE)
    x = x * draw_uniform(rng, 0.85, 1.25, count)
    middle, samples = (FIELD_SIZE - 1) / 2, GLYPH_HEIGHT * FIELD_SIZE
    distance = sample(fields, middle + samples * x, middle - samples * y, outside=0.3)
    return (0.5 - distance * heights[:, None, None].astype(np.float32)).clip(0, 1)

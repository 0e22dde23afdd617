"""The tasks ``sprites_location`` and ``sprites_orientation``, in the manner of dSprites."""

from typing import NamedTuple

import numpy as np

from memba_vision.datasets.mini_vtab.shapes import SHAPES, render_masks
from memba_vision.datasets.mini_vtab.splits import (
    IMAGE_SIZE,
    Split,
    cut_into_splits,
    draw_labels,
    split_sizes,
)
from memba_vision.datasets.tasks import MINI_TASKS

# The factors of dSprites and how many values each takes: a sprite is a row of five integers.
NUM_VALUES = {'shape': 3, 'scale': 6, 'rotation': 40, 'x': 32, 'y': 32}
SHAPE, SCALE, ROTATION, X, Y = range(len(NUM_VALUES))
SIZES = np.array(list(NUM_VALUES.values()))

NUM_CLASSES = 16


class Design(NamedTuple):
    """Appearance of the sprites of a task.

    Attributes:
        shapes: Three names.
        radii: The smallest and the largest, in pixels.
        margin: The least distance of a centre from the image's border, in pixels.
    """

    shapes: tuple[str, ...]
    radii: tuple[float, float]
    margin: float

    def periods(self) -> np.ndarray:
        """Return the number of rotations, of 40, after which each shape looks the same again."""
        return np.array([NUM_VALUES['rotation'] // SHAPES[name].folds for name in self.shapes])


DSPRITES = Design(('square', 'ellipse', 'heart'), radii=(5, 10), margin=10.5)
WITHOUT_SYMMETRY = Design(('heart', 'arrow', 'letter_l'), radii=(12, 15), margin=21)


def make_sprites_location(seed: int = 1) -> dict[str, Split]:
    """Return white squares, ellipses and hearts on black; the label is the horizontal place.

    The 32 places from left to right fall into 16 equal bins; shape, scale, rotation and vertical
    place are random. Classes are balanced in every split, and no two images of the task are the
    same.

    Args:
        seed: Equal seeds draw equal images.
    """
    return _make_splits('sprites_location', DSPRITES, X, seed)


def make_sprites_orientation(seed: int = 2) -> dict[str, Split]:
    """Return white hearts, arrows and letters L on black; the label is the angle of rotation.

    The 40 counter-clockwise rotations, 9 degrees apart, fall into 16 equal bins over the full
    turn; shape, scale and, near the middle, place are random. Classes are balanced in every
    split, and no two images of the task are the same.

    dSprites turns squares and ellipses, which look the same after a quarter and half a turn: no
    model can be right there in more than (1 + 1/2 + 1/4) / 3 = 58.3 % of the images, and with
    1,000 of them none learns much. These shapes have no such symmetry, are larger and move less:
    each shows its angle, and 1,000 images are enough to learn to read it.

    Args:
        seed: Equal seeds draw equal images.
    """
    return _make_splits('sprites_orientation', WITHOUT_SYMMETRY, ROTATION, seed)


def _make_splits(task: str, design: Design, labelled_factor: int, seed: int) -> dict[str, Split]:
    rng = np.random.default_rng(seed)
    sizes = split_sizes(MINI_TASKS[task])
    labels = np.concatenate([draw_labels(rng, size, NUM_CLASSES) for size in sizes.values()])
    visible = _draw_distinct(rng, labels, labelled_factor, design.periods())
    return cut_into_splits(_render(visible, design), labels, sizes)


def _draw_distinct(
    rng: np.random.Generator, labels: np.ndarray, factor: int, periods: np.ndarray
) -> np.ndarray:
    # Visible factors of sprites, (n, 5), with the given labels; no two of them look the same.
    visible = _reduce(_draw_factors(rng, labels, factor), periods)
    while (repeats := _find_repeats(visible)).size:
        visible[repeats] = _reduce(_draw_factors(rng, labels[repeats], factor), periods)
    return visible


def _draw_factors(rng: np.random.Generator, labels: np.ndarray, factor: int) -> np.ndarray:
    factors = rng.integers(0, SIZES, (len(labels), len(SIZES)))
    # The values v with v * NUM_CLASSES // size == label, each as likely as the other.
    first = -(-labels * SIZES[factor] // NUM_CLASSES)
    end = -(-(labels + 1) * SIZES[factor] // NUM_CLASSES)
    factors[:, factor] = rng.integers(first, end)
    return factors


def _reduce(factors: np.ndarray, periods: np.ndarray) -> np.ndarray:
    # The factors with the rotation reduced to what can be seen of it.
    factors[:, ROTATION] %= periods[factors[:, SHAPE]]
    return factors


def _find_repeats(visible: np.ndarray) -> np.ndarray:
    # Places of the sprites that look like an earlier one.
    _, first = np.unique(visible, axis=0, return_index=True)
    return np.setdiff1d(np.arange(len(visible)), first)


def _render(visible: np.ndarray, design: Design) -> np.ndarray:
    # Drawn from what is visible, or rounding would tell a square from the same one turned.
    shape, scale, rotation, x, y = visible.T
    ids = np.array([list(SHAPES).index(name) for name in design.shapes])
    radii = np.linspace(*design.radii, NUM_VALUES['scale'])
    places = np.linspace(design.margin, IMAGE_SIZE - design.margin, NUM_VALUES['x'])
    centers = np.stack([places[x], places[y]], axis=1)
    angles = 2 * np.pi / NUM_VALUES['rotation'] * rotation
    masks = render_masks(ids[shape], centers, radii[scale], angles, IMAGE_SIZE)
    return np.round(masks * 255).astype(np.uint8)

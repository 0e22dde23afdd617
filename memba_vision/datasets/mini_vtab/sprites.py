"""The tasks ``sprites_location`` and ``sprites_orientation``, in the manner of dSprites."""

import numpy as np

from memba_vision.datasets.mini_vtab.shapes import render_masks
from memba_vision.datasets.mini_vtab.splits import IMAGE_SIZE, Split, cut, split_sizes
from memba_vision.datasets.tasks import MINI_TASKS

# The factors of dSprites and how many values each takes: a sprite is a row of five integers.
NUM_VALUES = {'shape': 3, 'scale': 6, 'rotation': 40, 'x': 32, 'y': 32}
SHAPE, SCALE, ROTATION, X, Y = range(len(NUM_VALUES))
SIZES = np.array(list(NUM_VALUES.values()))

# After how many of the 40 rotations a square, an ellipse and a heart look the same again.
ROTATION_PERIODS = np.array([10, 20, 40])

NUM_CLASSES = 16
RADII = np.linspace(5, 10, NUM_VALUES['scale'])  # pixels
PLACES = np.linspace(10.5, IMAGE_SIZE - 10.5, NUM_VALUES['x'])  # keeps the largest inside


def make_sprites_location(seed: int = 1) -> dict[str, Split]:
    """Return white squares, ellipses and hearts on black; the label is the horizontal place.

    The 32 places from left to right fall into 16 equal bins; shape, scale, rotation and vertical
    place are random. Classes are balanced in every split, and no two images of the task are the
    same.

    Args:
        seed: Equal seeds draw equal images.
    """
    return _make_splits('sprites_location', X, seed)


def make_sprites_orientation(seed: int = 2) -> dict[str, Split]:
    """Return white squares, ellipses and hearts on black; the label is the angle of rotation.

    The 40 counter-clockwise rotations, 9 degrees apart, fall into 16 equal bins over the full
    turn; shape, scale and place are random. Classes are balanced in every split, and no two
    images of the task are the same.

    As in dSprites no model can be right throughout. A heart shows its angle, but an ellipse looks
    the same after half a turn and a square after a quarter, which leaves the right bin one of two
    and one of four: (1 + 1/2 + 1/4) / 3 = 58.3 % is the ceiling in expectation.

    Args:
        seed: Equal seeds draw equal images.
    """
    return _make_splits('sprites_orientation', ROTATION, seed)


def _make_splits(task: str, labelled_factor: int, seed: int) -> dict[str, Split]:
    rng = np.random.default_rng(seed)
    sizes = split_sizes(MINI_TASKS[task])
    labels = np.concatenate([_draw_labels(rng, size) for size in sizes.values()])
    factors = _draw_distinct(rng, labels, labelled_factor)
    return cut(_render(factors), labels, sizes)


def _draw_labels(rng: np.random.Generator, size: int) -> np.ndarray:
    # Every class equally often, or once more where the size is no multiple of the classes.
    return rng.permutation(np.arange(size) % NUM_CLASSES)


def _draw_distinct(rng: np.random.Generator, labels: np.ndarray, factor: int) -> np.ndarray:
    # Sprites (n, 5) of the given labels, no two of which look the same.
    factors = _draw_factors(rng, labels, factor)
    while (repeats := _find_repeats(factors)).size:
        factors[repeats] = _draw_factors(rng, labels[repeats], factor)
    return factors


def _draw_factors(rng: np.random.Generator, labels: np.ndarray, factor: int) -> np.ndarray:
    factors = rng.integers(0, SIZES, (len(labels), len(SIZES)))
    # The values v with v * NUM_CLASSES // size == label, each as likely as the other.
    first = -(-labels * SIZES[factor] // NUM_CLASSES)
    end = -(-(labels + 1) * SIZES[factor] // NUM_CLASSES)
    factors[:, factor] = rng.integers(first, end)
    return factors


def _find_repeats(factors: np.ndarray) -> np.ndarray:
    # Places of the sprites that look like an earlier one.
    _, first = np.unique(_visible(factors), axis=0, return_index=True)
    return np.setdiff1d(np.arange(len(factors)), first)


def _visible(factors: np.ndarray) -> np.ndarray:
    # The factors with the rotation reduced to what can be seen of it.
    visible = factors.copy()
    visible[:, ROTATION] %= ROTATION_PERIODS[factors[:, SHAPE]]
    return visible


def _render(factors: np.ndarray) -> np.ndarray:
    # Drawn from what is visible, or rounding would tell a square from the same one turned.
    shape, scale, rotation, x, y = _visible(factors).T
    centers = np.stack([PLACES[x], PLACES[y]], axis=1)
    angles = 2 * np.pi / NUM_VALUES['rotation'] * rotation
    masks = render_masks(shape, centers, RADII[scale], angles, IMAGE_SIZE)
    return np.round(masks * 255).astype(np.uint8)

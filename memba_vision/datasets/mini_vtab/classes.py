"""Names of the classes of the second mini-VTAB's tasks."""

from itertools import pairwise
from string import ascii_uppercase

from memba_vision.datasets.mini_vtab.nearest_distance import EDGES
from memba_vision.datasets.mini_vtab.patterns import PATTERNS
from memba_vision.datasets.mini_vtab.terrain import KINDS


def _degrees(num_classes: int) -> tuple[str, ...]:
    return tuple(f'{label * 360 / num_classes:g}°' for label in range(num_classes))


#: Names of the classes by task, in the order of the labels.
CLASS_NAMES: dict[str, tuple[str, ...]] = {
    'letters': tuple(ascii_uppercase),
    'street_digits': tuple('0123456789'),
    'textures': tuple(PATTERNS),
    'cells': ('few, regular', 'many, regular', 'few, irregular', 'many, irregular'),
    'terrain': tuple(KINDS),
    'counting': tuple('12345678'),
    'nearest_distance': tuple(f'{near:.1f} to {far:.1f}' for near, far in pairwise(EDGES)),
    'orientation': _degrees(16),
    'azimuth': _degrees(12),
}

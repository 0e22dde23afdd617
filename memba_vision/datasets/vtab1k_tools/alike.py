"""Photos that look alike: copies in another size or format, and shots of one moment."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from PIL import Image

CELLS = 9  # of a coarse grey picture, in a row and in a column
SAMPLED = 512  # pixels of a side are enough for it
STEP = 2.0  # grey levels between two cells that differ
BITS = 2 * (CELLS - 1) ** 2
#: Numbers of bits in which two photos that look alike may differ; the first that tells them apart.
DISTANCES = (12, 6, 3, 0)
COLOUR = 10  # levels of red, green and blue, on average
ROWS = 1024  # compared with all others at a time
MANY = 50  # pairs for each photo: so many say nothing


def look_of(rgb: np.ndarray) -> bytes:
    """Return the look of a photo: its colour, and where it grows brighter to the right or down.

    A difference hash of two directions, which small changes of size, light and compression keep.

    Args:
        rgb: (height, width, 3) uint8.

    Returns:
        16 bytes of bits, and the mean of each channel.
    """
    height, width = rgb.shape[:2]
    sampled = rgb[:: max(1, height // SAMPLED), :: max(1, width // SAMPLED)]
    coarse = Image.fromarray(np.ascontiguousarray(sampled)).resize((CELLS, CELLS), Image.BOX)
    cells = np.asarray(coarse, np.float32)
    grey = cells.mean(2)
    to_right, down = np.diff(grey, axis=1)[:-1] > STEP, np.diff(grey, axis=0)[:, :-1] > STEP
    colour = cells.mean((0, 1)).round().astype(np.uint8)
    return np.packbits([to_right, down]).tobytes() + colour.tobytes()


def groups_of_alike(looks: Sequence[bytes], labels: Sequence[str]) -> tuple[list[int], bool]:
    """Group photos by their looks.

    Where more than half of a class would be one group, as with drawings on white, photos have to
    be more alike; where they are the same to the last bit, looks say nothing.

    Args:
        looks: from :func:`look_of`.
        labels: their classes.

    Returns:
        The number of each photo's group, and True if looks tell the photos apart.
    """
    sizes = Counter(labels)
    for distance in DISTANCES:
        pairs = pairs_of_alike(looks, distance)
        if pairs is None:
            continue
        groups = _connected(len(looks), pairs)
        inside = Counter(zip(groups, labels, strict=True))
        if all(count <= max(2, sizes[label] / 2) for (_, label), count in inside.items()):
            return groups, True
    return list(range(len(looks))), False


def pairs_of_alike(looks: Sequence[bytes], distance: int) -> np.ndarray | None:
    """Return the pairs of photos that look alike, (pairs, 2), the smaller number first.

    None: so many do that the looks say nothing.
    """
    table = np.frombuffer(b''.join(looks), np.uint8).reshape(len(looks), -1)
    bits = np.unpackbits(table[:, : BITS // 8], axis=1).astype(np.float32) * 2 - 1
    colours = table[:, BITS // 8 :].astype(np.int16)
    found = [np.empty((0, 2), np.int64)]
    for start in range(0, len(looks), ROWS):
        # Of two rows of signs the product counts the bits that are the same, less the others.
        same = bits[start : start + ROWS] @ bits[start:].T
        pairs = np.argwhere(same >= BITS - 2 * distance) + start
        pairs = pairs[pairs[:, 0] < pairs[:, 1]]
        difference = np.abs(colours[pairs[:, 0]] - colours[pairs[:, 1]]).max(1, initial=0)
        found.append(pairs[difference <= COLOUR])
        if sum(map(len, found)) > MANY * len(looks):
            return None
    return np.concatenate(found)


def _connected(count: int, pairs: np.ndarray) -> list[int]:
    from scipy.sparse import coo_array  # it takes a while
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(pairs), bool)
    graph = coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1].tolist()

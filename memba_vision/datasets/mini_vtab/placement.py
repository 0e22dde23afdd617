"""Places for several things in an image, apart from each other."""

import numpy as np

TRIES = 40


def place_apart(
    rng: np.random.Generator,
    radii: np.ndarray,
    image_size: int,
    gap: float,
    reach: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Place discs so that they lie inside the image and do not touch.

    Args:
        rng: The random generator.
        radii: In pixels, (n, k); one of 0 stands for no disc.
        image_size: Height and width in pixels.
        gap: The least distance of two outlines, in pixels.
        reach: Part of its radius that a disc must stay away from the image's border.

    Returns:
        Centres, x and y in pixels, (n, k, 2), and True for each disc that found a place after
        ``TRIES``, (n, k) bool.
    """
    count, discs = radii.shape
    centers, placed = np.zeros((count, discs, 2)), np.zeros((count, discs), bool)
    for disc in range(discs):
        margin = radii[:, disc, None, None] * reach
        tried = rng.uniform(margin, image_size - margin, (count, TRIES, 2))
        away = np.hypot(*(tried[:, :, None] - centers[:, None, :disc]).transpose(3, 0, 1, 2))
        needed = radii[:, None, :disc] + radii[:, None, disc, None] + gap
        free = ((away >= needed) | ~placed[:, None, :disc]).all(2)
        first = free.argmax(1)
        centers[:, disc] = tried[np.arange(count), first]
        placed[:, disc] = free.any(1) & (radii[:, disc] > 0)
    return centers, placed

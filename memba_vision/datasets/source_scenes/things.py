"""Photographs of things, where a package of the system brings them."""

import gzip
from pathlib import Path

import numpy as np
from PIL import Image

from memba_vision.datasets.source_scenes.glyphs import GLYPH_SIZE

#: 70,000 photographs of clothes in ten classes (Xiao et al. 2017, MIT licence), in Debian's package
#: dataset-fashion-mnist.
FOLDER = Path('/usr/share/datasets/fashion-mnist')
NUM_CLASSES = 10
HEADER = {'images': 16, 'labels': 8}  # bytes


def read_things(folder: Path = FOLDER) -> tuple[np.ndarray, np.ndarray] | None:
    """Read the photographs, grey on black.

    Args:
        folder: The package's folder.

    Returns:
        Intensities, (60000, GLYPH_SIZE, GLYPH_SIZE) uint8, and classes, (60000,) int64; None where
        the package is not installed.
    """
    paths = [folder / f'train-{part}-ubyte.gz' for part in ('images-idx3', 'labels-idx1')]
    if not all(path.is_file() for path in paths):
        return None
    images, labels = (
        np.frombuffer(gzip.decompress(path.read_bytes())[header:], np.uint8)
        for path, header in zip(paths, HEADER.values(), strict=True)
    )
    return np.stack([_enlarge(i) for i in images.reshape(-1, 28, 28)]), labels.astype(np.int64)


def _enlarge(image: np.ndarray) -> np.ndarray:
    size = (GLYPH_SIZE, GLYPH_SIZE)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))

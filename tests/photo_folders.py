"""Folders of small photos by class, one colour a class."""

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ('blue tit', 'café', 'red')


def make_photo(path: Path, channel: int, rng: np.random.Generator) -> Path:
    """Write a photo of coarse noise that is bright in one channel: no two look alike."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = rng.integers(0, 120, (9, 9, 3), np.uint8)
    pixels[..., channel] += 100
    Image.fromarray(pixels).resize((36, 36), Image.NEAREST).save(path)
    return path


def make_photos(root: Path, counts: dict[str, int], seed: int = 0) -> Path:
    """Write photos by class; a class is known by its colour."""
    rng = np.random.default_rng(seed)
    for number, (name, count) in enumerate(counts.items()):
        for photo in range(count):
            make_photo(root / name / f'{photo}.png', number % 3, rng)
    return root

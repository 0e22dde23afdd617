"""The source task of mini-VTAB: fresh renders on which the small Vim is pre-trained."""

import colorsys

import numpy as np

from memba_vision.datasets.mini_vtab.backgrounds import render_backgrounds
from memba_vision.datasets.mini_vtab.canvas import paint, to_bytes
from memba_vision.datasets.mini_vtab.shapes import SHAPES, render_masks, visible_angles

# Radii as shares of the image side: 7 to 16 pixels of 48.
SCALES = np.array([7, 9.5, 12.5, 16]) / 48
HUES = np.array([colorsys.hsv_to_rgb(hue / 8, 1, 1) for hue in range(8)])
NUM_SECTORS = 8  # equal parts of the full turn that an angle falls into
NOISE = 0.1  # largest deviation of a pixel by noise; the full intensity is 1


def render_source_batch(
    rng: np.random.Generator, batch_size: int, image_size: int = 48
) -> tuple[np.ndarray, np.ndarray]:
    """Draw coloured shapes at random place and rotation on textured, noisy backgrounds.

    Args:
        rng: The random generator; equal states draw equal batches.
        batch_size: The number of images, n.
        image_size: Height and width in pixels.

    Returns:
        The RGB images, (n, image_size, image_size, 3) uint8, and the labels, (n, 4) int64: shape
        (a place in ``SHAPES``), scale (in ``SCALES``), hue (in ``HUES``) and angle (the eighth of
        a full turn, counted from what can be seen: a square has a quarter of a turn only).
    """
    shapes, scales, hues = rng.integers(
        0, np.array([[len(SHAPES)], [len(SCALES)], [len(HUES)]]), (3, batch_size)
    )
    angles = rng.uniform(0, 2 * np.pi, batch_size)
    sectors = visible_angles(shapes, angles) * NUM_SECTORS // (2 * np.pi)
    images = render_backgrounds(rng, batch_size, image_size)
    masks = _place_shapes(rng, shapes, SCALES[scales] * image_size, angles, image_size)
    paint(images, masks, _draw_colors(rng, hues))
    images += _draw_noise(rng, images.shape)
    return to_bytes(images), np.stack([shapes, scales, hues, sectors.astype(np.int64)], axis=1)


def _place_shapes(
    rng: np.random.Generator,
    shapes: np.ndarray,
    radii: np.ndarray,
    angles: np.ndarray,
    image_size: int,
) -> np.ndarray:
    # Masks (n, size, size) of shapes that lie wholly inside their images.
    reach = radii[:, None]
    centers = rng.uniform(reach, image_size - reach, (len(shapes), 2))
    return render_masks(shapes, centers, radii, angles, image_size)


def _draw_colors(rng: np.random.Generator, hues: np.ndarray) -> np.ndarray:
    # One colour per image, (n, 3, 1, 1) float32: its hue is given, the rest is random.
    saturation = rng.uniform(0.65, 1, (len(hues), 1))
    value = rng.uniform(0.7, 1, (len(hues), 1))
    colors = value * (1 - saturation + saturation * HUES[hues])
    return colors.astype(np.float32)[:, :, None, None]


def _draw_noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    # Uniform over 256 steps: a random byte is drawn ten times as fast as a normal variate.
    noise = rng.integers(0, 256, shape, np.uint8) * np.float32(2 * NOISE / 255)
    noise -= np.float32(NOISE)
    return noise

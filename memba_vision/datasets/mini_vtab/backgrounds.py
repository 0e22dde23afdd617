"""Textured, coloured backgrounds, different in every image."""

import numpy as np

NUM_GRATINGS = 2
CLOUD_CELLS = 6  # knots of the colour clouds along a side


def render_backgrounds(rng: np.random.Generator, batch_size: int, image_size: int) -> np.ndarray:
    """Draw muted colour clouds with stripes over them.

    Args:
        rng: The random generator.
        batch_size: The number of images, n.
        image_size: Height and width in pixels.

    Returns:
        Intensities, mostly from 0 to 1, (n, 3, image_size, image_size) float32.
    """
    images = _render_clouds(rng, batch_size, image_size)
    for _ in range(NUM_GRATINGS):
        images += _render_grating(rng, batch_size, image_size)
    return images


def _render_clouds(rng: np.random.Generator, batch_size: int, image_size: int) -> np.ndarray:
    # Random grey levels and fainter random tints at a few knots, interpolated linearly: both
    # directions of the interpolation are a matrix product.
    knots_shape = (batch_size, 1, CLOUD_CELLS, CLOUD_CELLS)
    level = rng.uniform(0.15, 0.75, (batch_size, 1, 1, 1))
    grey = rng.uniform(-0.15, 0.15, knots_shape)
    tint = rng.uniform(-0.12, 0.12, (batch_size, 3, CLOUD_CELLS, CLOUD_CELLS))
    knots = (level + grey + tint).astype(np.float32)
    weights = _interpolation_weights(image_size)
    return weights @ knots @ weights.T


def _interpolation_weights(image_size: int) -> np.ndarray:
    # (image_size, CLOUD_CELLS): each pixel's shares of the two knots beside it.
    places = np.linspace(0, CLOUD_CELLS - 1, image_size)[:, None]
    return np.clip(1 - np.abs(places - np.arange(CLOUD_CELLS)), 0, 1).astype(np.float32)


def _render_grating(rng: np.random.Generator, batch_size: int, image_size: int) -> np.ndarray:
    # Stripes of random direction, width and grey amplitude, (n, 1, size, size).
    pixels = np.arange(image_size)
    direction = rng.uniform(0, 2 * np.pi, (batch_size, 1))
    period = rng.uniform(3, 16, (batch_size, 1))
    phase = rng.uniform(0, 2 * np.pi, (batch_size, 1))
    amplitude = rng.uniform(0, 0.12, (batch_size, 1))
    columns = 2 * np.pi * np.cos(direction) / period * pixels + phase
    rows = 2 * np.pi * np.sin(direction) / period * pixels
    # sin(a + b) from the sines of rows and columns: no sine is taken per pixel.
    row_terms = np.stack([np.cos(rows), np.sin(rows)], -1).astype(np.float32)
    column_terms = amplitude[:, None] * np.stack([np.sin(columns), np.cos(columns)], 1)
    return (row_terms @ column_terms.astype(np.float32))[:, None]

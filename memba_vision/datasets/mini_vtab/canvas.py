"""Steps that all renderers of mini-VTAB share: to paint, to photograph, to turn into bytes.

A batch is (n, 3, size, size) float32 of intensities, mostly from 0 to 1.
"""

import numpy as np

LARGEST_GAIN = 2.0  # the most that contrast is raised: more would show noise only
CANDIDATES = 12  # colours that one with enough contrast is chosen from


def draw_uniform(rng: np.random.Generator, low: float, high: float, count: int) -> np.ndarray:
    """Draw one number per image, (count, 1, 1) float32: it goes with masks and coordinates."""
    return rng.uniform(low, high, (count, 1, 1)).astype(np.float32)


def paint(images: np.ndarray, masks: np.ndarray, colors: np.ndarray) -> None:
    """Lay a colour over images, in place: ``masks * colors + (1 - masks) * images``.

    Args:
        images: A batch.
        masks: Opacity of the colour, from 0 to 1, (n, size, size).
        colors: (n, 3, 1, 1), or another batch.
    """
    # In place: temporaries cost most of the time.
    images -= colors
    images *= 1 - masks[:, None]
    images += colors


def draw_colors(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw colours of any hue and brightness, most of them muted, (count, 3, 1, 1) float32."""
    drawn = rng.random((count, 3, 1, 1), np.float32)
    grey = drawn.mean(1, keepdims=True)
    return grey + draw_uniform(rng, 0.2, 1, count)[..., None] * (drawn - grey)


def fill(colors: np.ndarray, image_size: int) -> np.ndarray:
    """Return a batch of plain images of the given colours, (n, 3, 1, 1)."""
    return np.repeat(colors, image_size, 2).repeat(image_size, 3)


def draw_contrasting_colors(
    rng: np.random.Generator, others: np.ndarray, distance: float
) -> np.ndarray:
    """Draw a colour for each of ``others``, (n, 3, 1, 1), at least ``distance`` away from it.

    The distance is Euclidean, between intensities from 0 to 1. Of colours that are all nearer, the
    farthest is taken.
    """
    drawn = rng.random((len(others), CANDIDATES, 3), np.float32)
    away = np.sqrt(((drawn - others.reshape(-1, 1, 3)) ** 2).sum(2))
    far_enough = away >= distance
    chosen = np.where(far_enough.any(1), far_enough.argmax(1), away.argmax(1))
    return drawn[np.arange(len(drawn)), chosen][:, :, None, None]


def mean_colors(images: np.ndarray) -> np.ndarray:
    """Return the mean colour of each image, (n, 3, 1, 1)."""
    return images.mean((2, 3), keepdims=True)


def double(images: np.ndarray) -> np.ndarray:
    """Return images, (…, h, w), at twice their size: each pixel two by two times."""
    return images.repeat(2, -2).repeat(2, -1)


def halve(images: np.ndarray) -> np.ndarray:
    """Return images, (…, 2 h, 2 w), at half their size: the mean of two by two pixels."""
    rows = images[..., ::2, :] + images[..., 1::2, :]
    return (rows[..., ::2] + rows[..., 1::2]) * np.float32(0.25)


def expose(
    rng: np.random.Generator,
    images: np.ndarray,
    colors: np.ndarray,
    contrast: tuple[float, float],
) -> np.ndarray:
    """Return images with given means and random contrast, which then say nothing of the subject.

    Args:
        rng: The random generator.
        images: A batch.
        colors: The mean colours after that, (n, 3, 1, 1).
        contrast: The least and the largest standard deviation of an image's channels.
    """
    deviations = images.std((2, 3), keepdims=True)
    wanted = draw_uniform(rng, *contrast, len(images))[..., None]
    wanted = wanted * rng.uniform(0.85, 1.15, deviations.shape).astype(np.float32)
    # Half of a channel's own contrast is kept: equal ones would make most colours garish.
    deviations = np.sqrt(deviations * deviations.mean(1, keepdims=True))
    gain = (wanted / deviations).clip(0, LARGEST_GAIN)
    return (images - mean_colors(images)) * gain + colors


def photograph(
    rng: np.random.Generator, images: np.ndarray, noise: tuple[float, float] = (0.01, 0.05)
) -> np.ndarray:
    """Take a batch with uneven light, random exposure, a soft lens and a noisy sensor.

    Args:
        rng: The random generator.
        images: A batch, which is changed.
        noise: The least and the largest standard deviation of a pixel.

    Returns:
        The images, (n, size, size, 3) uint8.
    """
    count, size = len(images), images.shape[-1]
    images *= _uneven_light(rng, count, size)[:, None]
    images = _soften(images, draw_uniform(rng, 0, 0.3, count)[:, None])
    contrast = draw_uniform(rng, 0.65, 1, count)[:, None]
    brightness = draw_uniform(rng, -0.1, 0.1, count)[:, None]
    images -= np.float32(0.5)
    images *= contrast
    images += brightness + np.float32(0.5)
    grain = rng.standard_normal(images.shape, np.float32)
    grain *= draw_uniform(rng, *noise, count)[:, None]
    images += grain
    return to_bytes(images)


def _uneven_light(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    # Light that falls off over the image, in a random direction, (count, size, size).
    angle = draw_uniform(rng, 0, 2 * np.pi, count)
    slope = draw_uniform(rng, 0, 0.3, count)
    places = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    return 1 + slope * (np.cos(angle) * places + np.sin(angle) * places[:, None])


def _soften(images: np.ndarray, share: np.ndarray) -> np.ndarray:
    # Each pixel gives ``share`` of itself to its two neighbours, first in rows, then in columns.
    for _ in range(2):
        padded = np.pad(images, [(0, 0)] * 3 + [(1, 1)], mode='edge')
        beside = (padded[..., :-2] + padded[..., 2:]) * np.float32(0.5)
        images = (images + share * (beside - images)).swapaxes(2, 3)
    return images


def to_bytes(images: np.ndarray) -> np.ndarray:
    """Return (n, 3, size, size) intensities, which are changed, as (n, size, size, 3) uint8."""
    images *= 255
    images.clip(0, 255, out=images)
    # Plane by plane, since numpy transposes a trailing axis of three slowly.
    pixels = np.empty((len(images), *images.shape[2:], 3), np.uint8)
    for channel in range(3):
        pixels[..., channel] = images[:, channel]
    return pixels

"""Read fields of their own size at any coordinates, for a whole batch."""

import numpy as np


def sample(fields: np.ndarray, x: np.ndarray, y: np.ndarray, outside: float) -> np.ndarray:
    """Interpolate linearly.

    Args:
        fields: (n, height, width) float32.
        x, y: Places in samples, 0 is the middle of the first, (n, rows, columns) float32.
        outside: The value beyond the field's border.

    Returns:
        Values, of the shape of the places.
    """
    fields = np.pad(fields, [(0, 0), (1, 1), (1, 1)], constant_values=outside)
    count, height, width = fields.shape
    x, y = (x + 1).clip(0, width - 1.001), (y + 1).clip(0, height - 1.001)
    column, row = x.astype(np.int32), y.astype(np.int32)
    across, down = x - column, y - row
    place = (row * width + column).reshape(count, -1)
    flat = fields.reshape(count, -1)

    def corner(step: int) -> np.ndarray:
        return np.take_along_axis(flat, place + step, axis=1).reshape(x.shape)

    upper = corner(0) + across * (corner(1) - corner(0))
    lower = corner(width) + across * (corner(width + 1) - corner(width))
    return upper + down * (lower - upper)

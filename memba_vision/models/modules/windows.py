"""Windows: the squares of a map, each a short sequence of a batch."""

import torch
import torch.nn.functional as F


def to_windows(maps: torch.Tensor, size: int) -> torch.Tensor:
    """Cut maps into windows, row by row; zeros at the right and bottom make the last ones whole.

    Args:
        maps: (batch, dim, height, width).
        size: height and width of a window.

    Returns:
        (batch * windows, size * size, dim), the windows of an image one after the other.
    """
    height, width = maps.shape[-2:]
    maps = F.pad(maps, (0, -width % size, 0, -height % size))
    windows = maps.unflatten(3, (-1, size)).unflatten(2, (-1, size))
    return windows.permute(0, 2, 4, 3, 5, 1).flatten(3, 4).flatten(0, 2)


def from_windows(windows: torch.Tensor, size: int, height: int, width: int) -> torch.Tensor:
    """Put windows together, and cut off the zeros that made the last ones whole.

    Args:
        windows: (batch * windows, size * size, dim), as :func:`to_windows` makes them.
        size: height and width of a window.
        height: of the maps.
        width: of the maps.

    Returns:
        (batch, dim, height, width).
    """
    rows, columns = -(-height // size), -(-width // size)
    maps = windows.unflatten(0, (-1, rows, columns)).unflatten(3, (size, size))
    maps = maps.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)
    return maps[:, :, :height, :width]

"""Drawing of whole batches of scenes with torch, on a CPU or a GPU."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F

PERSPECTIVE = 0.4  # of the near edge of a turned plane


class Placement(NamedTuple):
    """Poses of flat objects, one per image, each a tensor (n,) float32.

    Attributes:
        x, y: centre in pixels from the upper left corner.
        radius: half the height in pixels.
        turn: clockwise rotation in the image plane, in radians.
        yaw: rotation about the object's own upright axis, in radians; 0 faces the viewer.
    """

    x: torch.Tensor
    y: torch.Tensor
    radius: torch.Tensor
    turn: torch.Tensor
    yaw: torch.Tensor


def place(pictures: torch.Tensor, placement: Placement, image_size: int) -> torch.Tensor:
    """Show each picture in its pose.

    Args:
        pictures: Intensities, (n, c, height, width) float32.
        placement: The poses.
        image_size: Height and width of the images in pixels.

    Returns:
        The pictures on zero, (n, c, image_size, image_size) float32.
    """
    pixels = torch.arange(image_size, device=pictures.device) + 0.5
    radius = placement.radius[:, None, None]
    right = (pixels[None, None, :] - placement.x[:, None, None]) / radius
    down = (pixels[None, :, None] - placement.y[:, None, None]) / radius
    cos, sin = (part(placement.turn)[:, None, None] for part in (torch.cos, torch.sin))
    right, down = cos * right + sin * down, cos * down - sin * right
    # The inverse of a projection of the plane turned by the yaw.
    cos, sin = (part(placement.yaw)[:, None, None] for part in (torch.cos, torch.sin))
    across = right / (cos - PERSPECTIVE * sin * right).clamp_min(1e-3)
    along = down * (1 + PERSPECTIVE * sin * across)
    grid = torch.stack([across, along], -1)
    return F.grid_sample(pictures, grid, align_corners=False)


def clouds(shape: tuple[int, int, int], cells: int, generator: torch.Generator) -> torch.Tensor:
    """Draw smooth random fields.

    Args:
        shape: n, channels, and height and width in pixels.
        cells: Random knots along a side, between which values are interpolated.
        generator: Its device is that of the result.

    Returns:
        Values from -1 to 1, (n, channels, size, size) float32.
    """
    n, channels, size = shape
    device = generator.device
    knots = torch.rand(n, channels, cells, cells, generator=generator, device=device) * 2 - 1
    return F.interpolate(knots, (size, size), mode='bicubic').clamp(-1, 1)


def grating(direction: torch.Tensor, period: torch.Tensor, phase: torch.Tensor, size: int):
    """Draw stripes.

    Args:
        direction: In which brightness changes, in radians, (n,) float32.
        period: In pixels, (n,) float32.
        phase: In radians, (n,) float32.
        size: Height and width in pixels.

    Returns:
        Values from -1 to 1, (n, 1, size, size) float32.
    """
    pixels = torch.arange(size, device=direction.device)
    frequency = 2 * math.pi / period
    across = (torch.cos(direction) * frequency)[:, None, None] * pixels[None, None, :]
    down = (torch.sin(direction) * frequency)[:, None, None] * pixels[None, :, None]
    return torch.sin(across + down + phase[:, None, None])[:, None]


def colours(hue: torch.Tensor, saturation: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Return RGB colours, (n, 3, 1, 1), of hue, saturation and value, each (n,) from 0 to 1."""
    offsets = torch.tensor([5.0, 3.0, 1.0], device=hue.device)
    sector = (offsets + hue[:, None] * 6) % 6
    share = torch.minimum(sector, 4 - sector).clamp(0, 1)
    return (value[:, None] * (1 - saturation[:, None] * share))[:, :, None, None]

"""Placement of names in a scatter plot so that none lies on another or on a point."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Text

from memba_vision.files import escape_surrogates

#: Distances from a point, in points of the page, at which a place for its name is looked for.
RINGS = np.arange(5, 400, 4)
ANGLES = np.linspace(0, 2 * np.pi, 24, endpoint=False)
NEAR = 12  # points; a name further away has a line to its point
MARKER = 5  # half the side of a marker, in points

#: Place in data coordinates, name and colour.
Named = tuple[float, float, str, str]


def place_labels(axes: Axes, points: Sequence[Named]) -> None:
    """Write the name of each point at the nearest place that is free, and within the axes.

    The axes must have their final limits.
    """
    figure = axes.figure
    figure.draw_without_rendering()  # the layout decides how large the axes are
    pixel = figure.dpi / 72
    frame = axes.bbox.extents
    places = axes.transData.transform([point[:2] for point in points])
    half = MARKER * pixel
    taken = np.hstack([places - half, places + half])
    for (x, y, name, colour), place in sorted(
        zip(points, places, strict=True), key=lambda pair: tuple(-pair[1][::-1])
    ):
        shown = escape_surrogates(name)
        text = axes.annotate(
            shown,
            (x, y),
            xytext=(0, 0),
            textcoords='offset points',
            size=8,
            color=colour,
            va='center',
            ha='center',
            arrowprops=dict(arrowstyle='-', color=colour, linewidth=0.6, shrinkA=0, shrinkB=3),
        )
        text.set_gid(f'label::{shown}')  # by which the page's filter finds it
        text.set_in_layout(False)
        box = Text.get_window_extent(text)  # without its line
        size = np.array([box.width, box.height]) / pixel
        offset = _free_offset(place, size, taken, frame, pixel)
        text.set_position(offset)
        text.arrow_patch.set_visible(np.hypot(*_gap(offset, size)) > NEAR)
        middle = place + offset * pixel
        taken = np.vstack([taken, [*(middle - size * pixel / 2), *(middle + size * pixel / 2)]])


def _gap(offset: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return the distance in both directions from a point to the box of its name."""
    return np.maximum(np.abs(offset) - size / 2, 0)


def _free_offset(
    place: np.ndarray, size: np.ndarray, taken: np.ndarray, frame: np.ndarray, pixel: float
) -> np.ndarray:
    """Return the offset of a box's middle from its point that is free, the nearest if there is one.

    Args:
        place: of the point in pixels, (2,).
        size: width and height of the box in points of the page, (2,).
        taken: boxes in pixels, (boxes, 4).
        frame: the axes' box in pixels, (4,).
        pixel: pixels of a point of the page.
    """
    ways = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=-1)
    # The box's edge, not its middle, is to be so far away.
    offsets = (RINGS[:, None, None] * ways + ways * size / 2).reshape(-1, 2)
    low = place + (offsets - size / 2) * pixel
    high = place + (offsets + size / 2) * pixel
    overlaps = (low[:, None] < taken[:, 2:]) & (high[:, None] > taken[:, :2])
    is_free = ~overlaps.all(-1).any(-1)
    is_free &= (low >= frame[:2]).all(-1) & (high <= frame[2:]).all(-1)
    return offsets[np.argmax(is_free)]

"""Drawing helpers of the figures: themes, scales, maps on an image, frames."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure

from memba_vision.visualization.maps import TokenGrid
from memba_vision.visualization.trace import ImageTrace

COLOURBAR = 0.9  # inches
TITLE = 0.3
HEAT = 0.75  # opacity of a map over the image
# Looks of lines that must show on anything.
OUTLINED = (dict(colors='white', linewidths=2.4), dict(colors='black', linewidths=1.0))


@dataclass(frozen=True)
class Theme:
    """Colours of a page: background, text, lines, and cells without a value."""

    surface: str
    ink: str
    line: str
    nothing: str
    directions: tuple[str, str]


LIGHT = Theme('#ffffff', '#1f2328', '#c9ced6', '#eceff3', ('#0072b2', '#d55e00'))
DARK = Theme('#171b21', '#e6e9ed', '#4a515c', '#262c35', ('#56b4e9', '#e69f00'))


@dataclass(frozen=True)
class Scale:
    """Colour scale of numbers."""

    label: str
    colours: str
    low: float
    high: float

    def mappable(self) -> ScalarMappable:
        """Return matplotlib's map from numbers to colours."""
        return ScalarMappable(Normalize(self.low, self.high), colormaps[self.colours])


def make_subfigures(
    traces: Sequence[ImageTrace], width: float, height: float, theme: Theme
) -> tuple[Figure, list[SubFigure]]:
    """Make a figure with a part per model, side by side."""
    title = TITLE if len(traces) > 1 else 0
    size = (width * len(traces) + COLOURBAR, height + title)
    figure = Figure(size, layout='constrained', facecolor=theme.surface)
    parts = list(figure.subfigures(1, len(traces), squeeze=False)[0])
    for part, trace in zip(parts, traces, strict=True):
        part.set_facecolor(theme.surface)
        if len(traces) > 1:
            part.suptitle(trace.title, color=theme.ink, fontsize=10, fontweight='bold')
    return figure, parts


def draw_map(
    axis: Axes, trace: ImageTrace, grid: TokenGrid, values: np.ndarray, scale: Scale
) -> None:
    """A map, a value per patch, over the image in pale grey."""
    grey = trace.pixels.mean(-1).numpy()
    # Pale, so that the image is visible without changing the colours above it much.
    look = dict(cmap='gray', vmin=-1.2, vmax=2.2, interpolation='bilinear')
    axis.imshow(grey, extent=image_edges(trace), **look)
    look = dict(alpha=HEAT, interpolation='nearest', **imshow_arguments(scale))
    axis.imshow(values, extent=grid.extent, **look)


def draw_borders(axis: Axes, grid: TokenGrid, num_chunks: int, direction: int) -> None:
    """Lines between patches of different chunks."""
    chunks = grid.chunk_maps(num_chunks)[direction].numpy()
    left, right, bottom, top = grid.extent
    rows, columns = chunks.shape
    xs, ys = np.linspace(left, right, columns + 1), np.linspace(top, bottom, rows + 1)
    lines = [
        [(xs[j + 1], ys[i]), (xs[j + 1], ys[i + 1])]
        for i, j in np.argwhere(np.diff(chunks, axis=1) != 0)
    ] + [
        [(xs[j], ys[i + 1]), (xs[j + 1], ys[i + 1])]
        for i, j in np.argwhere(np.diff(chunks, axis=0) != 0)
    ]
    for look in OUTLINED:  # all light lines first, so that no dark one is cut
        axis.add_collection(LineCollection(lines, capstyle='projecting', **look))


def number_chunks(axis: Axes, grid: TokenGrid, num_chunks: int, direction: int) -> None:
    """The borders of the chunks, and in the middle of each its number."""
    draw_borders(axis, grid, num_chunks, direction)
    chunks = grid.chunk_maps(num_chunks)[direction].numpy()
    left, right, bottom, top = grid.extent
    rows, columns = chunks.shape
    for number in np.unique(chunks):
        y, x = np.argwhere(chunks == number).mean(axis=0) + 0.5
        axis.text(
            left + x / columns * (right - left),
            top + y / rows * (bottom - top),
            str(number),
            ha='center',
            va='center',
            fontsize=8,
            color='black',
            bbox=dict(boxstyle='circle,pad=0.2', facecolor='white', edgecolor='none', alpha=0.8),
        )


def imshow_arguments(scale: Scale) -> dict:
    """Return the arguments of matplotlib's ``imshow`` for a scale."""
    return dict(cmap=scale.colours, vmin=scale.low, vmax=scale.high)


def add_colourbar(figure: Figure, scale: Scale, theme: Theme) -> None:
    """Add the scale of all maps at the right end."""
    part = figure.subfigs[-1]
    bar = part.colorbar(scale.mappable(), ax=part.axes, fraction=0.04, pad=0.02, aspect=25)
    bar.set_label(scale.label, color=theme.ink, fontsize=8)
    bar.ax.tick_params(colors=theme.ink, labelsize=7)
    bar.outline.set_edgecolor(theme.line)


def crop_axes(axis: Axes, trace: ImageTrace, theme: Theme) -> None:
    """Cut the axes to the image, without ticks."""
    left, right, bottom, top = image_edges(trace)
    axis.set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_color(theme.line)


def image_edges(trace: ImageTrace) -> tuple[float, float, float, float]:
    """Return left, right, bottom and top of the image in pixels."""
    height, width = trace.pixels.shape[:2]
    return 0, width, height, 0


def style(axis: Axes, theme: Theme) -> None:
    """Set the colours of a chart."""
    axis.tick_params(colors=theme.ink, labelsize=7)
    for spine in axis.spines.values():
        spine.set_color(theme.line)
